"""The paper's two baselines: recurrent nets that predict the next observation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nodebench.data.trajectories import Readings, SeriesSet
from nodebench.models.checks import check_choice, check_sizes
from nodebench.models.sequences.encoders import Recurrence, inputs_of
from nodebench.models.sequences.sequence_model import Losses, SequenceModel, gaussian_nll

CELLS = ("rnn", "gru")
CLOCKS = ("mean_gap", "grid")
MAX_STEPS = 1000  # of a roll-out


class RNN(SequenceModel):
    """p(x_k+1 | x_1 ... x_k) = N(mean, variance), both given by a tanh RNN (or GRU) that has read x_1 ... x_k.

    With `time_input` it also reads the time from each observation to the next one. Beyond the last observation it is
    fed its own means: in steps of the mean gap between the observations of the series, and read off between them on
    straight lines (`clock` mean_gap), or from each time of the grid to the next (grid). Without `time_input` it cannot
    know of any other step than the ones it has seen, so a step for each time of the grid would run too fast by as much
    as points are missing. Chen et al. (2018), section 5.1. Raises ValueError for a size below 1 and unknown choices.
    """

    def __init__(
        self,
        cell: str = "rnn",
        time_input: bool = False,
        mask_input: bool = False,
        hidden_dim: int = 25,
        clock: str = "mean_gap",
        dim: int = 2,
    ) -> None:
        super().__init__()
        check_choice("cell", cell, CELLS)
        check_choice("clock", clock, CLOCKS)
        check_sizes(hidden_dim=hidden_dim)
        self.dim, self.clock = dim, clock
        self.time_input, self.mask_input = time_input, mask_input
        self.recurrence = Recurrence(cell, dim * (1 + mask_input) + time_input, hidden_dim)
        self.to_next = nn.Linear(hidden_dim, 2 * dim)

    def losses(
        self, seen: SeriesSet, t0: float, noise_std: float | None, chance: torch.Generator | None
    ) -> Losses:
        """See SequenceModel: the likelihood of every observation but the first, given those before it."""
        read = seen.readings()
        _, mean, log_variance = self.one_step_ahead(read)
        is_next = read.is_there[:, 1:]
        nll = gaussian_nll(read.values[:, 1:], mean[:, :-1], log_variance[:, :-1], is_next)
        return Losses(nll, None, is_next.sum((1, 2)))

    def predict(self, seen: SeriesSet, t0: float, chance: torch.Generator | None = None) -> Tensor:
        """See SequenceModel: up to the last observation one step ahead, where something was observed; then onwards."""
        read = seen.readings()
        states, mean, _ = self.one_step_ahead(read)
        predicted = torch.full_like(seen.values, torch.nan)
        is_read = seen.observed.any(2)
        place = torch.arange(read.times.shape[1], device=read.times.device)
        is_next = (place >= 1) & (place < read.lengths[:, None])
        after_first = is_read & (is_read.cumsum(1) > 1)
        predicted[after_first] = mean.roll(1, dims=1)[is_next]

        times = seen.own_times
        num_times = times.shape[1]
        last = torch.where(is_read, torch.arange(num_times, device=times.device), -1).amax(1)
        steps = torch.arange(1, num_times, device=times.device)
        ahead = last[:, None] + steps  # where in the series each step of the grid leads
        is_ahead = ahead < num_times
        if is_ahead.any():
            wanted = times.gather(1, ahead.clamp(max=num_times - 1))[:, : int(is_ahead.sum(1).max())]
            onwards = self._roll_out(read, states, wanted)
            is_ahead = is_ahead[:, : wanted.shape[1]]
            rows, columns = is_ahead.nonzero(as_tuple=True)
            predicted[rows, ahead[rows, columns]] = onwards[rows, columns]
        return predicted

    def one_step_ahead(self, read: Readings) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states, and mean and log-variance of what comes next, after each reading: (N, n, ...)."""
        gaps = torch.cat([read.times.diff(dim=1), torch.zeros_like(read.times[:, :1])], dim=1)
        states = self.recurrence(self._inputs(read.values, read.is_there, gaps))
        mean, log_variance = self.to_next(states).chunk(2, dim=2)
        return states, mean, log_variance

    def _inputs(self, values: Tensor, is_there: Tensor, gaps: Tensor) -> Tensor:
        return inputs_of(values, gaps if self.time_input else None, is_there if self.mask_input else None)

    def _roll_out(self, read: Readings, states: Tensor, wanted: Tensor) -> Tensor:
        """The means at `wanted` times (N, K) after the last reading of each series: (N, K, dim)."""
        rows = torch.arange(len(wanted), device=wanted.device)
        last = read.lengths - 1
        t_last, x_last = read.times[rows, last], read.values[rows, last]
        is_there = read.is_there[rows, last]
        h = self._before_last(read, states)
        if self.clock == "grid":
            gaps = torch.cat([t_last[:, None], wanted], dim=1).diff(dim=1).clamp(min=0)
            return self._onwards(h, x_last, is_there, gaps)
        mean_gap = (t_last - read.times[:, 0]) / last.clamp(min=1)
        mean_gap = torch.where(mean_gap > 0, mean_gap, wanted[:, -1] - t_last)  # of a series read once
        mean_gap = torch.where(mean_gap > 0, mean_gap, torch.ones_like(mean_gap))  # at its last time
        ahead = wanted.amax(1) - t_last
        mean_gap = torch.maximum(mean_gap, ahead / MAX_STEPS)  # of observations that lie on top of each other
        num_steps = int((ahead / mean_gap).amax().ceil().clamp(min=1))
        steps = self._onwards(h, x_last, is_there, mean_gap[:, None].expand(-1, num_steps))
        steps = torch.cat([x_last[:, None], steps], dim=1)
        position = ((wanted - t_last[:, None]) / mean_gap[:, None]).clamp(0, num_steps)
        below = position.floor().long().clamp(max=num_steps - 1)
        weight = (position - below)[..., None]
        return torch.lerp(steps[rows[:, None], below], steps[rows[:, None], below + 1], weight)

    def _before_last(self, read: Readings, states: Tensor) -> Tensor:
        """The state before the last reading, which is read again with the gap to what comes after it."""
        previous = read.lengths - 2
        h = states[torch.arange(len(states), device=states.device), previous.clamp(min=0)]
        return torch.where((previous >= 0)[:, None], h, torch.zeros_like(h))

    def _onwards(self, h: Tensor, x: Tensor, is_there: Tensor, gaps: Tensor) -> Tensor:
        """The means after each of the gaps (N, K), fed back as the next input: (N, K, dim)."""
        means = []
        for gap in gaps.unbind(1):
            h = self.recurrence(self._inputs(x[:, None], is_there[:, None], gap[:, None]), h)[:, 0]
            x, is_there = self.to_next(h)[:, : self.dim], torch.ones_like(is_there)
            means.append(x)
        return torch.stack(means, dim=1)
