"""Numbers that are floats in the eager loop and 0-d float64 tensors in a compiled one: one formula for both."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

Scalar = TypeVar("Scalar", float, Tensor)


def where(condition: Any, yes: Any, no: Any) -> Any:
    """`yes` where the condition holds, else `no`."""
    if type(condition) is bool or not isinstance(condition, Tensor):
        return yes if condition else no
    if not isinstance(yes, Tensor) and not isinstance(no, Tensor):
        yes = torch.full_like(condition, yes, dtype=torch.float64)
    return torch.where(condition, yes, no)


def smaller(x: Any, bound: Any) -> Any:
    """The smaller of two numbers, of which `bound` may be a float beside a tensor."""
    if type(x) is float or not isinstance(x, Tensor):  # the first is quick
        return x if x <= bound else bound
    return torch.minimum(x, bound) if isinstance(bound, Tensor) else x.clamp(max=bound)


def larger(x: Any, bound: Any) -> Any:
    """The larger of two numbers, of which `bound` may be a float beside a tensor."""
    if type(x) is float or not isinstance(x, Tensor):
        return x if x >= bound else bound
    return torch.maximum(x, bound) if isinstance(bound, Tensor) else x.clamp(min=bound)
