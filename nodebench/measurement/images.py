"""What each image of the test set needs: solved with steps of its own, beside the steps that its batch shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nodebench.data import ImageSet
from nodebench.measurement.cases import BATCH_SIZE, Case
from nodebench.measurement.reference import ReferenceSettings, ReferenceSolver
from nodebench.models.classifiers import ODENet
from nodebench.models.ode_block import ODEBlock
from nodebench.ode import Solution, Status, odeint
from nodebench.ode.settings import SolverSettings, of_a_solve
from nodebench.records.per_image import NUM_WITH_ERRORS, ImageRow


class ImageMeasurement:
    """Rows about single images of `images`, in order, by the ODE block of `net`.

    They are solved in batches of 100, where a batch with shared steps has one step size, and one with steps of their
    own as many as images: what an image then needs is its own affair. Of the first batches errors are measured too,
    against a float64 solve.
    """

    def __init__(self, net: ODENet, images: ImageSet, settings: ReferenceSettings) -> None:
        self._net, self._images, self._settings = net.eval(), images, settings
        self._solver = ReferenceSolver(net.ode_block, net.head, _no_gradient)
        self._kept: dict[
            int, tuple[Tensor, Tensor | None]
        ] = {}  # y0 and reference of the current batch alone

    @property
    def num_batches(self) -> int:
        """The last one may be smaller than the others."""
        return -(-len(self._images) // BATCH_SIZE)

    def rows(self, todo: Sequence[tuple[Case, int]]) -> Iterator[list[ImageRow]]:
        """The rows of each (case, batch), one an image. Raises SolverError if a reference solve fails."""
        for case, batch in todo:
            yield self._rows(case, batch)

    @torch.no_grad()
    def _rows(self, case: Case, batch: int) -> list[ImageRow]:
        y0, reference = self._prepare(batch)
        labels = self._images.labels[batch * BATCH_SIZE : (batch + 1) * BATCH_SIZE].tolist()
        own = solve(self._net.ode_block, case.solver, y0, "per_sample")
        shared = solve(self._net.ode_block, case.solver, y0, "shared")
        counts = own.stats.forward.samples
        assert counts is not None, "steps were their own"
        classes = self._net.head(own.ys[-1]).argmax(dim=1).tolist()
        errors, errors_shared = (sample_errors(found.ys[-1], reference) for found in (own, shared))
        nfe_shared = shared.stats.forward.nfe if shared.status is Status.SUCCESS else None
        rows = []
        for i, label in enumerate(labels):
            row = ImageRow(
                *(case.solver.rtol, batch * BATCH_SIZE + i, label),
                nfe_shared=nfe_shared,
                error_shared=errors_shared[i],
            )
            if i not in own.failures:
                row = row._replace(
                    is_right=classes[i] == label,
                    nfe=int(counts.nfe[i]),
                    num_accepted=int(counts.num_accepted[i]),
                    num_rejected=int(counts.num_rejected[i]),
                    error=errors[i],
                )
            rows.append(row)
        return rows

    def _prepare(self, batch: int) -> tuple[Tensor, Tensor | None]:
        """The batch at the ODE block's input, and y(t1) of its reference where it has one."""
        if batch not in self._kept:
            chosen = self._images[batch * BATCH_SIZE : (batch + 1) * BATCH_SIZE]
            y0: Tensor = self._net.stem(chosen.images.float() / 255)
            reference = None
            if batch < NUM_WITH_ERRORS:
                reference = self._solver.solve(self._settings, y0, chosen.labels, with_gradient=False).y1
            self._kept = {batch: (y0, reference)}
        return self._kept[batch]


def solve(block: ODEBlock, solver: SolverSettings, y0: Tensor, steps: str) -> Solution[Tensor]:
    """y(t1) of the block's field from y0, with `steps` shared or per_sample; failures are in the solution.

    A step size of its own is chosen by the RMS of a sample's own error, whatever norm batches are solved with.
    """
    settings = of_a_solve(solver) | {"compile": False, "steps": steps}
    if steps == "per_sample":
        settings["norm"] = "rms"
    return odeint(block.vector_field, y0, (0.0, block.t1), raise_on_failure=False, **settings)


def sample_errors(y1: Tensor, reference: Tensor | None) -> list[float | None]:
    """||y1 - reference|| / ||reference|| of each sample; None without a reference, or where it is not finite."""
    if reference is None:
        return [None] * len(y1)
    distance = (y1.to(reference) - reference).flatten(1).norm(dim=1) / reference.flatten(1).norm(dim=1)
    return [float(error) if error.isfinite() else None for error in distance]


def _no_gradient(head: object, y1: Tensor, labels: Tensor) -> Tensor:
    raise AssertionError("a reference without a gradient")
