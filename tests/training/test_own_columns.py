"""A column that a task of one's own declares: declared once, it is recorded, charted, on the screen, in tables."""

from __future__ import annotations

import json

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nodebench.records import YES_NO, Column, Shown
from nodebench.reporting import find_runs, result_summary, result_table, with_values
from nodebench.reporting.columns import columns_of, default_columns
from nodebench.training.tensorboard import EVENT_FILES

CONFIG = {
    **{name: {"name": name} for name in ("task", "data", "model", "training")},
    "optimizer": {"lr": 0.05},
}
MARGINS = (
    Column("margin_val", ".3f", "margins in logits", chart="margin", screen="margin", shown=Shown.NOWHERE),
    Column("margin_test", ".3f", "margins in logits", has_interval=True, chart="margin"),
    Column("is_wide", YES_NO),
)


@pytest.fixture(scope="module")
def folder(toy, tmp_path_factory):
    """Two seeds of a task with columns of its own, and one number that it declares nowhere."""

    class Margins(toy.ToyTask):
        columns = MARGINS

        def evaluate(self, module, split, progress=lambda items: items):
            columns = super().evaluate(module, split, progress)
            return {f"margin_{split}": 1.5, **columns}

        def final_metrics(self, module):
            return {"is_wide": True, "curl": 0.25, **super().final_metrics(module)}

    root = tmp_path_factory.mktemp("own") / "toy-margins-0a1b2c3d"
    for seed in (0, 1):
        toy.toy_run(root / f"seed{seed}", Margins(), num_steps=10, seed=seed)
        (root / f"seed{seed}" / "config.yaml").write_text(yaml.safe_dump({**CONFIG, "seed": seed}))
    return root


def test_own_columns_stand_behind_the_known_ones_in_the_order_of_their_declaration(folder):
    *_, final = [json.loads(line) for line in (folder / "seed0" / "metrics.jsonl").read_text().splitlines()]
    assert list(final)[-4:] == ["margin_val", "margin_test", "is_wide", "curl"]


def test_own_columns_are_charted_and_among_the_results_of_all_runs(folder):
    events = EventAccumulator(str(folder / "seed0"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"margin/val", "result/margin_test"} <= tags
    assert "result/margin_val" not in tags
    assert list((folder / "seed0").glob(EVENT_FILES))


def test_own_columns_are_on_the_line_of_an_epoch(toy, tmp_path, capsys):
    class Margins(toy.ToyTask):
        columns = MARGINS

        def evaluate(self, module, split, progress=lambda items: items):
            return {f"margin_{split}": 1.5}

    toy.toy_run(tmp_path, Margins(), num_steps=2)
    assert ", margin 1.500 val, NFE" in capsys.readouterr().err


def test_own_columns_are_in_the_usual_table_with_their_unit_interval_and_place(folder):
    head, _, row, *_ = result_table(find_runs(folder)).splitlines()
    headings = head.split()
    assert headings.index("error_test") < headings.index("margin_test") < headings.index("nfe_forward")
    assert headings.index("time_step_ms") < headings.index("is_wide")
    assert "1.500 ± 0.000" in row
    assert " yes " in row
    assert "margin_val" not in headings
    table = result_table(find_runs(folder), ["model", "margin_val", "curl"])
    assert "margins in logits" in table
    assert table.splitlines()[2].split()[-2:] == ["1.500", "0.25"]
    assert "margin_test" in result_table(find_runs(folder), style="csv").split("\n")[0]


def test_own_columns_are_in_what_a_run_ends_with_and_what_evaluating_it_prints(folder):
    runs = find_runs(folder / "seed0")
    columns = with_values(runs, default_columns(columns_of(runs), Shown.AFTER_TRAINING))
    assert "margin_test   1.500" in result_summary(runs, columns)


def test_what_somebody_wrote_for_a_declaration_is_no_harm(folder):
    """A format of a million digits, units with line breaks: a run folder may come from anybody."""
    path = folder / "seed1" / "summary.json"
    written = path.read_text()
    summary = json.loads(written)
    entries = {
        "margin_test": {**summary["columns"]["margin_test"], "format": ".999999f"},
        "curl": ["x"],
        "": 3,
    }
    path.write_text(json.dumps({**summary, "columns": entries}))
    runs = find_runs(folder / "seed1")
    assert result_table(runs, ["margin_test", "curl"]).splitlines()[2].split() == ["1.5", "[1]", "0.25"]
    path.write_text(json.dumps({**summary, "columns": "none"}))
    assert "1.5" in result_table(find_runs(folder / "seed1"), ["margin_test"])
    path.write_text(written)
