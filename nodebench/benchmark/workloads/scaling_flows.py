"""How the change of density of flows grows with dimension and units, and what its two directions cost.

Determinants and traces over D and M, with fitted exponents; samples beside densities of flows that were trained for a
while.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from nodebench.benchmark.comparison import Setup
from nodebench.benchmark.directions import (
    DENSITY,
    LR,
    SAMPLE,
    TOL,
    UNITS,
    make_contestants,
    make_flows,
    train,
)
from nodebench.benchmark.flow_costs import COSTS, PLANE, WIDTH, flops_of, make_cases
from nodebench.benchmark.race import race
from nodebench.benchmark.report import Report, machine
from nodebench.benchmark.rows import to_markdown
from nodebench.benchmark.slopes import fit_slope, half_interval

NUM_FITTED = 4  # the largest sizes: below them a call is mostly its own overhead
# Sizes of both axes; training steps of the flows; their points; rounds.
FULL = ((16, 32, 64, 128, 256, 512, 1024, 2048), 300, 512, 7)
QUICK = ((16, 32, 64), 10, 64, 2)

COLUMNS = {"cost": "", "axis": "", "value": ".0f", "num_points": ".0f", "flops": ".3g", "time_ms": ".4g"}
SLOPE_COLUMNS = {
    "cost": "",
    "axis": "",
    "order": ".0f",
    "exponent_flops": "z.2f",
    "exponent_time": "z.2f",
    "half_interval": ".2f",
    "from": ".0f",
    "to": ".0f",
}
DIRECTION_COLUMNS = {
    "model": "",
    "direction": "",
    "num_points": ".0f",
    "nfe": ".0f",
    "time_ms": ".4g",
    "ratio": ".2f",
}


def scaling_flows(setup: Setup) -> Report:
    """The costs over every size with their exponents, and the two directions of Figure 5's flows."""
    sizes, num_steps, num_points, num_rounds = QUICK if setup.quick else FULL
    points = _costs(sizes, num_rounds, setup)
    slopes = fit_slopes(points)
    directions = _directions(num_steps, num_points, num_rounds, setup)
    page = _page(points, slopes, directions, num_steps, num_rounds, setup)
    return Report(
        "scaling_flows", page, {"scaling_flows": points, "slopes": slopes, "directions": directions}
    )


def fit_slopes(points: pd.DataFrame) -> pd.DataFrame:
    """One line a cost and axis: the exponents of operations and time over the largest sizes."""
    slopes = []
    for cost in COSTS:
        group = points[(points["cost"] == cost.name) & (points["axis"] == cost.axis)].tail(NUM_FITTED)
        sizes = group["value"].tolist()
        time = fit_slope(sizes, group["time_ms"].tolist())
        flops = fit_slope(sizes, group["flops"].tolist()).exponent if group["flops"].notna().all() else None
        interval = half_interval(time, len(sizes))
        slopes.append(
            (cost.name, cost.axis, cost.order, flops, time.exponent, interval, min(sizes), max(sizes))
        )
    return pd.DataFrame(slopes, columns=list(SLOPE_COLUMNS))


def _costs(sizes: Sequence[int], num_rounds: int, setup: Setup) -> pd.DataFrame:
    cases = make_cases(sizes, setup.device)
    results = race([case.contestant for case in cases], num_rounds, setup.tells("scaling_flows"))
    rows = [
        (case.cost.name, case.cost.axis, case.size, case.cost.num_points, flops_of(case.call), result.time_ms)
        for case, result in zip(cases, results, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _directions(num_steps: int, num_points: int, num_rounds: int, setup: Setup) -> pd.DataFrame:
    flows = make_flows(setup.device)
    for name, flow in flows.items():
        train(flow, num_steps, num_points, setup.tells(f"scaling_flows, training {name}"))
    entries = list(make_contestants(flows, num_points, setup.device))
    results = race(
        [contestant for *_, contestant in entries], num_rounds, setup.tells("scaling_flows, both ways")
    )
    rows = [
        (model, direction, num_points, result.last.nfe_forward or None, result.time_ms)
        for (model, direction, _), result in zip(entries, results, strict=True)
    ]
    table = pd.DataFrame(rows, columns=list(DIRECTION_COLUMNS)[:-1])
    of_samples = table[table["direction"] == SAMPLE].set_index("model")["time_ms"]
    return table.assign(ratio=table["time_ms"] / table["model"].map(of_samples))


def _page(
    points: pd.DataFrame,
    slopes: pd.DataFrame,
    directions: pd.DataFrame,
    num_steps: int,
    num_rounds: int,
    setup: Setup,
) -> str:
    quick = " Quick: small sizes and few rounds; the numbers say little." if setup.quick else ""
    what = (
        "What a change of density costs over the dimension D (`dim`) and the units M (`units`): one evaluation without "
        f"gradients, {num_rounds} rounds, every case in turn. Over D, M = {WIDTH}; over M, D = {PLANE}, as in the "
        f"paper's figures.{quick}"
    )
    legend = (
        "time ~ size^exponent_time: least squares on logarithms over the sizes `from` `to`, ± half the 95 % interval "
        "of the line (Student's t). `order` is what counting by hand gives; `exponent_flops` is of the products that "
        "torch's FlopCounterMode counts, with 2/3 n^3 for a factorisation. Time grows more slowly than that where "
        "calls are short or larger products go faster. The trace of given numbers is one pass over memory."
    )
    both_ways = (
        f"Figure 5's flows of {UNITS} units after {num_steps} Adam steps at {LR:g} on two circles, D = 2, dopri5 at "
        f"{TOL:g}: `{SAMPLE}` pushes points of the base to samples, `{DENSITY}` pulls data back; both give the "
        "log-density. `ratio` is time over that of samples. A planar layer has no inverse in closed form: it is found "
        "by Newton's method, layer after layer."
    )
    return "\n\n".join(
        [
            "# bench scaling_flows",
            what,
            machine(setup.device),
            "## Exponents",
            to_markdown(slopes, SLOPE_COLUMNS),
            legend,
            "## Samples and densities",
            to_markdown(directions, DIRECTION_COLUMNS),
            both_ways,
            "## Measurements",
            to_markdown(points, COLUMNS) + "\n",
        ]
    )
