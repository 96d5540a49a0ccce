"""Columns of time series: likelihoods in nats a scalar, errors in the data's own unit.

rmse is over the horizon, pooled over series and coordinates, against values without noise where these are known, from
one posterior sample; the others say what they change of that. rmse_zero, rmse_last and rmse_frozen are of predictors
that learned nothing: 0; the last observation; the right phase with the radius as it was at the end of the window.
"""

from __future__ import annotations

from functools import partial

from nodebench.records.column import Column, Shown

_nats = partial(
    Column,
    format=".3f",
    unit="elbo and nll_scalar in nats an observed scalar",
    chart="elbo",
    shown=Shown.NOWHERE,
)
_rmse = partial(
    Column, format=".4f", unit="rmse a coordinate, over the horizon", chart="rmse", shown=Shown.NOWHERE
)
_share = partial(Column, format=".3f", has_interval=True, chart="shape", shown=Shown.NOWHERE)

KL_Z0 = Column("kl_z0", ".2f", "kl_z0 in nats", has_interval=True, chart="elbo", shown=Shown.NOWHERE)

COLUMNS = (
    _nats("elbo_train", screen="ELBO"),
    _nats("elbo_val", screen="ELBO"),
    _nats("nll_scalar_train", chart="nll", screen="NLL"),
    _nats("nll_scalar_val", chart="nll", screen="NLL"),
    _rmse("rmse_val", screen="RMSE"),
    _rmse("rmse", has_interval=True, shown=Shown.EVERYWHERE),
    _rmse("rmse_noisy", has_interval=True),
    _rmse("rmse_mean", has_interval=True, shown=Shown.AFTER_TRAINING),
    _rmse("rmse_median", has_interval=True),
    _rmse("rmse_interp", has_interval=True, shown=Shown.AFTER_TRAINING),
    _rmse("rmse_zero", chart=""),
    _rmse("rmse_last", chart=""),
    _rmse("rmse_frozen", chart=""),
    _nats("elbo", has_interval=True, shown=Shown.AFTER_TRAINING | Shown.HPARAMS),
    _nats("nll_scalar", chart="nll", has_interval=True, shown=Shown.AFTER_TRAINING | Shown.HPARAMS),
    KL_Z0,
    Column("active_units", ".0f", chart="elbo", shown=Shown.NOWHERE),
    _share("probe_accuracy", unit="probe_accuracy and probe_quadratic as shares"),
    _share("probe_quadratic"),
    _share("radius_ratio", unit="radius_ratio from the horizon's begin to its end"),
    _share("turns_right", unit="turns_right as a share"),
)
