"""What small fields are made of, in forms that inductor makes loops of on the CPU: narrow matrix products, and tanh.

A product with a side of a few entries is a call of a library that costs more than its arithmetic, and ends the loop
before it and begins the one behind it. As sums of elementwise products it becomes a part of both: an evaluation of a
planar flow is a loop or two, and so is its product with a vector. tanh to the last bit was half of what was left.

These are decompositions as torch.compile has them, of what it captures and of the derivatives that autograd makes of
it. Nothing outside of compiled code changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FEW = 4  # entries of a side that are written out
MOST_PRODUCTS = 1 << 20  # of numbers in one matrix product; larger ones are a library's

# tanh(x) / x = P(x^2) / Q(x^2) to 2.1e-8 for |x| up to 9.02, where tanh rounds to 1 in float32. Fitted by Lawson's
# iteration on the relative error at 2000 Chebyshev nodes; scaled to Q(0) = 1, and P(0) rounded to 1 as float32 does.
_NUMERATOR = (1.0, 0.13379717952646097, 3.4940345907355525e-3, 2.058348230945999e-5, 1.3319074141225675e-8)
_DENOMINATOR = (1.0, 0.46713033192055814, 2.5871073276401507e-2, 3.28309291488945e-4, 7.762020197676523e-7)
_LAST_SQUARE = 9.02**2

Decompositions = dict[Any, Callable[..., Any]]


def rational_tanh(x: Tensor) -> Tensor:
    """tanh in float32 to a relative error of 4e-7, 6 units in the last place; never beyond 1, and odd.

    NaN stays NaN, -0.0 and all that is below 1e-4 what it is, and infinities become 1 and -1.
    """
    square = torch.clamp_max(x * x, _LAST_SQUARE)
    ratio = _polynomial(_NUMERATOR, square) / _polynomial(_DENOMINATOR, square)
    return torch.clamp(x * ratio, -1.0, 1.0)


def written_out(a: Tensor, b: Tensor) -> Tensor | None:
    """The matrix product a b by elementwise products and sums, where one of its three sides is short; else None."""
    (m, k), n = a.shape, b.shape[1]
    if not 0 < m * k * n <= MOST_PRODUCTS or min(m, k, n) > FEW:
        return None
    if k <= FEW:
        product = a[:, :1] * b[:1]
        for i in range(1, k):
            product = product + a[:, i : i + 1] * b[i : i + 1]
        return product
    if m < n:
        return torch.stack([(row.unsqueeze(1) * b).sum(0) for row in a.unbind()])
    return torch.stack([(a * column).sum(1) for column in b.unbind(1)], dim=1)


def decompositions() -> Decompositions:
    """Inductor's own, but for those of matrix products and of tanh."""
    # Imported here, as most who solve an ODE compile nothing.
    from torch._inductor.decomposition import select_decomp_table

    aten = torch.ops.aten
    table: Decompositions = dict(select_decomp_table())
    others = {op: table.get(op, _left_alone) for op in (aten.mm.default, aten.addmm.default)}

    def mm(a: Tensor, b: Tensor, *args: Any, **kwargs: Any) -> Any:
        product = None if args or kwargs or not _suit(a, b) else written_out(a, b)
        return others[aten.mm.default](a, b, *args, **kwargs) if product is None else product

    def addmm(
        c: Tensor, a: Tensor, b: Tensor, *args: Any, beta: Any = 1, alpha: Any = 1, **kwargs: Any
    ) -> Any:
        product = None if args or kwargs or not _suit(a, b, c) else written_out(a, b)
        if product is None:
            return others[aten.addmm.default](c, a, b, *args, beta=beta, alpha=alpha, **kwargs)
        product = product if alpha == 1 else alpha * product
        if beta == 0:  # then nothing of c counts, not even NaN
            return product
        return product + (c if beta == 1 else beta * c)

    def tanh(x: Tensor) -> Any:
        return rational_tanh(x) if x.dtype == torch.float32 and _suit(x) else NotImplemented

    return table | {aten.mm.default: mm, aten.addmm.default: addmm, aten.tanh.default: tanh}


@cache
def cache_tag() -> str:
    """What torch's cache of compiled code tells these forms from others by: it does not look at decompositions."""
    return f"nodebench-{sha256(Path(__file__).read_bytes()).hexdigest()[:16]}"


def _suit(*tensors: Tensor) -> bool:
    """Whether they are of one precision that is not a half one, on the CPU; elsewhere such calls are not what costs."""
    dtypes = {tensor.dtype for tensor in tensors}
    return dtypes in ({torch.float32}, {torch.float64}) and all(x.device.type == "cpu" for x in tensors)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """sum_p coefficients[p] x^p."""
    total = coefficients[-1] * x + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        total = total * x + coefficient
    return total


def _left_alone(*args: Any, **kwargs: Any) -> Any:
    return NotImplemented
