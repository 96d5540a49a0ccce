"""Time series: a model learns what was observed, and is asked how it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nodebench.data import Data, SeriesSet, Trajectories
from nodebench.models.sequences import LatentODE, Losses, SequenceModel
from nodebench.records import Column
from nodebench.records.declared import time_series
from nodebench.tasks.forecast_scores import (
    asked,
    median_rmse,
    naive_columns,
    probe_accuracy,
    rmse,
    shape_columns,
    target,
)
from nodebench.tasks.generators import generator, rows_of_step
from nodebench.tasks.measuring import counting, evaluating, flops_of, nfe_column, recon_columns
from nodebench.tasks.series_pictures import series_pictures
from nodebench.training.protocols import (
    NonFiniteValuesError,
    Pictures,
    ReadCounts,
    ShowProgress,
    StepOutput,
    show_nothing,
)

EVAL_BATCH_SIZE = 500
ACTIVE_KL = 0.01  # nats; below it the posterior of a latent dimension is the prior


class Batch(NamedTuple):
    """The series of a step, and where the noise of their posterior comes from."""

    series: SeriesSet
    chance: torch.Generator


class TimeSeries:
    """Sequence models on time series: maximum likelihood, or its lower bound (Chen et al. 2018, section 5).

    Every pass goes through the training series in an order of its own and drops an incomplete last batch. A record is
    written every `steps_per_record` steps.
    """

    name = "time_series"
    data_type: ClassVar[type[Data]] = Trajectories
    model_type: ClassVar[type[nn.Module]] = SequenceModel
    net_kind: ClassVar[str] = SequenceModel.net_kind
    has_epochs: ClassVar[bool] = False
    sample_unit = "series"
    columns: ClassVar[Sequence[Column]] = time_series.COLUMNS

    def __init__(
        self, data: Trajectories, seed: int, device: torch.device | str, steps_per_record: int = 250
    ) -> None:
        self.data = data
        self.seed = seed
        self.steps_per_epoch = steps_per_record
        self._splits = {name: split.to(device) for name, split in data.splits.items()}

    @property
    def best_by(self) -> str | None:
        """See the protocol: by the errors of what is asked, or where nothing is, by the likelihood."""
        if "val" not in self._splits:
            return None
        return "rmse_val" if bool(asked(self._splits["val"]).any()) else "nll_scalar_val"

    @classmethod
    def misfit(cls, data: Trajectories, net: type[nn.Module]) -> tuple[str, str] | None:
        """None: a sequence model is made for the coordinates of its data."""
        return None

    def check_model(self, module: SequenceModel) -> None:
        """Raises ValueError for a model that takes the noise of the data where this is not known."""
        if module.needs_noise_std and self.data.noise_std is None:
            raise ValueError(
                f"model.observation_noise=fixed takes the noise of the data, and that of data={self.data.name} is "
                "not known; choose model.observation_noise=learned"
            )

    def batch(self, step: int) -> Batch:
        """The training series of a step, counted from 0."""
        series = self._splits["train"]
        size = min(self.data.batch_size, len(series))
        rows = rows_of_step(step, self.seed, len(series), size)
        return Batch(series[rows.to(series.values.device)], generator("posterior", self.seed, step))

    def size_of(self, batch: Batch) -> int:
        """See the protocol."""
        return len(batch.series)

    def part(self, batch: Batch, rows: slice) -> Batch:
        """See the protocol."""
        return batch._replace(series=batch.series.part(rows, self.data.t0))

    def loss(self, module: SequenceModel, batch: Batch) -> StepOutput:
        """The negative ELBO, or negative log-likelihood, of the batch, in nats an observed scalar.

        It is a sum over what was observed of every series, KL and all; the number of scalars of the batch divides it,
        so that no learning rate depends on that number.
        """
        losses = module.losses(batch.series, self.data.t0, self.data.noise_std, batch.chance)
        num_scalars = losses.num_scalars.sum()
        return StepOutput(
            losses.negative_elbo.sum() / num_scalars,
            len(batch.series),
            {f"{name}_train": column for name, column in _likelihoods(losses).items()},
            weight=num_scalars,
        )

    def counting(self, module: nn.Module) -> AbstractContextManager[ReadCounts]:
        """See the protocol."""
        return counting(module)

    def evaluate(
        self, module: SequenceModel, split: str, progress: ShowProgress = show_nothing
    ) -> dict[str, float]:
        """val: `elbo_val`, `nll_scalar_val`, `rmse_val`. test: all columns that data and model have.

        The samples of the posterior are the same in every run. Empty for a val that was not held out. Raises
        NonFiniteValuesError for a likelihood of NaN or infinity, and for such predictions of what is asked.
        """
        series = self._split(split)
        if series is None:
            return {}
        with counting(module) as counts:
            losses, predicted = self._sampled(module, series, split, progress)
        nfe = nfe_column(counts(), 2 * len(list(_parts(series))))
        columns: dict[str, Any] = {**_likelihoods(losses), **_errors(predicted, series)}
        if split != "test":
            kept = {
                f"{name}_{split}": columns[name] for name in ("elbo", "nll_scalar", "rmse") if name in columns
            }
            return _numbers(kept) | nfe
        with evaluating(module):
            columns |= _latent_columns(module, losses, self._splits["train"], series, self.data.t0)
            if isinstance(module, LatentODE):
                mean = [module.predict(part, self.data.t0) for part in _parts(series)]
                columns["rmse_mean"] = rmse(torch.cat(mean) - target(series), asked(series))
        columns |= {**shape_columns(predicted, series), **naive_columns(series), **nfe}
        return _numbers(columns)

    def predictions(
        self, module: SequenceModel, split: str = "test", progress: ShowProgress = show_nothing
    ) -> dict[str, Tensor]:
        """Each series of a split, in its order, by its index `series`; raises as `evaluate` does.

        `num_asked` values of the horizon and their `rmse` (NaN where nothing is asked); `num_scalars` that were
        observed, `nll_scalar` and, of a model with a posterior, `elbo` in nats each: the same samples as in `evaluate`.
        """
        series = self._split(split)
        if series is None:
            return {}
        losses, predicted = self._sampled(module, series, split, progress)
        where = asked(series)
        squares = torch.where(where, predicted - target(series), predicted.new_zeros(())).double().square()
        num_asked = where.sum((1, 2))
        columns = {
            "num_asked": num_asked,
            "rmse": (squares.sum((1, 2)) / num_asked).sqrt(),
            "num_scalars": losses.num_scalars,
            "nll_scalar": losses.nll / losses.num_scalars,
            **({} if losses.kl is None else {"elbo": -losses.negative_elbo / losses.num_scalars}),
        }
        rows = {"series": torch.arange(len(series))}
        return rows | {name: column.detach().cpu() for name, column in columns.items()}

    def _split(self, split: str) -> SeriesSet | None:
        """None for a val that was not held out. Raises ValueError for an unknown split."""
        if split not in ("train", "val", "test"):
            raise ValueError(f"`split` is {split!r}; allowed: train, val, test")
        return self._splits.get(split)

    def _sampled(
        self, module: SequenceModel, series: SeriesSet, split: str, progress: ShowProgress
    ) -> tuple[Losses, Tensor]:
        """Losses and predictions (N, T, dim), each of one sample of the posterior that is the same in every run."""
        losses, sampled = [], []
        with evaluating(module):
            for index, part in enumerate(progress(list(_parts(series)))):
                chance = generator(f"posterior {split}", 0, index)
                losses.append(module.losses(part, self.data.t0, self.data.noise_std, chance))
                sampled.append(module.predict(part, self.data.t0, chance))
        _check_finite(losses)
        return _joined(losses), torch.cat(sampled)

    def final_metrics(self, module: SequenceModel) -> dict[str, Any]:
        """num_params; flops_forward, of one series as its share of a batch's loss; no reconstruction."""
        batch = self.batch(0)
        return {
            "num_params": sum(parameter.numel() for parameter in module.parameters()),
            "flops_forward": round(flops_of(module, lambda: self.loss(module, batch)) / len(batch.series)),
            **recon_columns([]),
        }

    def pictures(self, module: SequenceModel, is_final: bool) -> Pictures:
        """See series_pictures."""
        with evaluating(module):
            return series_pictures(module, self._splits["test"], self.data.t0)


