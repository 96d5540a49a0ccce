"""Measures a trained classifier's ODE block on the test set, one row after the other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nodebench.data import ImageSet
from nodebench.measurement.baselines import TORCHDIFFEQ, TorchdiffeqBlock
from nodebench.measurement.cases import BATCH_SIZE, Case
from nodebench.measurement.passes import Block, Pass, now_ms, run_pass
from nodebench.measurement.reference import (
    Reference,
    ReferenceErrors,
    ReferenceSettings,
    ReferenceSolver,
    endpoint_error,
    relative_error,
)
from nodebench.models.classifiers import ODENet
from nodebench.models.ode_block import ODEBlock
from nodebench.ode import Counts, SolverError
from nodebench.ode.settings import SolverSettings
from nodebench.records.measures import NUM_TIMED, Key, Row
from nodebench.tasks.classification import Batch, Classification
from nodebench.training.protocols import ShowProgress, show_nothing

NUM_REPEATS = 3
MeasureMemory = Callable[[nn.Module, Callable[[], Tensor], torch.device], Mapping[str, float | None]]


class _Prepared(NamedTuple):
    """A batch at the ODE block's input, its reference, and what rows of it share or a first look has left for them."""

    y0: Tensor
    labels: Tensor
    reference: Reference
    passes: dict[Key, Pass]
    recon_errors: dict[SolverSettings, float]  # of a solver, whatever the gradient


