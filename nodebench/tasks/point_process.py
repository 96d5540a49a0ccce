"""Point processes: a model learns the rate at which events happen from nothing but the events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from nodebench.data import Data, EventSequences, EventSet
from nodebench.models.sequences import LatentRate
from nodebench.models.sequences.latent_rate import Events, Rates
from nodebench.models.sequences.sequence_model import Losses
from nodebench.ode import SolverError
from nodebench.records import Column
from nodebench.records.declared import point_process
from nodebench.tasks.generators import generator, rows_of_step
from nodebench.tasks.measuring import counting, evaluating, flops_of, nfe_column, recon_columns
from nodebench.tasks.rate_scores import constant_rates, relative_rms, scores, true_rates
from nodebench.training.protocols import (
    NonFiniteValuesError,
    Pictures,
    ReadCounts,
    ShowProgress,
    StepOutput,
    show_nothing,
)

EVAL_BATCH_SIZE = 100
GRID_SIZE = 201  # times at which the rate is compared with the true one, and drawn
NUM_PICTURED = 4
NUM_RECONSTRUCTED = 256


class Batch(NamedTuple):
    """The sequences of a step, and where the noise of their posterior comes from."""

    events: Events
    chance: torch.Generator


class PointProcess:
    """Rates of Poisson processes by maximum likelihood, or its lower bound (Chen et al. 2018, section 5).

    Every pass goes through the training sequences in an order of its own and drops an incomplete last batch. A record
    is written every `steps_per_record` steps.
    """

    name = "point_process"
    data_type: ClassVar[type[Data]] = EventSequences
    model_type: ClassVar[type[nn.Module]] = LatentRate
    net_kind: ClassVar[str] = LatentRate.net_kind
    has_epochs: ClassVar[bool] = False
    sample_unit = "sequences"
    columns: ClassVar[Sequence[Column]] = point_process.COLUMNS

    def __init__(
        self, data: EventSequences, seed: int, device: torch.device | str, steps_per_record: int = 250
    ) -> None:
        self.data = data
        self.seed = seed
        self.steps_per_epoch = steps_per_record
        # The model moves what its net reads to its own device; the solver takes output times from the CPU.
        self.usual_rate = data.train.num_events / (len(data.train) * data.duration)
        self._grid = torch.linspace(0.0, data.duration, GRID_SIZE, dtype=torch.float64)

    @property
    def best_by(self) -> str | None:
        """See the protocol."""
        return "nll_event_val" if "val" in self.data.splits else None

    @classmethod
    def misfit(cls, data: EventSequences, net: type[nn.Module]) -> tuple[str, str] | None:
        """None: events have nothing but their times."""
        return None

    def batch(self, step: int) -> Batch:
        """The training sequences of a step, counted from 0."""
        size = min(self.data.batch_size, len(self.data.train))
        events = self._events(self.data.train, rows_of_step(step, self.seed, len(self.data.train), size))
        events = events._replace(times=events.times[:, : int(events.lengths.max())])
        return Batch(events, generator("posterior", self.seed, step))

    def size_of(self, batch: Batch) -> int:
        """See the protocol."""
        return len(batch.events.times)

    def part(self, batch: Batch, rows: slice) -> Batch:
        """See the protocol."""
        events = batch.events
        times, lengths = events.times[rows], events.lengths[rows]
        return batch._replace(
            events=events._replace(times=times, lengths=lengths, others=events.times.flatten())
        )

    def loss(self, module: LatentRate, batch: Batch) -> StepOutput:
        """The negative log-likelihood of the batch, or the bound on it, in nats, and `nll_event_train`.

        Both are sums over the sequences' events, divided by the number of events that so many sequences have on
        average. Their own number, which is random, would pull the rate down.
        """
        losses = module.losses(batch.events, batch.chance)
        num_events = self.usual_rate * self.data.duration * len(batch.events.times)
        nll = losses.nll.detach().sum() / num_events
        return StepOutput(
            losses.negative_elbo.sum() / num_events, len(batch.events.times), {"nll_event_train": nll}
        )

    def counting(self, module: nn.Module) -> AbstractContextManager[ReadCounts]:
        """See the protocol."""
        return counting(module)

    def evaluate(
        self, module: LatentRate, split: str, progress: ShowProgress = show_nothing
    ) -> dict[str, float]:
        """val: `nll_event_val`, `elbo_event_val`. test: nodebench/records/declared/point_process.py, as far as known.

        nll_event and elbo_event are of one sample of each posterior, the same in every run, ks and rate_error of its
        mean. Empty for a val that was not held out. Raises NonFiniteValuesError for a likelihood of NaN or infinity.
        """
        held_out = self._split(split)
        if held_out is None:
            return {}
        losses, rates = [], []
        with evaluating(module), counting(module) as counts:
            for index, rows in enumerate(progress(list(_parts(held_out)))):
                events = self._events(held_out, rows)
                losses.append(module.losses(events, generator(f"posterior {split}", 0, index)))
                if split == "test":
                    rates.append(self._rates(module, events))
        nfe = nfe_column(counts(), len(losses) + len(rates))
        columns = _likelihoods(losses, held_out.num_events)
        if split != "test":
            kept = ("nll_event", "elbo_event")
            return {f"{name}_{split}": columns[name] for name in kept if name in columns} | nfe
        return {**self._scores(Rates(*map(torch.cat, zip(*rates, strict=True)))), **columns, **nfe}

    def predictions(
        self, module: LatentRate, split: str = "test", progress: ShowProgress = show_nothing
    ) -> dict[str, Tensor]:
        """Each sequence of a split, in its order, by its index `sequence`; raises as `evaluate` does.

        `num_events`, `nll` and, of a model with a posterior, `elbo`, in nats a sequence, of the samples of `evaluate`.
        """
        held_out = self._split(split)
        if held_out is None:
            return {}
        losses = []
        with evaluating(module):
            for index, rows in enumerate(progress(list(_parts(held_out)))):
                chance = generator(f"posterior {split}", 0, index)
                losses.append(module.losses(self._events(held_out, rows), chance))
        _likelihoods(losses, held_out.num_events)  # raises for what is not finite
        nll, bound = (
            torch.cat([getattr(part, name) for part in losses]).cpu() for name in ("nll", "negative_elbo")
        )
        columns = {"sequence": torch.arange(len(held_out)), "num_events": held_out.lengths, "nll": nll}
        return columns if losses[0].kl is None else {**columns, "elbo": -bound}

    def _split(self, split: str) -> EventSet | None:
        """None for a val that was not held out. Raises ValueError for an unknown split."""
        if split not in ("train", "val", "test"):
            raise ValueError(f"`split` is {split!r}; allowed: train, val, test")
        return self.data.splits.get(split)

    def final_metrics(self, module: LatentRate) -> dict[str, Any]:
        """num_params; flops_forward, of one sequence as its share of a batch's loss; recon_error and recon_ok.

        The reconstruction is of the latent states of up to 256 training sequences, through the window and back.
        """
        batch = self.batch(0)
        some = self._events(self.data.train, torch.arange(min(NUM_RECONSTRUCTED, len(self.data.train))))
        with evaluating(module):
            z0 = module.start(some)
            recon_error = module.ode_block.reconstruction_error(module.state(z0))
        return {
            "num_params": sum(parameter.numel() for parameter in module.parameters()),
            "flops_forward": round(
                flops_of(module, lambda: self.loss(module, batch)) / len(batch.events.times)
            ),
            **recon_columns([recon_error]),
        }

    def pictures(self, module: LatentRate, is_final: bool) -> Pictures:
        """The first 4 test sequences (K), float32: `events` (K, n), NaN behind the last; over `grid` (G,) the learned
        rates `rate` and the true ones `rate_true` (K, G), NaN where they are not known; `rate_constant` ().

        Empty where a solve fails: a picture must not end a run.
        """
        test, rows = self.data.test, torch.arange(min(NUM_PICTURED, len(self.data.test)))
        events, grid = self._events(test, rows), self._grid
        try:
            with evaluating(module):
                rates = module.rates(events, module.start(events), grid.expand(len(rows), -1))
        except SolverError:
            return {}
        true = torch.full((len(rows), GRID_SIZE), torch.nan) if test.rate is None else self._true_rate()[rows]
        pictures = {
            "events": torch.where(events.is_event, test.times[rows], torch.nan),
            "grid": self.data.t_start + grid,
            "rate": rates.log_rate.exp(),
            "rate_true": true,
            "rate_constant": torch.tensor(self.usual_rate),
        }
        return {name: part.cpu().float().numpy() for name, part in pictures.items()}

    def _events(self, split: EventSet, rows: Tensor) -> Events:
        times = (split.times[rows] - self.data.t_start) * split.is_event[rows]
        return Events(times, split.lengths[rows], self.data.duration, self.usual_rate)

    def _rates(self, module: LatentRate, events: Events) -> Rates:
        """At the events, and behind them on the grid: one solve."""
        grid = self._grid.expand(len(events.times), -1)
        return module.rates(events, module.start(events), torch.cat([events.times, grid], dim=1))

    def _scores(self, rates: Rates) -> dict[str, float]:
        """What the test set says of rates at its events and on the grid, and of the two that they are compared with."""
        test = self.data.test
        events = self._events(test, torch.arange(len(test)))
        num_times = events.times.shape[1]
        at_events = Rates(rates.log_rate[:, :num_times], rates.integral[:, :num_times], rates.total)
        found = {"": at_events, "_constant": constant_rates(events)}
        columns: dict[str, float] = {}
        if test.rate is not None:
            found["_true"] = true_rates(test.rate, test, self.data.t_start, self.data.duration)
            true = self._true_rate()
            columns["rate_error"] = relative_rms(rates.log_rate[:, num_times:].exp(), true)
            columns["rate_error_constant"] = relative_rms(torch.full_like(true, self.usual_rate), true)
        for name, of in found.items():
            columns |= {f"{column}{name}": value for column, value in scores(of, events.is_event).items()}
        return columns

    def _true_rate(self) -> Tensor:
        """Of each test sequence on the grid, (N, G)."""
        test = self.data.test
        assert test.rate is not None, "asked for where it is known"
        shape = (len(test), GRID_SIZE)
        return test.rate(self.data.t_start + self._grid.expand(shape)).expand(shape)


def _parts(split: EventSet) -> Sequence[Tensor]:
    return torch.arange(len(split)).split(EVAL_BATCH_SIZE)


def _likelihoods(losses: Sequence[Losses], num_events: int) -> dict[str, float]:
    """`nll_event`; of a model with a posterior also `elbo_event` and `kl_z0`."""
    nll = torch.cat([part.nll for part in losses]).cpu().double()
    if num_bad := int((~nll.isfinite()).sum()):
        raise NonFiniteValuesError(
            f"the net gives a likelihood of NaN or infinity for {num_bad:,} of {len(nll):,} sequences"
        )
    columns = {"nll_event": float(nll.sum() / num_events)}
    if losses[0].kl is not None:
        bound = torch.cat([part.negative_elbo for part in losses]).cpu().double()
        columns["elbo_event"] = -float(bound.sum() / num_events)
        columns["kl_z0"] = float((bound - nll).mean())
    return columns
