"""`nodebench evaluate RUN --swap`: is a trained ODE-Net a flow, or the discretisation it was trained with?

Its predictions and test error with its own solver, and with others from one Euler step to dopri8 at a tight tolerance.
An error may stay where predictions do not, one image gained for one that is lost, so the predictions decide.
Source: Ott et al., "ResNet after all? Neural ODEs and their numerical solution", ICLR 2021 (arXiv 2007.15386).
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nodebench.commands.session import load_trained
from nodebench.commands.trained import (
    append_evaluation,
    check_has_solve,
    classifier_with_ode,
    evaluation_record,
    say_if_not_recorded,
)
from nodebench.config.errors import FailedError
from nodebench.counted import counted
from nodebench.models.classifiers import ODENet
from nodebench.ode import SolverError
from nodebench.ode.methods.traits import needs_tolerance
from nodebench.ode.settings import SolverSettings, precision_in_words, tolerances
from nodebench.reporting.flow_rule import DISCRETISATION, FLOW, FLOW_LIMIT, judge, why_undecided
from nodebench.tasks.classification import Classification
from nodebench.terminal import tell
from nodebench.training.progress import shown
from nodebench.training.protocols import NonFiniteValuesError, ShowProgress

RULE = (
    "rule        a flow if every solve with at least training's NFE changes the predicted class of less than "
    f"{FLOW_LIMIT} % of the images"
)
FIXED = ("euler", "midpoint", "rk4")
STEPS = (1.0, 0.5, 0.25, 0.125)
ADAPTIVE = ("dopri5", "bosh3", "dopri8")
TIGHT = 1e-5
USUAL = 1e-3  # where training had fixed steps and no tolerance
LINE = "{:<14} {:<20} {:>9} {:>15} {:>9} {:>6}"
INDENT = len("verdict     ")


def swap(folder: Path, config: dict[str, Any], config_dir: str | None, limit: int | None) -> int:
    """Evaluate the run in `folder` with every solver, print the table and the verdict.

    Each record is appended to evaluations.jsonl, unless `limit` keeps the first test images only. Returns 0, or 1 if
    training's own solve failed. Raises ConfigError for a run that is no classifier with an ODE, FailedError if a record
    could not be written.
    """
    check_has_solve(config, "evaluate --swap")
    if limit is None:
        say_if_not_recorded(folder)
    trained = load_trained(folder, config, config_dir)
    net, task, data = classifier_with_ode(trained)
    if limit is not None:
        data = data.tested_on(limit)
        task = Classification(data, task.seed, trained.device)
        trained = replace(trained, data=data, task=task)
    own = net.ode_block.solver
    of = f" of {data.whole['test']:,}" if "test" in data.whole else ""
    which = f"{'the first' if of else 'all'} {len(data.test):,}{of} test image{'' if len(data.test) == 1 else 's'}"
    print(f"run         {folder}, step {trained.step:,}\ndata        {which}")
    print(
        LINE.format("solver", "precision", "error (%)", "change (points)", "flips (%)", "NFE"),
        flush=True,
    )
    records: list[dict[str, Any]] = []
    unrecorded: FailedError | None = None
    predicted: list[Tensor] = []
    solvers = swapped(own, uses_tolerance=any(tolerances(config["solver"])))
    for number, settings in enumerate(solvers, start=1):
        with shown(f"solver {number}/{len(solvers)}") as progress:
            columns, classes = _evaluate(task, net, settings, progress)
        predicted.append(classes)
        if number > 1 and len(classes) == len(predicted[0]) > 0:
            columns["flips_test"] = 100 * float((classes != predicted[0]).double().mean())
        records.append(evaluation_record(trained, "swap", columns, _record(settings)))
        print(_line(records[-1], records[0]), flush=True)
        if limit is None and unrecorded is None:
            try:
                append_evaluation(folder, records[-1])
            except FailedError as error:  # what is computed is shown all the same
                unrecorded = error
    print()
    tell(verdict(records), INDENT)
    tell(RULE, INDENT)
    tell("flips       of the images, how many are called another class than with training's solver", INDENT)
    if limit is not None:
        tell(
            "recorded    nowhere: leave out --limit to evaluate all test images and record the results",
            INDENT,
        )
    elif unrecorded is not None:
        raise unrecorded
    else:
        print(f"next        {shlex.join(['nodebench', 'table', 'swap', '--runs', str(folder)])}")
    return 0 if "error_test" in records[0] else 1


def swapped(own: SolverSettings, uses_tolerance: bool) -> list[SolverSettings]:
    """Training's solver first, then the others, each once.

    Beside the same solver ten times coarser and finer (twice, for fixed steps): fixed steps of three orders, and
    adaptive methods at training's tolerance and a tight one.
    """
    if own.dt is None:
        near = [replace(own, rtol=own.rtol * factor, atol=own.atol * factor) for factor in (10, 0.1)]
    else:
        near = [replace(own, dt=dt) for dt in (own.dt * 2, own.dt / 2) if dt <= 1]
    fixed = [SolverSettings(method, dt=dt) for method in FIXED for dt in STEPS]
    rtol, atol = (own.rtol, own.atol) if uses_tolerance else (USUAL, USUAL)
    adaptive = [
        SolverSettings(
            method, rtol=rtol, atol=atol, controller=own.controller, norm=own.norm, steps=own.steps
        )
        for rtol, atol in ((rtol, atol), (TIGHT, TIGHT))
        for method in ADAPTIVE
    ]
    found: dict[str, SolverSettings] = {}
    for settings in (own, *near, *fixed, *adaptive):
        found.setdefault(str(_record(settings)), settings)
    return list(found.values())


def verdict(records: Sequence[dict[str, Any]]) -> str:
    """Whether the net is a flow, by RULE; the first record is of training's solver."""
    own, *others = records
    if "error_test" not in own:
        return f"verdict     none: the solve with training's own solver failed ({own['reason']})"
    fine = [record for record in others if record.get("nfe_eval", -1) >= own["nfe_eval"]]
    failed = sum("error_test" not in record for record in others)
    note = (
        f"; {counted(failed, 'solve')} failed and {'counts' if failed == 1 else 'count'} for neither"
        if failed
        else ""
    )
    if not fine:
        return f"verdict     none: no other solve spends training's {own['nfe_eval']:.0f} evaluations{note}"
    worst = max(fine, key=lambda record: float(record["flips_test"]))
    share, name = worst["flips_test"], " ".join(_words(worst["solver"]))
    what = f"{counted(len(fine), 'solve')} with at least training's {own['nfe_eval']:.0f} evaluations"
    found = judge(share, own["num_images"])
    if found == DISCRETISATION:
        return (
            f"verdict     {found}: of {what}, {name} changes most predictions, those of {share:.2f} % of the "
            f"images, and the error by {_change(worst, own):+.2f} points{note}"
        )
    verb = "changes" if len(fine) == 1 else "change"
    at_most = f"{what} {verb} the predicted class of at most {share:.2f} % of the images ({name})"
    reason = "" if found == FLOW else f"; {why_undecided(own['num_images'])}"
    return f"verdict     {found}: {at_most}{reason}{note}"


