"""The columns of a result table, under the names that the run records use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nodebench.reporting.runs import Run


@dataclass(frozen=True)
class Metric:
    """A number from summary.json: how it is printed, and whether with its interval over the seeds."""

    format: str
    has_interval: bool = False


IDENTITY = ("model", "data", "solver", "tol", "gradient", "hash")
BOOKKEEPING = ("seeds", "status")
METRICS: dict[str, Metric] = {
    "error_train": Metric(".2f", has_interval=True),
    "error_val": Metric(".2f", has_interval=True),
    "error_test": Metric(".2f", has_interval=True),
    "loss_train": Metric(".4f"),
    "nll": Metric(".3f", has_interval=True),
    "nll_tight": Metric(".3f", has_interval=True),
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
    "model",
    "data",
    "solver",
    "tol",
    "gradient",
    "seeds",
    "error_test",
    "num_params",
    "memory_saved_mib",
    "memory_peak_mib",
    "nfe_forward",
    "nfe_backward",
    "time_step_ms",
    "recon_ok",
    "status",
)
LEGEND = (
    "Errors in percent, nll in nats, memory in MiB, nfe in evaluations a batch; "
    "means over the finished seeds, ± half the 95 % interval (Student's t)."
)


def identity(run: Run) -> dict[str, str]:
    """What tells one row from another; solver, tol and gradient stay empty for nets without an ODE."""
    data, model = run.names
    method = str(run.setting("solver.method") or "")
    return {
        "model": model,
        "data": data,
        "solver": method,
        "tol": _tolerance(run) if method else "",
        "gradient": str(run.setting("model.gradient") or ""),
        "hash": run.hash,
    }


def _tolerance(run: Run) -> str:
    """`1e-3`; `1e-3/1e-6` where rtol and atol differ; `dt=0.1` for fixed steps."""
    step = run.setting("solver.dt")
    if step is not None:
        return f"dt={step}"
    tol = run.setting("solver.tol")
    values = [run.setting("solver.rtol") or tol, run.setting("solver.atol") or tol]
    texts = [_power_of_ten(value) for value in values if value is not None]
    return "/".join(dict.fromkeys(texts))


def _power_of_ten(value: Any) -> str:
    try:
        mantissa, exponent = f"{float(value):.3e}".split("e")
    except (TypeError, ValueError):  # an edited config; the table shows what it says
        return str(value)
    return f"{float(mantissa):g}e{int(exponent)}"
