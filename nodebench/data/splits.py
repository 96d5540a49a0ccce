"""How data are split: shares of a user's items held out, or splits drawn one by one; the same in every run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from nodebench.counted import counted
from nodebench.data.errors import DataError

SPLIT_SEED = 0
NUM_VAL = 200
_DRAW_SEEDS = {"train": 0, "val": 1, "test": 2}

Split = TypeVar("Split")


def draw_splits(
    draw: Callable[[str, int, torch.Generator], Split], num_train: int, num_test: int, num_val: int = NUM_VAL
) -> tuple[Split, Split, Split]:
    """What `draw(split, size, chance)` gives for train, val and test: each from a seed of its own.

    So no split changes with the size of another.
    """
    train, val, test = (
        draw(split, size, torch.Generator().manual_seed(_DRAW_SEEDS[split]))
        for split, size in (("train", num_train), ("val", num_val), ("test", num_test))
    )
    return train, val, test


def split_by_shares(
    num_items: int, noun: str, val_share: float, test_share: float, path: str
) -> dict[str, Tensor]:
    """Disjoint row numbers under train, val and test, at least one each, by one fixed permutation.

    noun: what an item of the file at `path` is, such as `point`. Raises DataError.
    """
    shares = {"val": val_share, "test": test_share}
    for key, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise DataError(f"`data.{key}_share` is {share!r}; allowed: numbers above 0 and below 1")
    num_val, num_test = (max(1, round(share * num_items)) for share in shares.values())
    num_train = num_items - num_val - num_test
    if num_train < 1:
        # A part has one item at least; with three or more it is the shares that take too many.
        lower = ", or lower `data.val_share` or `data.test_share`" if num_val + num_test > 2 else ""
        raise DataError(
            f"{path} has {counted(num_items, noun)}; {num_val} for validation and {num_test} for the test leave none "
            f"to train on; give more of them{lower}"
        )
    order = torch.randperm(num_items, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return dict(zip(("train", "val", "test"), order.split([num_train, num_val, num_test]), strict=True))
