"""The page says what the runs say: numbers, failures, settings; and it says so of any folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodebench.commands.report import page_of
from nodebench.config.compose import compose
from nodebench.config.saved import config_text
from nodebench.reporting import find_runs
from nodebench.reporting.figures import draw
from nodebench.reporting.report.drawings import inline_svg

WriteRun = Callable[..., Path]
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside of script and style."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.text += data

    def ids(self) -> list[str]:
        return [str(attributes["id"]) for _, attributes in self.found if "id" in attributes]


def page(root: Path, **options: Any) -> str:
    return page_of(find_runs(root), root, **options)


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="runs-data">(.*?)</script>', text, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def cell(text: str, row: int, column: str) -> tuple[str, float | None]:
    """A cell of the table's data, as text and as a number."""
    data = data_of(text)
    place = [key for key, *_ in data["columns"]].index(column)
    return data["rows"][row][3][place], data["rows"][row][4][place]


def write_epochs(run: Path, **columns: list[float]) -> None:
    lines = [
        {"kind": "epoch", "epoch": epoch, "step": 10 * epoch, **dict(zip(columns, values, strict=True))}
        for epoch, values in enumerate(zip(*columns.values(), strict=True), start=1)
    ]
    (run / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_means_and_intervals_are_those_of_the_result_table(tmp_path: Path, write_run: WriteRun) -> None:
    for seed, error in enumerate((0.40, 0.50, 0.60)):
        write_run(seed=seed, error_test=error)
    text = page(tmp_path)
    assert cell(text, 0, "error_test") == ("0.50 ± 0.25", 0.5)
    assert [cell(text, row, "error_test")[0] for row in (1, 2, 3)] == ["0.40", "0.50", "0.60"]
    assert "0.50 ± 0.25" in Elements(text).text


def test_the_papers_number_stands_beside_ours_with_a_verdict(tmp_path: Path, write_run: WriteRun) -> None:
    for seed, error in enumerate((0.41, 0.42, 0.43)):
        write_run(seed=seed, error_test=error)
        write_run("mnist-mlp-9a8b7c6d", seed, error_test=2.0 + error)
    text = Elements(page(tmp_path)).text
    assert "Of the paper's 2 numbers: 1 within our 95 % interval, 1 below ours." in text
    assert re.search(r"ODE-Net\s*0\.42 ± 0\.02\s*3\s*0\.42\s*within our interval", text)
    assert re.search(r"MLP\s*2\.42 ± 0\.02\s*3\s*1\.60\s*ours is higher", text)


def test_what_tables_say_in_words_is_said_first(tmp_path: Path, write_run: WriteRun) -> None:
    lines = [
        {
            "solver": {"method": method, "rtol": 1e-3, "atol": 1e-3, "dt": None},
            "error_test": 0.5,
            "nfe_eval": nfe,
            "num_images": 10**6,
        }
        for method, nfe in (("dopri5", 20.0), ("dopri8", 40.0))
    ]
    (write_run() / "evaluations.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    text = page(tmp_path, with_figures=False)
    first = Elements(text[: text.index('<section id="scores"')]).text
    assert "with at least training's 20 evaluations, the error changes by +0.00" in first


def test_one_number_of_the_paper_is_told_itself(tmp_path: Path, write_run: WriteRun) -> None:
    write_run(error_test=0.5)
    assert "ODE-Net has 0.50, in the paper 0.42: one seed." in Elements(page(tmp_path)).text


def test_failed_and_unfinished_runs_are_shown_with_their_reasons_and_not_counted(
    tmp_path: Path, write_run: WriteRun
) -> None:
    write_run(seed=0, error_test=0.5)
    write_run(seed=1, status="diverged", reason="the loss is nan at step 7", error_test=99.0)
    (write_run(seed=2) / "summary.json").unlink()
    text = page(tmp_path)
    assert cell(text, 0, "error_test") == ("0.50", 0.5)
    assert cell(text, 0, "status")[0] == "1 finished, 1 diverged, 1 unfinished"
    assert cell(text, 2, "reason")[0] == "the loss is nan at step 7"
    told = Elements(text).text
    assert "2 runs did not finish; no number here counts them" in told
    assert "seed1 is diverged: the loss is nan at step 7" in told


def test_words_of_a_run_are_never_markup(tmp_path: Path, write_run: WriteRun) -> None:
    config = {
        "data": {"name": EVIL},
        "model": {"name": EVIL, "width": EVIL, EVIL: EVIL},
        "task": {"name": EVIL},
        "solver": {"method": EVIL, "tol": 1},
    }
    write_run(f"x-y-{EVIL.replace('/', '')}-0a1b2c3d", config=config, status=EVIL, reason=EVIL)
    run = write_run("x-z-0a1b2c3e", config=config, environment={"version": EVIL, "device_name": EVIL})
    write_epochs(run, error_train=[2.0, 1.0])
    write_run("x-z-0a1b2c3f", config={**config, "training": {"epochs": EVIL}})
    quiet = tmp_path / "quiet"
    write_run(root=quiet)
    scripts = [attributes for tag, attributes in Elements(page(quiet)).found if tag == "script"]
    text = page(tmp_path, title=EVIL)
    elements = Elements(text)
    assert [attributes for tag, attributes in elements.found if tag == "script"] == scripts
    assert "img" not in [tag for tag, _ in elements.found]
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    assert EVIL in elements.text
    assert cell(text, 1, "status")[0] == EVIL


def test_no_script_runs_but_the_pages_own_and_nothing_is_fetched(tmp_path: Path, write_run: WriteRun) -> None:
    write_run()
    elements = Elements(page(tmp_path))
    (policy,) = [a["content"] for _, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.split(";")[1]
    links = [a[name] for _, a in elements.found for name in ("href", "src", "action") if name in a]
    assert [link for link in links if not str(link).startswith("#")] == []


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """What `measured` has made: its figures take a second or two."""
    return {}


@pytest.fixture
def measured(
    pages: dict[str, str], tmp_path: Path, write_run: WriteRun, write_measures: Callable[..., Path]
) -> str:
    """The page about a measured ODE-Net with epochs, and a net on other data."""
    if not pages:
        run = write_run()
        write_measures(run)
        write_epochs(run, error_train=[2.0, 1.0], nfe_forward=[20.0, 26.0], nfe_backward=[14.0, 20.0])
        write_run("digits-mlp-0a1b2c3f", config={"data": {"name": "digits"}, "model": {"name": "mlp"}})
        pages["measured"] = page(tmp_path)
    return pages["measured"]


def test_every_id_is_there_once_and_every_link_and_label_leads_to_one(measured: str) -> None:
    elements = Elements(measured)
    ids = elements.ids()
    assert len(ids) == len(set(ids))
    referred = [str(a["href"])[1:] for _, a in elements.found if str(a.get("href", "")).startswith("#")]
    referred += re.findall(r"url\(#([^)]*)\)", measured)
    referred += [
        name
        for _, attributes in elements.found
        for key in ("aria-labelledby", "aria-describedby", "for")
        for name in str(attributes.get(key) or "").split()
    ]
    assert {"fig3-title", "memory-title", "gradients-title"} <= set(ids)
    assert set(referred) <= set(ids)


def test_every_picture_has_a_title_and_a_description_or_is_hidden(measured: str) -> None:
    pictures = re.findall(r"<svg .*?</svg>", measured, re.DOTALL)
    assert len(pictures) > 5
    for picture in pictures:
        opening = picture.partition(">")[0]
        is_told = 'role="img"' in opening and "<title" in picture and "<desc" in picture
        assert 'aria-hidden="true"' in opening or is_told
    assert "NFE forward" in Elements(measured).text  # of Figure 3: text is text


def test_learning_curves_are_means_over_seeds_with_a_band(tmp_path: Path, write_run: WriteRun) -> None:
    for seed, last in enumerate((1.0, 3.0)):
        write_epochs(write_run(seed=seed), error_train=[5.0, last], nfe_forward=[20.0, 26.0])
    text = page(tmp_path)
    assert "odenet: from 5 to 2 at epoch 2" in text
    assert 'class="band s1"' in text
    assert "odenet: from 20 to 26 at epoch 2" in text


def test_the_command_that_makes_a_run_again_is_there(tmp_path: Path, write_run: WriteRun) -> None:
    config = yaml.safe_load(config_text(compose(["experiment=table2_rnn", "optimizer.lr=0.5"]).config))
    for seed in (0, 1):
        write_run("spirals-rnn-0a1b2c3d", seed, config=config, rmse=0.2)
    told = Elements(page(tmp_path)).text
    command = "nodebench train -m experiment=table2_rnn optimizer.lr=0.5 data.num_observed=100 seed=0,1"
    assert command in told  # with what the experiment sweeps over, or -m would run all of it


def test_a_run_is_told_by_its_difference_from_its_neighbours(tmp_path: Path, write_run: WriteRun) -> None:
    for number, lr in enumerate((0.1, 0.2)):
        config = {
            "data": {"name": "digits"},
            "model": {"name": "mlp"},
            "optimizer": {"name": "sgd", "lr": lr},
        }
        write_run(f"digits-mlp-0a1b2c3{number}", config=config)
    text = page(tmp_path)
    assert "mlp, lr=0.1" in Elements(text).text
    assert re.search(r"<dt>optimizer.lr</dt><dd>0.2</dd>", text)
    shared = text[text.index('class="shared"') : text.index('class="experiment"')]
    assert "<dt>optimizer.name</dt><dd>sgd</dd>" in shared
    assert "optimizer.lr" not in shared


def test_paths_of_the_machine_are_not_in_the_page(tmp_path: Path, write_run: WriteRun) -> None:
    (write_run() / "metrics.jsonl").write_text("no record\n")
    write_run(root=tmp_path / "outputs" / "elsewhere")  # the same seed: a note names both
    by_hand = tmp_path / "outputs" / "by <hand>" / "run"
    by_hand.mkdir(parents=True)
    (by_hand / "config.yaml").write_text("{")
    text = page(tmp_path / "outputs")
    assert str(tmp_path) not in text
    assert "outputs/by &lt;hand&gt;/run" in text
    assert "repeats outputs/classification/" in text
    assert page(tmp_path / "outputs").startswith("<!DOCTYPE html>")
    for place in (by_hand, by_hand.parent):  # a run, and the folder of its seeds, are folders with runs
        assert str(tmp_path) not in page(place)


@pytest.mark.parametrize(
    "content", ["", "[1, 2]", "{task: {name: [1]}, data: {}, model: {}, training: {}, optimizer: {}}"]
)
def test_a_folder_of_runs_that_cannot_be_read_is_a_page(tmp_path: Path, content: str) -> None:
    run = tmp_path / "outputs" / "somewhere" / "seed0"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(content)
    (run / "summary.json").write_text("{")
    (run / "metrics.jsonl").write_text('{"kind": "epoch", "epoch": 1, "step": "x", "loss_train": 1e400}\n')
    told = Elements(page(tmp_path / "outputs")).text
    assert "1 run of 1 experiment, damaged." in told
    assert "No run has a score yet." in told


def test_a_task_that_nobody_knows_has_its_own_columns_and_curves(tmp_path: Path, write_run: WriteRun) -> None:
    own = {
        "columns": {
            "margin_test": {
                "format": ".3f",
                "unit": "margins in logits",
                "has_interval": True,
                "shown": ["TABLE"],
                "rank": 0,
            }
        }
    }
    config = {"task": {"name": "of_mine"}, "data": {"name": "mine"}, "model": {"name": "net"}}
    for seed in (0, 1, 2):
        run = write_run("mine-net-0a1b2c3d", seed, config=config, error_test=None, margin_test=seed, **own)
        write_epochs(run, loss_train=[2.0, 1.0], wiggle=[1.0, 2.0])
    text = page(tmp_path)
    assert "net on mine has margin_test 1.000 ± 2.484." in Elements(text).text
    assert "loss_train of of mine on mine" in text


def test_numbers_of_any_size_have_a_place(tmp_path: Path, write_run: WriteRun) -> None:
    for number, error in enumerate((-1e99, 1e99, 0.0)):
        run = write_run(f"digits-mlp-0a1b2c3{number}", error_test=error, time_step_ms=10.0**number)
        write_epochs(run, error_train=[error, 1e-99])
    text = page(tmp_path)
    assert 'class="chart"' in text
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text.lower())


def test_the_same_runs_make_the_same_page(
    tmp_path: Path, write_run: WriteRun, write_measures: Callable[..., Path]
) -> None:
    run = write_run()
    assert page(tmp_path, with_figures=False) == page(tmp_path, with_figures=False)
    write_measures(run, solvers=("dopri5",), batches=1)
    drawings = [inline_svg("memory", draw("memory", find_runs(tmp_path))) for _ in range(2)]
    assert drawings[0] == drawings[1]
