"""The columns of a result table, under the names that the run records use."""

from __future__ import annotations

from dataclasses import dataclass

from nodebench.ode.settings import precision, tolerances
from nodebench.reporting.runs import Run


@dataclass(frozen=True)
class Metric:
    """A number from summary.json: how it is printed, and whether with its interval over the seeds."""

    format: str
    has_interval: bool = False


IDENTITY = ("model", "data", "units", "solver", "tol", "gradient", "hash")
BOOKKEEPING = ("seeds", "status")
METRICS: dict[str, Metric] = {
    "error_train": Metric(".2f", has_interval=True),
    "error_val": Metric(".2f", has_interval=True),
    "error_test": Metric(".2f", has_interval=True),
    "loss_train": Metric(".4f"),
    "kl": Metric(".4f", has_interval=True),
    "kl_stderr": Metric(".4f"),
    "kl_tight": Metric(".4f", has_interval=True),
    "kl_train": Metric(".4f"),
    "kl_val": Metric(".4f"),
    "mass_in_box": Metric(".3f", has_interval=True),
    "nll": Metric(".3f", has_interval=True),
    "nll_stderr": Metric(".3f"),
    "nll_tight": Metric(".3f", has_interval=True),
    "nll_train": Metric(".3f"),
    "nll_val": Metric(".3f"),
    "epoch": Metric(".0f"),
    "step": Metric(".0f"),
    "num_params": Metric(",.0f"),
    "flops_forward": Metric(".3g"),
    "nfe_forward": Metric(".1f"),
    "nfe_backward": Metric(".1f"),
    "nfe_eval": Metric(".1f"),
    "num_accepted_forward": Metric(".1f"),
    "num_rejected_forward": Metric(".1f"),
    "num_accepted_backward": Metric(".1f"),
    "num_rejected_backward": Metric(".1f"),
    "memory_saved_mib": Metric(".1f"),
    "memory_peak_mib": Metric(".1f"),
    "time_forward_ms": Metric(".1f"),
    "time_forward_ms_iqr": Metric(".1f"),
    "time_backward_ms": Metric(".1f"),
    "time_backward_ms_iqr": Metric(".1f"),
    "time_step_ms": Metric(".1f"),
    "time_step_ms_iqr": Metric(".1f"),
    "time_epoch_s": Metric(".1f"),
    "time_epoch_s_iqr": Metric(".1f"),
    "recon_error": Metric(".1e"),
    "recon_ok": Metric(""),  # a yes or no, not a mean
}
DEFAULT_COLUMNS = (
    *(
        "model",
        "data",
        "units",
        "solver",
        "tol",
        "gradient",
        "seeds",
        "error_test",
        "nll",
        "kl",
        "mass_in_box",
    ),
    *("num_params", "memory_saved_mib", "memory_peak_mib", "nfe_forward", "nfe_backward", "time_step_ms"),
    *("recon_ok", "status"),
)
UNITS = {  # of the columns that begin so
    "error_": "errors in percent",
    "kl": "kl in nats",
    "nll": "nll in nats",
    "mass_in_box": "mass_in_box as a share",
    "flops_": "flops an image",
    "memory_": "memory in MiB",
    "nfe_": "nfe in evaluations a batch",
}


# Where a terminal has no room for all of them, the last of these go first; what is not here stays longest.
DISPENSABLE = (
    *("units", "seeds", "solver", "tol", "gradient", "nfe_forward", "nfe_backward", "time_step_ms"),
    *("num_params", "memory_saved_mib", "memory_peak_mib", "mass_in_box", "recon_ok"),
)


def unit(column: str) -> str:
    """What a metric's numbers are in, where its name does not tell; empty for any other column."""
    if column not in METRICS:
        return ""
    return next((words for start, words in UNITS.items() if column.startswith(start)), "")


def identity(run: Run) -> dict[str, str]:
    """What tells one row from another; solver, tol and gradient stay empty for nets without an ODE.

    units: the width or number of layers of a model that has one to choose.
    """
    data, model = run.names
    method = str(run.setting("solver.method") or "")
    return {
        "model": model,
        "data": data,
        "units": str(run.setting("model.width") or run.setting("model.num_layers") or ""),
        "solver": method,
        "tol": _tolerance(run) if method else "",
        "gradient": str(run.setting("model.gradient") or ""),
        "hash": run.hash,
    }


def _tolerance(run: Run) -> str:
    node = {key: run.setting(f"solver.{key}") for key in ("tol", "rtol", "atol", "dt")}
    return precision(*tolerances(node), node["dt"])