class Measurement:
    """Rows about the ODE block of `net`, in batches of 100 of `images`, in order.

    The loss is that of `task`. measure_memory: columns of one forward and backward pass of a module (training's).
    errors: of the reference, where an earlier measurement of the same net found them; filled in with the first batch.
    say: told of solves that fail, which are rows without numbers.
    """

    def __init__(
        self,
        net: ODENet,
        task: Classification,
        images: ImageSet,
        settings: ReferenceSettings,
        measure_memory: MeasureMemory,
        say: Callable[[str], None],
        errors: ReferenceErrors | None = None,
    ) -> None:
        self.errors = errors
        self._net, self._task, self._images = net.eval(), task, images
        self._settings, self._measure_memory, self._say = settings, measure_memory, say
        self._solver = ReferenceSolver(net.ode_block, net.head, self._loss_gradient)
        self._kept: dict[int, _Prepared] = {}  # the current batch alone

    @property
    def num_batches(self) -> int:
        """The last one may be smaller than the others."""
        return -(-len(self._images) // BATCH_SIZE)

    def estimate(
        self, todo: Sequence[tuple[Case, int]], progress: ShowProgress = show_nothing
    ) -> dict[Key, float]:
        """Seconds that each row will take, from timing the first batch there is; a reference counts for its first row.

        Raises SolverError if the reference solve fails.
        """
        if not todo:
            return {}
        first = todo[0][1]
        start = now_ms(self._images.images.device)
        batch = self._prepare(first)
        reference_s = (now_ms(batch.y0.device) - start) / 1000
        cases = list({case.key(0): case for case, _ in todo}.values())
        passes_s = {case.key(0): self._time_pass(case, first, batch) for case in progress(cases)}
        seconds: dict[Key, float] = {}
        seen = {first}
        for case, index in todo:
            passes = 1 + NUM_REPEATS if index < NUM_TIMED else 1
            seconds[case.key(index)] = passes * passes_s[case.key(0)]
            if index not in seen:  # with a gradient it takes about four times as long as without
                share = 0.25 if first < NUM_TIMED <= index else 1.0
                seconds[case.key(index)] += share * reference_s
                seen.add(index)
        if self.errors is None and first == 0:
            seconds[todo[0][0].key(0)] += 2.5 * reference_s
        return seconds

    def rows(self, todo: Sequence[tuple[Case, int]]) -> Iterator[Row]:
        """A row for each (case, batch). Raises SolverError if a reference solve fails."""
        for case, index in todo:
            batch = self._prepare(index)
            if index == 0 and self.errors is None:
                self.errors = self._reference_errors(batch)
            row: dict[str, str | float | None] = dict(zip(Key._fields, case.key(index), strict=True))
            try:
                row |= self._measure(case, index, batch)
            except SolverError as error:
                self._say(f"{case.name} at tol {case.solver.rtol:g}, batch {index}: {error}")
            yield row

    def _measure(self, case: Case, index: int, batch: _Prepared) -> dict[str, str | float | None]:
        block = self._block(case)
        found = batch.passes.pop(case.key(index), None) or self._pass(case, block, batch)
        stats = found.solution.stats
        columns = {
            **_count_columns(stats.forward, "forward"),
            **(_count_columns(stats.backward, "backward") if case.has_backward else {}),
            "error_endpoint": endpoint_error(found.y1, batch.reference.y1),
            "error_reference": self.errors.endpoint if self.errors is not None and index == 0 else None,
            "recon_error": _reconstruction_error(case, block, batch, found),
        }
        if case.has_backward and case.gradient == "adjoint":
            adjoint = case.solver.adjoint
            columns["tol_adjoint"] = case.solver.rtol if adjoint.rtol is None else adjoint.rtol
            columns["norm_adjoint"] = adjoint.norm
        if index < NUM_TIMED:
            columns |= self._times(case, block, batch)
            if found.gradient is not None and batch.reference.gradient is not None:
                columns["error_gradient"] = relative_error(found.gradient, batch.reference.gradient)
        if index == 0 and case.has_backward and isinstance(block, ODEBlock):
            columns["memory_saved_mib"] = self._memory_saved_mib(block, batch)
        return columns

    def _times(self, case: Case, block: Block, batch: _Prepared) -> dict[str, float | None]:
        """Medians; the pass that gave the counts has warmed up."""
        passes = [self._pass(case, block, batch) for _ in range(NUM_REPEATS)]
        backward = [found.time_backward_ms for found in passes if found.time_backward_ms is not None]
        return {
            "time_forward_ms": statistics.median(found.time_forward_ms for found in passes),
            "time_backward_ms": statistics.median(backward) if backward else None,
        }

    def _memory_saved_mib(self, block: ODEBlock, batch: _Prepared) -> float | None:
        y0 = batch.y0.detach().requires_grad_()
        # Of the sum, autograd keeps nothing.
        return self._measure_memory(block, lambda: block(y0).sum(), y0.device)["memory_saved_mib"]

    def _time_pass(self, case: Case, index: int, batch: _Prepared) -> float:
        """Seconds of one pass and of the reconstruction after it, both of which its row finds there."""
        start = now_ms(batch.y0.device)
        try:
            block = self._block(case)
            found = batch.passes[case.key(index)] = self._pass(case, block, batch)
            _reconstruction_error(case, block, batch, found)
        except SolverError:
            pass  # its row will say so
        return (now_ms(batch.y0.device) - start) / 1000

    def _pass(self, case: Case, block: Block, batch: _Prepared) -> Pass:
        def loss_gradient(y1: Tensor) -> Tensor:
            return self._loss_gradient(self._net.head, y1, batch.labels)

        return run_pass(block, batch.y0, loss_gradient if case.has_backward else None)

    def _block(self, case: Case) -> Block:
        """The net's own field behind the case's solver."""
        own = self._net.ode_block
        if case.library == TORCHDIFFEQ:
            return TorchdiffeqBlock(own, case.solver)
        return ODEBlock(own.vector_field, case.solver, case.gradient, own.t1)

    def _prepare(self, index: int) -> _Prepared:
        if index not in self._kept:
            chosen = self._images[index * BATCH_SIZE : (index + 1) * BATCH_SIZE]
            with torch.no_grad():
                y0 = self._net.stem(chosen.images.float() / 255)
            reference = self._solver.solve(self._settings, y0, chosen.labels, index < NUM_TIMED)
            self._kept = {index: _Prepared(y0, chosen.labels, reference, {}, {})}
        return self._kept[index]

    def _reference_errors(self, batch: _Prepared) -> ReferenceErrors:
        tighter = self._solver.solve(self._settings.tighter(), batch.y0, batch.labels, True)
        ours = batch.reference
        assert ours.gradient is not None, "batch 0 has a gradient"
        assert tighter.gradient is not None, "it was asked for"
        return ReferenceErrors(
            endpoint_error(ours.y1, tighter.y1), relative_error(ours.gradient, tighter.gradient)
        )

    def _loss_gradient(self, head: nn.Module, y1: Tensor, labels: Tensor) -> Tensor:
        """dL/dy1: the task's loss of a net that is the head alone."""
        y1 = y1.detach().requires_grad_()
        with torch.enable_grad():
            loss = self._task.loss(head, Batch(y1, labels)).loss
        (adj_y1,) = torch.autograd.grad(loss, y1)
        return adj_y1


def _reconstruction_error(case: Case, block: Block, batch: _Prepared, found: Pass) -> float | None:
    """From the end of the pass that was `found`, but for a pass that autograd recorded, whose last bits are others.

    Of a solve by another library it is not measured.
    """
    if not isinstance(block, ODEBlock):
        return None
    if case.solver not in batch.recon_errors:
        there = None if case.gradient == "direct" else found.solution
        batch.recon_errors[case.solver] = block.reconstruction_error(batch.y0, there)
    return batch.recon_errors[case.solver]


def _count_columns(counts: Counts, direction: str) -> dict[str, str | float | None]:
    names = ("nfe", "num_accepted", "num_rejected")
    return {f"{name}_{direction}": getattr(counts, name) for name in names}
