"""docs/results/claims.md: every statement has a verdict, and its numbers on flows are those of committed records."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from nodebench.reporting import find_runs
from nodebench.reporting.figures.fig5 import BETWEEN_CIRCLES
from nodebench.reporting.flow_ways import turn_columns, way_columns
from nodebench.reporting.pictures import read_pictures
from nodebench.reporting.runs import Run

RESULTS = Path(__file__).parents[1] / "docs" / "results"
CLAIMS = RESULTS / "claims.md"
TEXT = CLAIMS.read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| claim |"))
]


def evidence_for(claim: str) -> str:
    """What decides the statement whose first words are `claim`."""
    (found,) = [row for row in ROWS if row[0].startswith(claim)]
    return found[2]


def numbers_of(figure: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / figure / f"{figure}.csv")


def continuous_flows() -> list[Run]:
    runs = [run for folder in ("fig4", "fig5", "fig5_nll") for run in find_runs(RESULTS / folder / "runs")]
    distinct = {(run.hash, run.seed): run for run in runs if run.names[1] == "cnf"}
    return list(distinct.values())


@pytest.mark.parametrize("figure", ["fig4", "fig5"])
def test_the_numbers_of_a_figure_of_flows_are_those_of_its_records(figure: str) -> None:
    lines = numbers_of(figure)
    by = ["hash"] if "seeds" in lines else ["hash", "seed"]
    for column in ("kl", "kl_tight") if figure == "fig4" else ("nll", "nll_tight"):
        records = pd.DataFrame(
            {"hash": run.hash, "seed": int(run.seed), column: run.summary[column]}
            for run in find_runs(RESULTS / figure / "runs")
        )
        pd.testing.assert_series_equal(
            lines.set_index(by)[column].sort_index(), records.groupby(by)[column].mean(), rtol=1e-12
        )


def test_the_ways_in_figure_5s_numbers_are_those_of_the_pictures() -> None:
    lines = numbers_of("fig5").query("seed == 0").set_index("hash")
    for run in (run for run in find_runs(RESULTS / "fig5" / "runs") if run.seed == 0):
        pictures = read_pictures(run.folder)
        ways = way_columns(pictures)
        if run.names == ("two_circles", "cnf"):
            ways |= turn_columns(pictures, BETWEEN_CIRCLES)
        assert lines.loc[run.hash][list(ways)].to_dict() == pytest.approx(ways)


def test_every_claim_has_a_place_what_decides_it_and_a_verdict() -> None:
    assert len(ROWS) > 40
    for row in ROWS:
        assert len(row) == 4, row
        assert all(row), row


def test_what_is_not_measured_names_the_command_that_will() -> None:
    commands = ("`nodebench ", "`scripts/", "the same")
    for claim, _, evidence, verdict in ROWS:
        if "not measured yet" in verdict:
            assert any(command in evidence for command in commands), claim


def test_links_lead_to_files_and_headings() -> None:
    slugs = {
        re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, re.M)
    }
    for target in re.findall(r"\]\(([^)]*)\)", TEXT):
        assert target[1:] in slugs if target.startswith("#") else (RESULTS / target).exists(), target


@pytest.fixture(scope="module")
def fig4() -> pd.DataFrame:
    return numbers_of("fig4").set_index(["data", "model"])


@pytest.mark.parametrize(
    ("data", "claim"),
    [
        ("u1", "the CNF generally has the lower loss at M = K: target 1"),
        ("u3", "the same: target 2"),
        ("u4", "the same: target 3"),
    ],
)
def test_figure_4_has_the_losses_of_its_runs(data: str, claim: str, fig4: pd.DataFrame) -> None:
    lists = {
        model: ", ".join(f"{kl:.4f}" for kl in fig4.loc[(data, model)].sort_values("units")["kl"])
        for model in ("cnf", "planar_nf")
    }
    assert f"CNF {lists['cnf']}; NF {lists['planar_nf']}" in evidence_for(claim)


def test_figure_4_counts_the_cells_in_which_the_cnf_is_better(fig4: pd.DataFrame) -> None:
    by_model = fig4.reset_index().pivot_table(index=["data", "units"], columns="model", values="kl")
    ratios = (by_model["planar_nf"] / by_model["cnf"]).sort_values()
    better = ratios[ratios > 1]
    assert f"lower in {len(better)} of {len(ratios)} cells" in evidence_for("a CNF with M units is at least")
    few, many = better[better < 10], better[better >= 10]
    assert (
        f"{many.min():.0f} to {many.max():.0f} times the CNF's in {len(many)} cells (target 1 and target 2 at 8), "
        f"{few.min():.1f} to {few.max():.1f} times in the other {len(few)}"
    ) in evidence_for("and sometimes much more")
    assert set(many.index) == {("u1", 8), ("u3", 8)}


def test_one_flow_of_figure_4_is_worse_than_the_next_smaller(fig4: pd.DataFrame) -> None:
    worse = [
        (*key, units)
        for key, group in fig4.sort_values("units").groupby(level=[0, 1])
        for units, growth in zip(group["units"], group["kl"].diff(), strict=True)
        if growth > 0  # NaN of the smallest
    ]
    assert worse == [("u1", "cnf", 32)]
    assert "the only one of 30 means" in evidence_for("more width makes a CNF better")


def test_flows_return_as_exactly_as_is_said() -> None:
    *errors, last_but_one, last = sorted(float(run.summary["recon_error"]) for run in continuous_flows())
    said = evidence_for("the dynamics need not be bijective").replace(" %", "%")
    assert f"{len(errors)} of the {len(errors) + 2} trained CNFs return within {errors[-1]:.2%}" in said
    assert f"within {last_but_one:.1%} and {last:.1%};" in said


def test_the_tolerance_changes_no_more_than_is_said(fig4: pd.DataFrame) -> None:
    fig5 = numbers_of("fig5")
    *_, but_two, _, kl = sorted((fig4["kl"] - fig4["kl_tight"]).abs())
    nll = (fig5["nll"] - fig5["nll_tight"]).abs().max()
    said = f"{kl:.1e} ({but_two:.1e} but for target 1 at 2 and 4 units) and {nll:.1e} nats".replace(
        "e-0", "e-"
    )
    assert said in evidence_for("a tolerance of 1e-5")


def test_figure_5_has_the_likelihoods_of_its_table() -> None:
    table = (RESULTS / "fig5_nll" / "table.md").read_text(
        encoding="utf-8"
    )  # tests/test_results.py makes it anew
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "±" in line
    ]
    nll = {(row[0], row[3]): row[6] for row in cells if len(row) > 6}
    said = evidence_for("a CNF is trained by maximum likelihood")
    assert (
        f"two circles {nll['two_circles', 'one_cycle']}, two moons {nll['two_moons', 'one_cycle']} nats"
        in said
    )
    assert f"recipe {nll['two_circles', 'constant']} and {nll['two_moons', 'constant']}" in said


def test_figure_5_compares_the_two_flows_as_its_runs_do() -> None:
    fig5 = numbers_of("fig5").groupby(["data", "model"])["nll"].mean().map("{:.3f}".format)
    assert (
        f"NF {fig5['two_moons', 'planar_nf']}, CNF {fig5['two_moons', 'cnf']} nats on two moons, "
        f"{fig5['two_circles', 'planar_nf']} and {fig5['two_circles', 'cnf']} on two circles"
    ) in evidence_for("the NF has difficulty fitting two moons")


@pytest.mark.parametrize(
    ("model", "claim"), [("cnf", "the CNF's way from noise to data"), ("planar_nf", "the NF's is not")]
)
def test_figure_5_has_the_ways_of_its_runs(model: str, claim: str) -> None:
    fig5 = numbers_of("fig5").query("seed == 0").set_index(["data", "model"])
    circles, moons = fig5.loc[("two_circles", model)], fig5.loc[("two_moons", model)]
    assert (
        f"circles {circles['tv_step']:.2f} and {circles['tv_two_steps']:.2f}, "
        f"moons {moons['tv_step']:.2f} and {moons['tv_two_steps']:.2f}"
    ) in evidence_for(claim)
    away = {0: "none of 19 steps leads away", 7: "7 of 19 steps lead away"}
    assert away[circles["steps_away"]] == away[moons["steps_away"]]
    assert away[circles["steps_away"]] in evidence_for(claim)
    if model == "planar_nf":
        assert f"{circles['mass_least']:.2f} and {moons['mass_least']:.2f} of the mass" in evidence_for(claim)


def test_figure_5_has_the_turn_of_its_run() -> None:
    way = numbers_of("fig5").query("seed == 0").set_index(["data", "model"]).loc[("two_circles", "cnf")]
    assert (
        f"turns by {way['turn_deg']:.0f} degrees, its second circular moment falls from {way['uneven_most']:.2f} "
        f"to {way['uneven_end']:.3f}"
    ) in evidence_for("to fit the circles it rotates")


def test_an_image_needs_what_its_record_says() -> None:
    (record,) = (RESULTS / "table1" / "runs").glob("*/*/seed0/per_image.csv")
    images = pd.read_csv(record)
    by_tol = images.groupby("tol")[["nfe", "nfe_shared"]].mean().sort_index(ascending=False)
    own, shared = (", ".join(f"{mean:.1f}" for mean in by_tol[name]) for name in by_tol)
    assert f"takes {own} evaluations an image at 1e-3, 1e-4, 1e-5, one for a batch of 100 takes {shared}" in (
        evidence_for("solving a minibatch as one ODE")
    )
    assert (by_tol["nfe_shared"] / by_tol["nfe"]).max() < 1.06
    page = (RESULTS / "per_image" / "README.md").read_text(encoding="utf-8")
    for tol, lines in images.groupby("tol"):
        means = lines.groupby("is_right")["nfe"].mean()
        fewer, more = (lines["nfe"] < lines["nfe_shared"]).mean(), (lines["nfe"] > lines["nfe_shared"]).mean()
        assert (
            f"| {f'{tol:.0e}'.replace('e-0', 'e-')} | {lines['nfe'].mean():.1f} | {lines['nfe_shared'].mean():.1f} "
            f"| {100 * fewer:.1f} % | {100 * more:.1f} % | {means[1]:.1f} | {means[0]:.1f} |"
        ) in page
    tight = images[images["tol"] == 1e-5]
    wrong, right = (tight.loc[tight["is_right"] == value, "nfe"] >= 62 for value in (0, 1))
    assert (
        f"{wrong.sum()} of the {len(wrong)} take 62 or more, of the others {100 * right.mean():.1f} %" in page
    )