def _numbers(columns: Mapping[str, float | Tensor | None]) -> dict[str, float]:
    """Those that there are."""
    return {name: float(value) for name, value in columns.items() if value is not None}


def _parts(series: SeriesSet) -> Iterator[SeriesSet]:
    for start in range(0, len(series), EVAL_BATCH_SIZE):
        yield series[slice(start, start + EVAL_BATCH_SIZE)]


def _check_finite(losses: Sequence[Losses]) -> None:
    nll = torch.cat([part.negative_elbo for part in losses])
    if num_bad := int((~nll.isfinite()).sum()):
        raise NonFiniteValuesError(
            f"the net gives a likelihood of NaN or infinity for {num_bad:,} of {len(nll):,} series"
        )


def _joined(losses: Sequence[Losses]) -> Losses:
    nll, kl, num_scalars = zip(*losses, strict=True)
    return Losses(torch.cat(nll), None if kl[0] is None else torch.cat(kl), torch.cat(num_scalars))


def _likelihoods(losses: Losses) -> dict[str, Tensor]:
    num_scalars = losses.num_scalars.sum()
    columns = {"nll_scalar": losses.nll.detach().sum() / num_scalars}
    if losses.kl is not None:
        columns["elbo"] = -losses.negative_elbo.detach().sum() / num_scalars
    return columns


def _errors(predicted: Tensor, series: SeriesSet) -> dict[str, float | None]:
    """Errors over the horizon; inside the window where all of it is predicted, at what was not given or has noise."""
    error, where = predicted - target(series), asked(series)
    inside = ~series.is_horizon[..., None] & series.is_there
    if series.clean is None:
        inside &= ~series.observed
    is_whole = not bool(predicted[inside].isnan().any())
    return {
        "rmse": rmse(error, where),
        "rmse_median": median_rmse(error, where),
        "rmse_noisy": None if series.clean is None else rmse(predicted - series.values, where),
        "rmse_interp": rmse(error, inside) if is_whole else None,
    }


def _latent_columns(
    module: SequenceModel, losses: Losses, train: SeriesSet, test: SeriesSet, t0: float
) -> dict[str, Any]:
    """What only a model with a latent state has."""
    if losses.kl is None:
        return {}
    kl = losses.kl.mean(0)
    columns: dict[str, Any] = {"kl_z0": kl.sum(), "active_units": (kl > ACTIVE_KL).sum()}
    if isinstance(module, LatentODE):
        for name, degree in (("probe_accuracy", 1), ("probe_quadratic", 2)):
            columns[name] = probe_accuracy(
                lambda series: module.posterior(series, t0)[0], train, test, degree
            )
    return columns
