"""What a forecast of time series is worth: its errors beside those of predictors that learned nothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nodebench.data import SeriesSet
from nodebench.training.protocols import NonFiniteValuesError


def rmse(error: Tensor, where: Tensor) -> float | None:
    """The root of the mean square of `error` (N, T, dim) at the entries of `where`; None if there are none.

    Raises NonFiniteValuesError if one of them is NaN or infinite.
    """
    chosen = error[where].double()
    if not len(chosen):
        return None
    if num_bad := int((~chosen.isfinite()).sum()):
        raise NonFiniteValuesError(
            f"the net predicts NaN or infinity for {num_bad:,} of {len(chosen):,} values"
        )
    return float(chosen.square().mean().sqrt())


def asked(series: SeriesSet) -> Tensor:
    """What is to be extrapolated: the values of the horizon that there are, (N, T, dim)."""
    return series.is_horizon[..., None] & series.is_there


def target(series: SeriesSet) -> Tensor:
    """The values without noise, where these are known; else as they are."""
    return series.values if series.clean is None else series.clean


def median_rmse(error: Tensor, where: Tensor) -> float | None:
    """The median over series of the RMSE of each; None if nothing is asked of any."""
    count = where.sum((1, 2))
    squares = torch.where(where, error.square(), error.new_zeros(())).sum((1, 2))
    each = (squares / count)[count > 0].sqrt()
    return float(each.median()) if len(each) else None


def naive_columns(series: SeriesSet) -> dict[str, float]:
    """`rmse_zero`, `rmse_last` and, of series that turn in the plane, `rmse_frozen`, over the horizon."""
    where, wanted = asked(series), target(series)
    columns = {
        "rmse_zero": rmse(wanted, where),
        "rmse_last": rmse(wanted - last_seen(series)[:, None], where),
    }
    if series.direction is not None and series.clean is not None:
        end = (~series.is_horizon).sum(1) - 1
        path = _from_centre(series.clean, series)
        radius = path.norm(dim=2)
        frozen = radius.gather(1, end[:, None])[..., None]
        columns["rmse_frozen"] = rmse(path * (1 - frozen / radius[..., None]), where)
    return {name: value for name, value in columns.items() if value is not None}


def last_seen(series: SeriesSet) -> Tensor:
    """The last value that was observed of each coordinate (N, dim), 0 where none was."""
    place = torch.arange(series.observed.shape[1], device=series.observed.device)[:, None]
    last = torch.where(series.observed, place, -1).amax(1, keepdim=True)
    return (series.values.gather(1, last.clamp(min=0)) * (last >= 0))[:, 0]


def shape_columns(predicted: Tensor, series: SeriesSet) -> dict[str, float]:
    """Of series that turn: how the median radius changes over the horizon, and the share that turns the right way."""
    if series.direction is None or int(series.is_horizon[0].sum()) < 2:
        return {}
    horizon = _from_centre(predicted, series)[:, series.is_horizon[0]]
    ratio = horizon[:, -1].norm(dim=1) / horizon[:, 0].norm(dim=1)
    right = turning(horizon).sign() == series.direction.to(predicted.device)
    return {"radius_ratio": float(ratio.median()), "turns_right": float(right.float().mean())}


def _from_centre(path: Tensor, series: SeriesSet) -> Tensor:
    """(N, T, dim) beside what the series turn around."""
    return path if series.centre is None else path - series.centre[:, None]


def turning(paths: Tensor) -> Tensor:
    """Twice the signed area that paths (..., T, 2) sweep around 0: above 0 if they turn counter-clockwise."""
    x, y = paths.unbind(-1)
    return (x[..., :-1] * y[..., 1:] - x[..., 1:] * y[..., :-1]).sum(-1)


def probe_accuracy(
    encode: Callable[[SeriesSet], Tensor], train: SeriesSet, test: SeriesSet, degree: int = 1
) -> float | None:
    """The share of test series whose direction a probe reads off their encodings; None if none is known.

    The probe is the least-squares fit of 1 and -1 to the encodings of the training series and, with degree 2, to their
    squares and products too. If every phase is as likely, a latent state that turns with the series has the same mean
    for either direction: a probe that is linear in it is at chance, and one of degree 2 need not be.
    """
    if train.direction is None or test.direction is None:
        return None

    def features(series: SeriesSet) -> Tensor:
        encoded = encode(series).cpu().double()
        encoded = torch.cat([encoded, encoded.new_ones(len(encoded), 1)], dim=1)
        if degree == 1:
            return encoded
        rows, columns = torch.triu_indices(encoded.shape[1], encoded.shape[1])
        return encoded[:, rows] * encoded[:, columns]

    # gelsd: features that repeat each other are no error
    weights = torch.linalg.lstsq(
        features(train), train.direction.cpu().double()[:, None], driver="gelsd"
    ).solution
    told = (features(test) @ weights)[:, 0].sign()
    return float((told == test.direction.cpu()).float().mean())
