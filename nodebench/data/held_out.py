"""Which items of a user's file are held out: a share for validation and another for the test."""

from __future__ import annotations

import torch
from torch import Tensor

from nodebench.counted import counted
from nodebench.data.errors import DataError

SPLIT_SEED = 0


def split_by_shares(
    num_items: int, noun: str, val_share: float, test_share: float, path: str
) -> dict[str, Tensor]:
    """Disjoint row numbers under train, val and test, at least one each, by one fixed permutation.

    noun: what an item is, such as `point`, of the file at `path`. Raises DataError.
    """
    shares = {"val": val_share, "test": test_share}
    for key, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise DataError(f"`data.{key}_share` is {share!r}; allowed: numbers above 0 and below 1")
    num_val, num_test = (max(1, round(share * num_items)) for share in shares.values())
    num_train = num_items - num_val - num_test
    if num_train < 1:
        # One of each is the least; with three items or more it is the shares that take too many.
        lower = ", or lower `data.val_share` or `data.test_share`" if num_val + num_test > 2 else ""
        raise DataError(
            f"{path} has {counted(num_items, noun)}; {num_val} for validation and {num_test} for the test leave none "
            f"to train on; give more {noun}s{lower}"
        )
    order = torch.randperm(num_items, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return dict(zip(("train", "val", "test"), order.split([num_train, num_val, num_test]), strict=True))
