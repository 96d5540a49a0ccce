"""Numbers that are floats in the eager loop, arrays where each sample has its own, tensors in a compiled loop.

One formula for all: float64 each, the tensors 0-d or one entry a sample.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Scalar = TypeVar("Scalar", float, Tensor)


def where(condition: Any, yes: Any, no: Any) -> Any:
    """`yes` where the condition holds, else `no`."""
    if type(condition) is bool or not isinstance(condition, (Tensor, np.ndarray)):
        return yes if condition else no
    if isinstance(condition, np.ndarray):
        return np.where(condition, yes, no)
    if not isinstance(yes, Tensor) and not isinstance(no, Tensor):
        yes = torch.full_like(condition, yes, dtype=torch.float64)
    return torch.where(condition, yes, no)


def smaller(x: Any, bound: Any) -> Any:
    """The smaller of two numbers, of which `bound` may be a float beside a tensor."""
    if type(x) is float or not isinstance(x, (Tensor, np.ndarray)):  # the first is quick
        return x if x <= bound else bound
    if isinstance(x, np.ndarray):
        return np.minimum(x, bound)
    return torch.minimum(x, bound) if isinstance(bound, Tensor) else x.clamp(max=bound)


def larger(x: Any, bound: Any) -> Any:
    """The larger of two numbers, of which `bound` may be a float beside a tensor."""
    if type(x) is float or not isinstance(x, (Tensor, np.ndarray)):
        return x if x >= bound else bound
    if isinstance(x, np.ndarray):
        return np.maximum(x, bound)
    return torch.maximum(x, bound) if isinstance(bound, Tensor) else x.clamp(min=bound)
