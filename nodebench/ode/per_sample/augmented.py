"""The augmented system of the adjoint, a row a sample: [y_i, a_i], and the parameters' integral beside it.

A parameter belongs to all samples, so its gradient is the sum over them of each one's integral of a_i^T df/dtheta, by
the weights b_s dt_i of each sample's own steps. Which rows' steps stand is known once a step is over: until then the
graphs of its stages are kept, and one product with the parameters' Jacobian takes the rows that count, each by its
weight. The slope at the end of a step is the first stage of the next: its graph is kept until that stands for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nodebench.ode.counts import Counts
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.per_sample.control import Booleans, Integers
from nodebench.ode.per_sample.course import Trial
from nodebench.ode.per_sample.rows import RowField
from nodebench.ode.per_sample.step import to_device
from nodebench.ode.per_sample.times import Floats


@dataclass
class _Evaluation:
    """f(t, y) of all rows with its graph, and a."""

    dy: Tensor
    adj_y: Tensor


@dataclass
class _Start:
    """An evaluation that is the first stage of the next step of its rows; `weights` of those whose step stands."""

    evaluation: _Evaluation
    samples: Integers
    waits: Booleans
    weights: Floats


class AugmentedRows:
    """d/dt of [y, a] (b, 2n); as an observer of the solve it adds up the parameters' gradients `grads`."""

    def __init__(
        self, f: RowField, leaves: Sequence[Tensor], tableau: ButcherTableau, num_samples: int
    ) -> None:
        self._f, self._leaves, self._tableau = f, list(leaves), tableau
        self._num_samples = num_samples
        self._evaluations: list[_Evaluation] = []
        self._starts: list[_Start] = []
        self.grads: list[Tensor | None] = [None] * len(self._leaves)

    @property
    def counts(self) -> Counts:
        """Counts of the backward solve."""
        return self._f.counts

    def __call__(self, t: Tensor, state: Tensor) -> Tensor:
        """See Slopes."""
        y, adj_y = state.detach().chunk(2, dim=1)
        y = y.contiguous().requires_grad_()
        with torch.enable_grad():
            dy = self._f(t, y)
        product: Tensor | None = None
        if dy.requires_grad:
            keeps = bool(self._leaves)
            (product,) = torch.autograd.grad(dy, y, adj_y, allow_unused=True, retain_graph=keeps)
            if keeps:
                self._evaluations.append(_Evaluation(dy, adj_y))
        return torch.cat([dy.detach(), torch.zeros_like(y) if product is None else -product], dim=1)

    def on_start(self, samples: Integers, goes_on: Booleans) -> None:
        """See TrialObserver: the first evaluation is the first stage of everybody's first step."""
        if self._evaluations:
            self._begin(self._evaluations[0], samples, goes_on)
        self._evaluations.clear()

    def on_trial(self, trial: Trial) -> None:
        """See TrialObserver."""
        tableau, evaluations = self._tableau, self._evaluations
        self._evaluations = []
        if not evaluations or not trial.accepted.any():
            return
        end = evaluations[-1]
        if not tableau.is_fsal and trial.goes_on.any():
            evaluations = evaluations[:-1]
        stages = evaluations[-(tableau.num_stages - 1) :]  # of the last time that the step was taken
        lengths = np.where(trial.accepted, -trial.plan.dt, 0.0)
        counted = [(stage, b * lengths) for stage, b in zip(stages, tableau.b[1:], strict=True) if b]
        self._add(counted + self._settled(trial, lengths))
        self._begin(end, trial.samples, trial.goes_on)

    def _begin(self, evaluation: _Evaluation, samples: Integers, goes_on: Booleans) -> None:
        if self._tableau.b[0] and goes_on.any():
            self._starts.append(_Start(evaluation, samples, goes_on, np.zeros(len(samples))))

    def _settled(self, trial: Trial, lengths: Floats) -> list[tuple[_Evaluation, Floats]]:
        """The first stages whose rows have all made their step, with their weights."""
        of_samples = np.zeros(self._num_samples)
        of_samples[trial.samples] = self._tableau.b[0] * lengths
        for start in self._starts:
            stands = start.waits & (of_samples[start.samples] != 0)
            start.weights = np.where(stands, of_samples[start.samples], start.weights)
            start.waits = start.waits & ~stands
        settled = [start for start in self._starts if not start.waits.any()]
        self._starts = [start for start in self._starts if start.waits.any()]
        return [(start.evaluation, start.weights) for start in settled]

    def _add(self, counted: list[tuple[_Evaluation, Floats]]) -> None:
        """Add weight * a^T df/dtheta of these evaluations, summed over rows."""
        outputs = [evaluation.dy for evaluation, _ in counted]
        cotangents = [
            evaluation.adj_y * to_device(weights, evaluation.adj_y).unsqueeze(1)
            for evaluation, weights in counted
        ]
        grads = torch.autograd.grad(outputs, self._leaves, cotangents, allow_unused=True)
        self.grads = [
            grad if total is None else total if grad is None else total + grad
            for total, grad in zip(self.grads, grads, strict=True)
        ]
