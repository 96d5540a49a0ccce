"""Encoders of a latent ODE: recurrent nets that read a series backwards in time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nodebench.data.trajectories import Readings
from nodebench.models.ode_block import ODEBlock
from nodebench.ode.settings import SolverSettings

ENCODERS = ("rnn", "gru", "ode_rnn")


class Backwards(NamedTuple):
    """Readings in the order in which they are read, the latest first: (N, n) and (N, n, dim).

    gaps: the time from each to what is read next, of the last to t0; 0 after the last.
    """

    values: Tensor
    is_there: Tensor
    gaps: Tensor
    is_read: Tensor
    lengths: Tensor


def backwards(readings: Readings, t0: float) -> Backwards:
    """Each series reversed in time by itself, its gaps computed anew."""
    num_read = readings.times.shape[1]
    place = torch.arange(num_read, device=readings.times.device)
    order = (readings.lengths[:, None] - 1 - place).clamp(min=0)
    is_read = place < readings.lengths[:, None]
    times = torch.where(is_read, readings.times.gather(1, order), t0)
    earlier = torch.cat([times[:, 1:], torch.full_like(times[:, :1], t0)], dim=1)
    coordinates = order[..., None].expand_as(readings.values)
    return Backwards(
        readings.values.gather(1, coordinates) * is_read[..., None],
        readings.is_there.gather(1, coordinates) & is_read[..., None],
        times - earlier,
        is_read,
        readings.lengths,
    )


class RecurrentEncoder(nn.Module):
    """The hidden state (N, hidden_dim) of a tanh RNN or a GRU that has read a series backwards.

    It reads the values; with `time_input` the time to what is read next, which is t0 in the end, so that it knows
    where the latent state begins; with `mask_input` which coordinates are there.
    """

    def __init__(self, kind: str, dim: int, hidden_dim: int, time_input: bool, mask_input: bool) -> None:
        super().__init__()
        self.time_input, self.mask_input = time_input, mask_input
        num_inputs = dim * (1 + mask_input) + time_input
        self.recurrence = Recurrence(kind, num_inputs, hidden_dim)

    def forward(self, readings: Readings, t0: float) -> Tensor:
        read = backwards(readings, t0)
        gaps, is_there = read.gaps if self.time_input else None, read.is_there if self.mask_input else None
        states = self.recurrence(inputs_of(read.values, gaps, is_there))
        return states[torch.arange(len(states), device=states.device), read.lengths - 1]


class ODERNNEncoder(nn.Module):
    """A GRU whose hidden state follows an ODE from each reading to the next, and to t0 in the end.

    The gaps differ from series to series, so each solve is over s from 0 to 1 of dh/ds = gap f(h): all series of a
    batch arrive together. Rubanova et al. (2019), section 3.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        field_dim: int,
        mask_input: bool,
        gradient: str,
        solver: SolverSettings,
    ) -> None:
        super().__init__()
        self.mask_input = mask_input
        self.cell = nn.GRUCell(dim * (1 + mask_input), hidden_dim)
        self.ode_block = ODEBlock(ScaledField(hidden_dim, field_dim), solver, gradient)

    def forward(self, readings: Readings, t0: float) -> Tensor:
        read = backwards(readings, t0)
        inputs = inputs_of(read.values, None, read.is_there if self.mask_input else None)
        h = inputs.new_zeros(len(inputs), self.cell.hidden_size)
        for step in range(inputs.shape[1]):
            h = torch.where(read.is_read[:, step, None], self.cell(inputs[:, step], h), h)
            h = self.ode_block.solve(h, (0.0, 1.0), (read.gaps[:, step, None],)).ys[-1]
        return h


class ScaledField(nn.Module):
    """dh/ds = gap tanh(W2 tanh(W1 h)): a hidden state's own dynamics over gaps (N, 1) of time."""

    def __init__(self, hidden_dim: int, field_dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(hidden_dim, field_dim), nn.Tanh(), nn.Linear(field_dim, hidden_dim), nn.Tanh()
        )

    def forward(self, t: Tensor, h: Tensor, gaps: Tensor) -> Tensor:
        dh: Tensor = gaps * self.net(h)
        return dh


class Recurrence(nn.Module):
    """Hidden states (N, n, hidden_dim) of a tanh RNN or a GRU that begins at 0, of inputs (N, n, num_inputs).

    torch's RNN adds two biases where one is as good; it has none here, and a constant 1 is read beside the inputs.
    """

    def __init__(self, kind: str, num_inputs: int, hidden_dim: int) -> None:
        super().__init__()
        self.is_gru = kind == "gru"
        self.cell = (
            nn.GRU(num_inputs, hidden_dim, batch_first=True)
            if self.is_gru
            else nn.RNN(num_inputs + 1, hidden_dim, bias=False, batch_first=True)
        )

    def forward(self, inputs: Tensor, h0: Tensor | None = None) -> Tensor:
        """h0: (N, hidden_dim), the state to go on from."""
        if not self.is_gru:
            inputs = torch.cat([inputs, inputs.new_ones(*inputs.shape[:2], 1)], dim=2)
        states: Tensor = self.cell(inputs, None if h0 is None else h0[None])[0]
        return states


def inputs_of(values: Tensor, gaps: Tensor | None, is_there: Tensor | None) -> Tensor:
    """What a recurrent net reads, (N, n, ...): values (N, n, dim), beside them gaps (N, n) and is_there (N, n, dim)."""
    inputs = [values]
    if gaps is not None:
        inputs.append(gaps[..., None])
    if is_there is not None:
        inputs.append(is_there.to(values.dtype))
    return torch.cat(inputs, dim=2)
