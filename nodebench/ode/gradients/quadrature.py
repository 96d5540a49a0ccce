"""The parameters' integral of the adjoint, by the weights of the method that solves it backwards."""

from __future__ import annotations

import torch
from torch import Tensor

from nodebench.ode.step import StageBuffer
from nodebench.ode.tableau import ButcherTableau


class ParameterQuadrature:
    """dL/dtheta by the method's own weights: integral += dt * sum_i b_i g_i, g_i = -a^T df/dtheta at stage i.

    A stage of weight 0, in the norm's error too where the parameters count there, needs no g_i; the last stage of a
    FSAL method does, as the first of the next step, and so does the trial of the initial-step rule.
    """

    def __init__(self, tableau: ButcherTableau, integral: Tensor, in_norm: bool) -> None:
        self._stages = StageBuffer(tableau, integral)
        for i in range(tableau.num_stages):
            self._stages[i] = integral  # zeros: stages that are skipped have weight 0, but 0 * NaN is NaN
        self._integral = integral
        self._num_stages = tableau.num_stages
        self._has_error = tableau.has_error_estimate
        self._is_fsal = tableau.is_fsal
        self._in_norm = in_norm
        b_err = tableau.b_err if in_norm and tableau.b_err is not None else tableau.b
        self.needed = frozenset(
            i for i, weights in enumerate(zip(tableau.b, b_err, strict=True)) if any(weights)
        )
        if tableau.is_fsal:
            self.needed |= {tableau.num_stages - 1}
        self._is_trial = in_norm
        self._foreseen: tuple[Tensor, Tensor] | None = None

    @property
    def in_norm(self) -> bool:
        """Whether the integrals count in the norm."""
        return self._in_norm

    @property
    def first(self) -> Tensor:
        """The integrand at stage 0."""
        return self._stages[0]

    @property
    def integral(self) -> Tensor:
        """The integral over the accepted steps."""
        return self._integral

    def needs(self, stage: int) -> bool:
        """Whether the integrand is wanted at a stage."""
        return stage in self.needed or self._is_trial

    def record(self, stage: int, integrand: Tensor) -> None:
        """Keep g of a stage."""
        self._stages[stage] = integrand

    def extend_state(self, y: Tensor) -> Tensor:
        """See seams.Quadrature."""
        return torch.cat([y, self._integral]) if self._in_norm else y

    def extend_stage(self, k: Tensor, i: int) -> Tensor:
        """See seams.Quadrature."""
        return torch.cat([k, self._stages[i]]) if self._in_norm else k

    def extend_error(
        self, y_error: Tensor, y0: Tensor, y1: Tensor, dt: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See seams.Quadrature."""
        if not self._in_norm or not self._has_error:
            return y_error, y0, y1
        self._end_trial()
        error = self._stages.error(dt)
        integral1 = self._stages.end(self._integral, dt)
        return torch.cat([y_error, error]), self.extend_state(y0), torch.cat([y1, integral1])

    def foresee(self, integral: Tensor, last: Tensor) -> None:
        """The integral at the end of a step and the integrand there, of a stepper that takes steps whole."""
        self._foreseen = integral, last

    def accept(self, dt: float) -> None:
        """See seams.Quadrature."""
        self._end_trial()
        if self._foreseen is None:
            self._integral.copy_(self._stages.end(self._integral, dt))
            last = self._stages[-1]
        else:
            integral, last = self._foreseen
            self._integral.copy_(integral)
        if self._is_fsal:
            self._stages[0] = last

    def _end_trial(self) -> None:
        """From the first step on, the trial's integrand must not stand where no step writes: 0 * NaN is NaN."""
        if self._is_trial:
            self._is_trial = False
            for i in range(1, self._num_stages):
                if i not in self.needed:
                    self._stages[i] = torch.zeros_like(self._integral)