def _evaluate(
    task: Classification, net: ODENet, settings: SolverSettings, progress: ShowProgress
) -> tuple[dict[str, Any], Tensor]:
    """The columns of the test set and the predicted classes; of a solve that fails, its status, the reason and none."""
    net.ode_block.solver = settings
    try:
        columns, rows = task.classify(net, "test", progress)
    except (SolverError, NonFiniteValuesError) as error:
        return {"status": "failed", "reason": str(error)}, torch.empty(0)
    return dict(columns), rows["predicted"]


def _record(settings: SolverSettings) -> dict[str, Any]:
    """The solver as evaluations.jsonl has it: fixed steps of a Runge-Kutta method heed no tolerance."""
    heeded = needs_tolerance(settings.method, settings.dt)
    rtol, atol = (_round(settings.rtol), _round(settings.atol)) if heeded else (None, None)
    return {"method": settings.method, "rtol": rtol, "atol": atol, "dt": settings.dt}


def _round(tolerance: float) -> float:
    """1e-3 / 10 is 0.0001, and not 0.00010000000000000002."""
    return float(f"{tolerance:.12g}")


def _change(record: dict[str, Any], own: dict[str, Any]) -> float:
    return float(record["error_test"] - own["error_test"])


def _words(solver: dict[str, Any]) -> tuple[str, str]:
    return solver["method"], precision_in_words(*(solver[key] for key in ("rtol", "atol", "dt")))[0]


def _line(record: dict[str, Any], own: dict[str, Any]) -> str:
    name, precision = _words(record["solver"])
    if record is own:
        precision += " (training)"
    if "error_test" not in record:
        return f"{LINE.format(name, precision, 'failed', '', '', '').rstrip()}  {record['reason']}"
    has_change = record is not own and "error_test" in own
    return LINE.format(
        name,
        precision,
        f"{record['error_test']:.2f}",
        f"{_change(record, own):+.2f}" if has_change else "",
        f"{record['flips_test']:.2f}" if has_change else "",
        f"{record['nfe_eval']:.1f}" if math.isfinite(record["nfe_eval"]) else "",
    )
