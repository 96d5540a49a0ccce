"""How many times longer another library takes: its time over ours, mode by mode and best against best."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from nodebench.benchmark.bare import BARE
from nodebench.benchmark.libraries import DIFFRAX, OWN_STEPS
from nodebench.benchmark.problems import OWN

SAME_FIELD, PUBLISHED_FIELDS = "same field", "published fields"
COLUMNS = {
    "comparison": "",
    "theirs": "",
    "their_gradient": "",
    "their_execution": "",
    "our_gradient": "",
    "our_execution": "",
    "their_time_ms": ".4g",
    "our_time_ms": ".4g",
    "ratio": ".2f",
    "ratio_evaluation": ".2f",
    "their_error": ".1e",
    "our_error": ".1e",
}
# Of their modes that we name otherwise: those of ours that compute the same gradient, under the same kind of norm.
# RecursiveCheckpointAdjoint's is that of the discrete solve; BacksolveAdjoint's norm holds the parameters, as our full
# one does, and its seminorm is our state.
COUNTERPARTS = {
    (DIFFRAX, "checkpointed"): ("direct", "checkpointed"),
    (DIFFRAX, "backsolve"): ("adjoint-full",),
    (DIFFRAX, "backsolve-seminorm"): ("adjoint-state",),
}
LEGEND = (
    "Ratios are their time over ours, above 1 where nodebench is faster; `ratio_evaluation` compares the forward time "
    "of one evaluation, which with one method is that of a step. `same field`: our field in both libraries. `published "
    "fields`: ours in nodebench against that of torchdiffeq's examples in torchdiffeq. Like for like are rows of the "
    "same execution. Errors are of the gradient, or of the solution where no gradient is taken."
)


def make_ratios(rows: pd.DataFrame, tol: float | None, *, across_modes: bool = False) -> pd.DataFrame:
    """Ratios of the rows of make_rows at one tolerance, in COLUMNS; empty if nothing can be compared.

    `across_modes`: also each mode of theirs against our fastest that is no less exact, where that is another mode.
    """
    at_tol = rows if tol is None else rows[rows["tol"] == tol]
    contenders = at_tol[at_tol["library"] != BARE]
    ratios = []
    ours = contenders[contenders["library"] == OWN]
    theirs = contenders[contenders["library"] != OWN]
    for (library, field, their_execution), group in theirs.groupby(
        ["library", "field", "execution"], sort=False
    ):
        for execution, own in ours.groupby("execution", sort=False):
            comparison = SAME_FIELD if field in set(own["field"]) else PUBLISHED_FIELDS
            labels = {"comparison": comparison, "theirs": library}
            labels |= {"their_execution": their_execution, "our_execution": execution}
            pairs = [*_pairs(group, own), *(_no_less_exact(group, own) if across_modes else ())]
            ratios += [labels | _ratio(their, our) for their, our in pairs]
    return pd.DataFrame(ratios, columns=list(COLUMNS))


def _pairs(theirs: pd.DataFrame, ours: pd.DataFrame) -> Iterator[tuple[pd.Series, pd.Series]]:
    """Rows to compare: those of one gradient mode, then the fastest of each side where there are several."""
    for _, their in theirs.iterrows():
        for _, our in ours[ours["gradient"].isin(_counterparts(their))].iterrows():
            yield their, our
    if len(theirs) > 1 and len(ours) > 1:
        fastest = (side.loc[side["time_ms"].idxmin()].copy() for side in (theirs, ours))
        their, our = fastest
        their["gradient"], our["gradient"] = f"best: {their['gradient']}", f"best: {our['gradient']}"
        yield their, our


def _no_less_exact(theirs: pd.DataFrame, ours: pd.DataFrame) -> Iterator[tuple[pd.Series, pd.Series]]:
    for _, their in theirs.iterrows():
        exact = ours[ours["error_gradient"] <= their["error_gradient"]]
        if len(exact):
            our = exact.loc[exact["time_ms"].idxmin()].copy()
            if our["gradient"] not in _counterparts(their):
                our["gradient"] = f"no less exact: {our['gradient']}"
                yield their, our


def _counterparts(their: pd.Series) -> tuple[str, ...]:
    """Our modes of the same gradient, by shared steps and by own ones, whichever theirs takes."""
    mode = str(their["gradient"]).removesuffix(OWN_STEPS)
    shared = COUNTERPARTS.get((their["library"], mode), (mode,))
    return (*shared, *(f"{mode}{OWN_STEPS}" for mode in shared))


def _ratio(their: pd.Series, our: pd.Series) -> dict[str, object]:
    per_evaluation = [row["time_forward_ms"] / row["nfe_forward"] for row in (their, our)]
    error = "error_gradient" if pd.notna(their["error_gradient"]) else "error_solution"
    return {
        "their_gradient": their["gradient"],
        "our_gradient": our["gradient"],
        "their_time_ms": their["time_ms"],
        "our_time_ms": our["time_ms"],
        "ratio": their["time_ms"] / our["time_ms"],
        "ratio_evaluation": per_evaluation[0] / per_evaluation[1],
        "their_error": their[error],
        "our_error": our[error],
    }
