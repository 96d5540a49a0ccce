"""What is said below Table 2: what its numbers are, how they compare, and where the paper was left."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from nodebench.records.jsonl import is_number
from nodebench.reporting.paper import TABLE2
from nodebench.reporting.series_cells import NAMES, NUM_POINTS, NUMBERS_OBSERVED, SeriesCell

LEGEND = (
    "Ours: last step's weights, mean over the finished seeds ± half the 95 % interval (Student's t). RMSE: root of the "
    "mean over all test series, the horizon's times and both coordinates, against the values without noise, from one "
    "sample of the posterior (RNN: its means, fed back), in the data's unit.",
    "Naive predictors, which say what an RMSE means: 0 at all times; the last observation; radius frozen: each series' "
    "own phase with the radius that it has at the end of the window, as on a limit cycle.",
    "Noisy: against the values with noise; mean z: from the posterior's mean; median: of the series' own RMSEs; ELBO "
    "and NLL an observed coordinate, KL a series; active: KL above 0.01; probe: share of test series whose direction a "
    "least-squares probe reads off the mean of z(t0), squared: with squares and products; radius ratio: median of the "
    "distance from the centre at the horizon's end over that at its beginning, 1 on a limit cycle; turns right: share "
    "whose extrapolation turns the right way; NFE a training step.",
    "Paper: Chen et al. 2018, Table 2: single numbers without seeds, called predictive RMSE on 100 times beyond those "
    "of training.",
    "Deviations from the paper, which states none of these where nothing else is said. Data: ours, spirals with shape, "
    "decay, window and noise measured off its Figure 8, and fresh ones to test on (the paper's are not published). "
    "Encoder: told the time between observations, as only the paper's second RNN is. Latent state: begins at the first "
    "time of the grid. Cells: the paper has RNNs; ours are in the notes. Solver: the paper's is SciPy's at its default "
    "1.5e-8. RMSE: one of several readings. Optimizer, steps and batches: see recipe.",
)
MAX_DECAY = 100
_DATA_KEYS = ("rho", "omega", "min_radius", "max_radius", "noise", "horizon", "num_train", "num_test")

Cells = Mapping[str, Mapping[int, SeriesCell]]
"""By model and number of observed points."""


def compare(cells: Cells) -> Iterator[str]:
    """Where the latent ODE is below the RNNs, and how much each gains from 30 to 100 points."""
    for baseline in ("rnn", "rnn_dt"):
        verdicts = [
            f"{number}: {verdict}"
            for number in NUMBERS_OBSERVED
            if (verdict := _verdict(cells["latent_ode"][number], cells[baseline][number]))
        ]
        if verdicts:
            yield f"Latent ODE below {NAMES[baseline]} by RMSE? {'; '.join(verdicts)}."
    few, many = NUMBERS_OBSERVED[0], NUMBERS_OBSERVED[-1]
    gains = []
    for model, by_number in cells.items():
        first, last = by_number[few].mean("rmse"), by_number[many].mean("rmse")
        if first and last:
            paper = TABLE2.get(model)
            of_paper = f", paper {paper[few] / paper[many]:.2f}" if paper else ""
            gains.append(f"{NAMES[model]} {first / last:.2f}{of_paper}")
    if gains:
        yield f"RMSE at {few} points over that at {many}: {'; '.join(gains)}."


def _verdict(ours: SeriesCell, baseline: SeriesCell) -> str:
    """`yes, by intervals apart`; empty where one of the two has no number."""
    mean, other = ours.mean("rmse"), baseline.mean("rmse")
    if mean is None or other is None:
        return ""
    reach, others_reach = ours.interval("rmse"), baseline.interval("rmse")
    if reach is None or others_reach is None:
        return f"{'yes' if mean < other else 'no'}, by one seed"
    if abs(other - mean) <= reach + others_reach:
        return "undecided, the intervals overlap"
    return "yes" if mean < other else "no"


def about_data(cells: Cells) -> Iterator[str]:
    """How the spirals of the runs were made, by the config of the first that is there."""
    rows = (cell.choice.row for by_number in cells.values() for cell in by_number.values())
    run = next((row.first for row in rows if row and row.counted), None)
    found = {key: run.setting(f"data.{key}") for key in _DATA_KEYS} if run else {}
    told = ", ".join(f"{key} {value}" for key, value in found.items() if value is not None)
    if told:
        yield f"Data: {told}."
    rho, omega, horizon = (found.get(key) for key in ("rho", "omega", "horizon"))
    if is_number(rho) and is_number(omega) and is_number(horizon) and omega:
        decay = rho / omega * 2 * math.pi * (horizon - 1) / NUM_POINTS
        if abs(decay) < MAX_DECAY:  # else no spiral that was ever drawn
            yield f"True radius, end over begin: {math.exp(-decay):.3f}."
