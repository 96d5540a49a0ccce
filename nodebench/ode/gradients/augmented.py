"""The augmented system of the adjoint: y, a = dL/dy and the integral of -a^T df/dtheta, in one flat state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nodebench.ode.counts import Counts
from nodebench.ode.field import CountedField, Time
from nodebench.ode.methods.implicit.jacobian import SampleJacobians


class Slope(NamedTuple):
    """d/dt of [y, a], with the integrand behind them where it was wanted; `used`: of which leaves f makes use."""

    slope: Tensor
    used: tuple[bool, ...]


def augmented(
    f: Callable[[Tensor], Tensor],
    y: Tensor,
    adj_y: Tensor,
    leaves: Sequence[Tensor],
    *,
    keep_graph: bool,
) -> Slope:
    """[f(y), -a^T df/dy, -a^T df/d(leaves)], flat, at one time; without leaves, without the last.

    Nothing is changed or kept, so that torch.compile takes it as it is. `keep_graph`: what f computed from time alone
    is shared by all stages of a step and must outlive this one.
    """
    y = y.detach().requires_grad_()
    with torch.enable_grad():
        dy = f(y)
    wanted = [y, *leaves]
    products: Sequence[Tensor | None] = [None] * len(wanted)
    if dy.requires_grad:
        products = torch.autograd.grad(dy, wanted, adj_y, allow_unused=True, retain_graph=keep_graph)
    flat = [
        (torch.zeros_like(x) if product is None else product).reshape(-1)
        for x, product in zip(wanted, products, strict=True)
    ]
    slope = torch.cat([dy.detach().reshape(-1), *flat])
    slope[dy.numel() :].neg_()
    return Slope(slope, tuple(product is not None for product in products[1:]))


class AugmentedJacobians:
    """Those of [y, a] for an implicit method: of y, and of a, as samples beside each other.

    How a's slope changes with y is left out; Newton's iteration, for which they are, takes one turn more for it.
    """

    def __init__(
        self, f: CountedField, y: Tensor, method: str, path: Callable[[float], Tensor] | None
    ) -> None:
        self._of_y = SampleJacobians(f, y, method)
        self._shape, self._n, self._path = y.shape, y.numel(), path

    @property
    def num_samples(self) -> int:
        """See Jacobians."""
        return 2 * self._of_y.num_samples

    def at(self, t: Time, y: Tensor) -> Tensor:
        """See Jacobians."""
        jacobian = self._of_y.at(
            t, y[: self._n].view(self._shape) if self._path is None else self._path(float(t))
        )
        return torch.cat([jacobian if self._path is None else torch.zeros_like(jacobian), -jacobian.mT])


class AugmentedField:
    """d/dt of the flat state [y, a, integral], as the steps see it: the integral rides along.

    With `path`, f is evaluated at the y(t) that it gives and the state's y rests: it is not solved backwards.
    The state is complex where a leaf is: complex parameters of a field of real states have complex integrals.
    """

    def __init__(
        self,
        f: CountedField,
        y: Tensor,
        leaves: Sequence[Tensor],
        path: Callable[[float], Tensor] | None = None,
    ) -> None:
        self._f, self._y, self._path = f, y, path
        self.shape, self._n = y.shape, y.numel()
        self.leaves = tuple(leaves)
        self.used = [False] * len(leaves)
        self.riding = sum(leaf.numel() for leaf in leaves)
        dtype = y.dtype.to_complex() if any(leaf.is_complex() for leaf in leaves) else y.dtype
        self._is_lifted = dtype != y.dtype
        self.no_integral = torch.zeros(self.riding, dtype=dtype, device=y.device)

    @property
    def counts(self) -> Counts:
        """Counts of the backward solve."""
        return self._f.counts

    @property
    def args(self) -> tuple[Any, ...]:
        """What f takes beside t and y."""
        return self._f.args

    def pack(self, y: Tensor, adj_y: Tensor, integral: Tensor) -> Tensor:
        """The state at the start of an interval."""
        return torch.cat([y.reshape(-1), adj_y.reshape(-1), integral])

    def split(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y, adj_y and the parameters' integral (flat) of a state."""
        return *self._pair(state), state[2 * self._n :]

    def _pair(self, state: Tensor) -> tuple[Tensor, Tensor]:
        if self._is_lifted:
            state = state.real
        return state[: self._n].view(self.shape), state[self._n : 2 * self._n].view(self.shape)

    def jacobians(self, method: str) -> AugmentedJacobians:
        """See HasJacobians. Raises ValueError for a complex state, also one that is for its parameters alone."""
        if self._is_lifted:
            raise ValueError(
                f"`{method}` needs a real state, and complex parameters make that of the adjoint complex; "
                "use an explicit adjoint_method such as dopri5"
            )
        return AugmentedJacobians(self._f, self._y, method, self._path)

    def note(self, used: Sequence[bool]) -> None:
        """Remember of which leaves f made use."""
        self.used = [before or now for before, now in zip(self.used, used, strict=True)]

    def __call__(self, t: Time, y: Tensor, integrand: bool = True) -> Tensor:
        """See Field."""
        return self._evaluate(t, partial(self._f, t), False, integrand, y)

    def at_times(
        self, ts: Sequence[Time], y: Tensor, integrands: Sequence[bool] | None = None
    ) -> list[Callable[[Tensor], Tensor]]:
        """See StageFields."""
        with torch.enable_grad():
            stage_fields = self._f.at_times(ts, y)
        shared = self._f.shares_stages
        wanted = integrands or [True] * len(stage_fields)
        return [
            partial(self._evaluate, t, f, shared, integrand)
            for t, f, integrand in zip(ts, stage_fields, wanted, strict=False)
        ]

    def _evaluate(
        self, t: Time, stage_field: Callable[[Tensor], Tensor], shared: bool, integrand: bool, state: Tensor
    ) -> Tensor:
        y, adj_y = self._pair(state)
        if self._path is not None:
            y = self._path(float(t))
        slope, used = augmented(stage_field, y, adj_y, self.leaves if integrand else (), keep_graph=shared)
        if self._path is not None:
            slope[: self._n] = 0
        if integrand:
            self.note(used)
        return slope
