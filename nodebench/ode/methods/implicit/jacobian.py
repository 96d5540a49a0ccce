"""Jacobians of a field, one a sample, by products with the transposed Jacobian: f is called with the whole batch.

What a sample is: of a state with two axes or more, an entry of the first; a state of one axis (so a packed tuple too)
is one sample. Where the first Jacobian of a solve shows that samples depend on each other, the whole state is one.
Neither can make a result wrong: Newton's iteration converges to the same solution with any matrix, or fails, and the
gradient of that solution is refined by products with the Jacobian as it is (gradient.py).

Evaluations: one for each Jacobian. The products, one for each number of a sample, are none.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from nodebench.ode.field import Field, Time

MAX_BYTES = 2**30
_NUM_MATRICES = 3  # the Jacobian, the matrix of Newton's equations, and its factors
_MAX_PRODUCTS = 2**24  # numbers in as many products as are made at once


class Jacobians(Protocol):
    """The Jacobians of one solve. The first numbers of its flat states are the samples; integrals may follow."""

    @property
    def num_samples(self) -> int:
        """Into how many samples of equal size the state is cut; known for good once there is a Jacobian."""
        ...

    def at(self, t: Time, y: Tensor) -> Tensor:
        """df/dy of each sample by its own numbers, (num_samples, size, size); one evaluation."""
        ...


@runtime_checkable
class HasJacobians(Protocol):
    """A field that is not differentiated by autograd, but knows how."""

    def jacobians(self, method: str) -> Jacobians:
        """Those of a solve by a method of this name."""
        ...


def make_jacobians(f: Field, y0: Tensor, method: str) -> Jacobians:
    """The Jacobians of a solve from y0. Raises ValueError as SampleJacobians."""
    return f.jacobians(method) if isinstance(f, HasJacobians) else SampleJacobians(f, y0, method)


class SampleJacobians:
    """Those that autograd finds, and how states are cut into samples.

    Raises ValueError for a state that is complex, or so large that the matrices would take more than MAX_BYTES.
    """

    def __init__(self, f: Field, y0: Tensor, method: str) -> None:
        if y0.is_complex():
            raise ValueError(
                f"`{method}` solves with the Jacobian of a real state, and this one is {y0.dtype}; use an explicit "
                "method such as dopri5, or solve for real and imaginary parts: torch.view_as_real(y)"
            )
        self._f, self._method = f, method
        self.num_samples = len(y0) if y0.dim() > 1 else 1
        self._is_probed = self.num_samples == 1
        check_bytes(self.num_samples, y0.numel() // self.num_samples, y0, method)

    def at(self, t: Time, y: Tensor) -> Tensor:
        """See Jacobians. Raises ValueError if f depends on y and autograd does not see how."""
        self._f.counts.num_jacobians += 1
        slope, state = recorded(self._f, t, y)
        blocks = sample_blocks(slope, state, self.num_samples)
        if not self._is_probed:
            self._is_probed = True
            if are_coupled(slope, state, blocks):
                check_bytes(1, y.numel(), y, self._method)
                self.num_samples = 1
                blocks = sample_blocks(slope, state, 1)
        return blocks


def check_bytes(num_samples: int, size: int, like: Tensor, method: str) -> None:
    """Raises ValueError if the matrices of so many samples of so many numbers would take more than MAX_BYTES."""
    needed = _NUM_MATRICES * num_samples * size**2 * like.element_size()
    if needed > MAX_BYTES:
        of_samples = f" for each of {num_samples:,} samples" if num_samples > 1 else ""
        raise ValueError(
            f"`{method}` solves with matrices of {size:,} x {size:,} numbers{of_samples}, {needed / 2**30:.3g} GiB in "
            f"all, over the {MAX_BYTES / 2**30:g} GiB allowed; use an explicit method such as dopri5 or a smaller state"
        )


def recorded(f: Field, t: Time, y: Tensor) -> tuple[Tensor, Tensor]:
    """f(t, y) with its graph, and the y that it is of. Raises ValueError if f depends on y and has none."""
    with torch.inference_mode(False), torch.enable_grad():
        state = y.detach().clone().requires_grad_()
        slope = f(t, state)
    if not slope.requires_grad:
        with torch.no_grad():
            other = f(t, y + 1e-3 * (y.abs() + 1))
        if not torch.equal(other, slope):
            raise ValueError(
                "the vector field depends on its state but returns a tensor without a graph, so its Jacobian, which an "
                "implicit method solves with, cannot be taken; compute it without torch.no_grad() and .detach(), or "
                "use an explicit method such as dopri5"
            )
    return slope, state


def sample_blocks(values: Tensor, inputs: Tensor, num_samples: int) -> Tensor:
    """(num_samples, size, size): how each sample's numbers of `values` change with its own numbers of `inputs`."""
    size = values.numel() // num_samples
    if not values.requires_grad:
        return values.new_zeros(num_samples, size, size)
    rows = torch.eye(size, dtype=values.dtype, device=values.device)
    rows = rows[:, None, :].expand(size, num_samples, size)
    products = [
        _products(values, inputs, chunk.reshape(-1, *values.shape)).view(-1, num_samples, size)
        for chunk in rows.split(max(1, _MAX_PRODUCTS // values.numel()))
    ]
    return torch.cat(products).transpose(0, 1)


def _products(values: Tensor, inputs: Tensor, rows: Tensor) -> Tensor:
    """row^T dvalues/dinputs of each row, at once where autograd can."""
    if len(rows) > 1:
        try:
            return _product(values, inputs, rows, batched=True)
        except RuntimeError:
            pass  # a function of one's own without a rule for batches
    return torch.stack([_product(values, inputs, row) for row in rows])


def _product(values: Tensor, inputs: Tensor, rows: Tensor, batched: bool = False) -> Tensor:
    (product,) = torch.autograd.grad(
        values, inputs, rows, retain_graph=True, allow_unused=True, is_grads_batched=batched
    )
    if product is None:
        return rows.new_zeros((*rows.shape[: int(batched)], *inputs.shape))
    return product


def pull_back(values: Tensor, inputs: Tensor, cotangent: Tensor) -> Tensor:
    """cotangent^T dvalues/dinputs, over all samples as they depend on each other."""
    return _product(values, inputs, cotangent)


def are_coupled(values: Tensor, inputs: Tensor, blocks: Tensor) -> bool:
    """Whether a sample's values depend on other samples' inputs: one product, by weights that differ from all others.

    Blocks made with the same weights for all samples hold what the others add; other weights bring that to light.
    """
    if not values.requires_grad:
        return False
    weights = torch.arange(1, values.numel() + 1, dtype=values.dtype, device=values.device).cos()
    weights = weights.view(len(blocks), 1, -1)
    product = pull_back(values, inputs, weights.view_as(values)).view_as(weights)
    expected = weights @ blocks
    scale = torch.maximum(product.abs().max(), expected.abs().max())
    threshold = math.sqrt(torch.finfo(values.dtype).eps)
    return bool(((product - expected).abs().max() > threshold * scale).item())
