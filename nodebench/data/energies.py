"""Four densities in the plane known up to their normaliser: p(z) = exp(-U(z) - wall(z)) / Z.

The energies U are those of Rezende and Mohamed (2015), arXiv 1505.05770, figure 3, shown there on [-4, 4]^2. U2,
U3 and U4 do not grow along z1, so exp(-U) has no integral over the plane and a flow could lower its divergence
forever by stretching. Hence the soft wall around that box, without effect inside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nodebench.data.checks import check_batch_size, check_window, tensor_words
from nodebench.data.errors import DataError

WALL = 100.0  # per squared unit outside the box: the density falls by e over 0.1
_PANELS_PER_UNIT = 4
_NODES_PER_PANEL = 16
_NUM_LOOKED_AT = 64


@dataclass(frozen=True)
class EnergyData:
    """A density known up to its normaliser.

    `energy` is U: (N, 2) to (N,), of any float dtype, differentiable. `window` is the half-width of the box,
    centred on 0, outside of which the wall stands. Raises DataError for a batch size below 1, a window without an
    extent, and an energy that cannot be called; `check` for its values.
    """

    name: str
    energy: Callable[[Tensor], Tensor]
    batch_size: int
    window: float = 4.0
    kind: ClassVar[str] = "an energy"
    example: ClassVar[str] = "u1"
    dim: ClassVar[int] = 2
    notes: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size)
        check_window(self.window)
        if not callable(self.energy):
            raise DataError(f"its energy is a {type(self.energy).__name__}; it must be a function energy(z)")

    def check(self) -> None:
        """Raises DataError unless `energy` gives U as it should, going by a few points of the box."""
        for dtype in (torch.float32, torch.float64):
            z = torch.rand(_NUM_LOOKED_AT, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))
            z = (self.window * (2 * z - 1)).requires_grad_()
            try:
                u = self.energy(z)
            except Exception as error:
                raise DataError(
                    f"energy(z) failed with {type(error).__name__} for z of {tensor_words(z)}: {error}"
                ) from error
            if not isinstance(u, Tensor) or u.shape != z.shape[:1] or u.dtype != dtype:
                raise DataError(
                    f"energy(z) gave {tensor_words(u)} for z of {tensor_words(z)}; needed: one number a point, "
                    "of the same type"
                )
            if not torch.isfinite(u).all():
                raise DataError(
                    f"energy(z) is NaN or infinite inside the window of {self.window:g}; it must be finite there"
                )
            if not u.requires_grad and not torch.equal(u, u[:1].expand_as(u)):
                raise DataError(
                    "energy(z) cannot be differentiated; it must be made of torch's operations on z alone"
                )

    def test_columns(self) -> dict[str, int]:
        """None: how many samples are drawn is the task's."""
        return {}

    def describe(self) -> str:
        """What is matched, in words."""
        return f"an energy in the plane, with a wall around [-{self.window:g}, {self.window:g}]^2"

    def potential(self, z: Tensor) -> Tensor:
        """U + wall, with wall = 100 sum_i max(|z_i| - window, 0)^2: (N, 2) to (N,), in the dtype of z."""
        outside = (z.abs() - self.window).relu()
        return self.energy(z) + WALL * outside.square().sum(-1)

    @cached_property
    def log_normaliser(self) -> float:
        """ln of the integral of exp(-U - wall) over the plane, to 1e-9."""
        # One unit outside the wall has risen to 100, so what lies beyond is below e^-100.
        return self._log_integral(self.window + 1)

    @cached_property
    def log_box_normaliser(self) -> float:
        """ln of the integral of exp(-U) over the box alone, to 1e-9."""
        return self._log_integral(self.window)

    def _log_integral(self, limit: float) -> float:
        """ln of the integral of exp(-potential) over [-limit, limit]^2: Gauss's rule on panels, in float64.

        The wall's second derivative jumps where it begins, so its foot is an edge between panels.
        """
        inner = np.linspace(-self.window, self.window, 2 * math.ceil(_PANELS_PER_UNIT * self.window) + 1)
        margin = (
            np.linspace(self.window, limit, _PANELS_PER_UNIT + 1)[1:] if limit > self.window else inner[:0]
        )
        edges = np.concatenate([-margin[::-1], inner, margin])
        nodes, weights = np.polynomial.legendre.leggauss(_NODES_PER_PANEL)
        half, centre = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
        x = torch.from_numpy((centre + half * nodes).ravel())
        log_weight = torch.from_numpy(np.log(half * weights).ravel())
        potential = self.potential(torch.cartesian_prod(x, x)).reshape(len(x), len(x))
        return float((log_weight[:, None] + log_weight - potential).flatten().logsumexp(0))


def u1(batch_size: int = 512) -> EnergyData:
    """A ring of radius 2, heavy on its left and right."""

    def energy(z: Tensor) -> Tensor:
        ring = ((torch.linalg.vector_norm(z, dim=-1) - 2) / 0.4).square() / 2
        right, left = ((z[..., 0] - 2) / 0.6).square() / 2, ((z[..., 0] + 2) / 0.6).square() / 2
        return ring - torch.logaddexp(-right, -left)

    return EnergyData("u1", energy, batch_size)


def u2(batch_size: int = 512) -> EnergyData:
    """A band along a sine."""

    def energy(z: Tensor) -> Tensor:
        return ((z[..., 1] - _sine(z)) / 0.4).square() / 2

    return EnergyData("u2", energy, batch_size)


def u3(batch_size: int = 512) -> EnergyData:
    """A band along a sine, of which a second one branches off downwards around z1 = 1 and returns."""

    def energy(z: Tensor) -> Tensor:
        bump = 3 * (-((z[..., 0] - 1) / 0.6).square() / 2).exp()
        return _two_bands(z, 0.35, bump)

    return EnergyData("u3", energy, batch_size)


def u4(batch_size: int = 512) -> EnergyData:
    """A band along a sine that splits in two at z1 = 1."""

    def energy(z: Tensor) -> Tensor:
        step = 3 * ((z[..., 0] - 1) / 0.3).sigmoid()
        return _two_bands(z, 0.4, step)

    return EnergyData("u4", energy, batch_size)


def _sine(z: Tensor) -> Tensor:
    """The paper's w1, of z1 alone: (N,)."""
    return (2 * math.pi * z[..., 0] / 4).sin()


def _two_bands(z: Tensor, width: float, drop: Tensor) -> Tensor:
    """The energy of a band of `width` along the sine beside one of width 0.35 that lies `drop` lower."""
    height = z[..., 1] - _sine(z)
    upper, lower = (height / width).square() / 2, ((height + drop) / 0.35).square() / 2
    return -torch.logaddexp(-upper, -lower)
