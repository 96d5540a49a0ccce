"""Labelled images in memory, and how a training set is split.

A split follows one fixed permutation (seed 0), whatever the run's seed: every run holds out the same images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from nodebench.counted import counted
from nodebench.data.augmentation import check_kind
from nodebench.data.checks import check_count, check_switch
from nodebench.data.deskewing import deskew as deskew_images
from nodebench.data.errors import DataError

SPLIT_SEED = 0


@dataclass(frozen=True)
class ImageSet:
    """Grey images, uint8 (N, 1, 28, 28), and their classes, int64 (N,); DataError for anything else."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        shape, dtypes = tuple(self.images.shape), (self.images.dtype, self.labels.dtype)
        if shape != (len(self.labels), 1, 28, 28) or dtypes != (torch.uint8, torch.int64):
            raise DataError(
                f"images {shape} {dtypes[0]} and labels {tuple(self.labels.shape)} {dtypes[1]} are not an "
                "image set; allowed: uint8 (N, 1, 28, 28) and int64 (N,)"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> ImageSet:
        return ImageSet(self.images[index], self.labels[index])

    def deskewed(self) -> ImageSet:
        return ImageSet(deskew_images(self.images), self.labels)

    def to(self, device: torch.device | str) -> ImageSet:
        return ImageSet(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class ImageData:
    """A data set as a run uses it; `val` is None where nothing is held out.

    `whole` says of the parts that are limited (`validation`, `test`) how many images there would be. Raises DataError
    for a part without images, a label beyond the classes, a batch larger than the training set and an augmentation that
    does not exist.
    """

    name: str
    train: ImageSet
    val: ImageSet | None
    test: ImageSet
    num_classes: int
    augment: str
    batch_size: int
    is_deskewed: bool = False
    whole: Mapping[str, int] = field(default_factory=dict)
    kind: ClassVar[str] = "images"
    example: ClassVar[str] = "mnist"
    dim: ClassVar[int | None] = None  # that of points, which images are not
    notes: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_kind(self.augment)
        check_count("batch_size", self.batch_size, at_least=1)
        for name, part in self.parts().items():
            if not isinstance(part, ImageSet):
                raise DataError(f"its {name} set is a {type(part).__name__}; it must be an ImageSet")
            if not len(part):
                raise DataError(f"its {name} set is empty; there must be an image at least")
            low, high = int(part.labels.min()), int(part.labels.max())
            if low < 0 or high >= self.num_classes:
                raise DataError(
                    f"its {name} labels go from {low} to {high}; with num_classes={self.num_classes} they may go from "
                    f"0 to {self.num_classes - 1}"
                )
        if self.batch_size > len(self.train):
            raise DataError(
                f"`data.batch_size` is {self.batch_size}, but the training set has "
                f"{counted(len(self.train), 'image')}; allowed: 1 to {len(self.train)}; "
                "lower it, or raise `data.limit_train`"
            )

    def parts(self) -> dict[str, ImageSet]:
        """The sets that there are, by what they are for."""
        parts = {"training": self.train, "validation": self.val, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    def tested_on(self, limit: int) -> ImageData:
        """The same with the first `limit` test images alone, or all if there are fewer."""
        whole: dict[str, int] = {}
        test = _first(self.test, "test", limit, whole)
        return replace(self, test=test, whole={**whole, **self.whole})

    def check(self) -> None:
        """All has been looked at when it was made."""

    def test_columns(self) -> dict[str, int]:
        """How many images a test is of."""
        return {"num_images": len(self.test)}

    def describe(self) -> str:
        """Sizes, deskewing and augmentation in words."""
        of_how_many = {name: f" of {number:,}" for name, number in self.whole.items()}
        parts = ", ".join(
            f"{len(part):,}{of_how_many.get(name, '')} {name}" for name, part in self.parts().items()
        )
        return f"{parts} images{', deskewed' * self.is_deskewed}; augmentation {self.augment}"


def hold_out(images: ImageSet, size: int) -> tuple[ImageSet, ImageSet]:
    """All but the last `size` images, and the last `size`, in the order of the fixed permutation."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(SPLIT_SEED))
    cut = len(images) - size
    return images[order[:cut]], images[order[cut:]]


@dataclass(frozen=True)
class ImageSettings:
    """What every set of images lets its user choose, in the order of the keys of configs/data/mnist.yaml."""

    val_size: int
    limit_train: int | None
    limit_val: int | None
    limit_test: int | None
    augment: str
    batch_size: int
    deskew: bool = False

    def __post_init__(self) -> None:
        check_switch("deskew", self.deskew)
        check_count("val_size", self.val_size, at_least=0)
        for key in ("limit_train", "limit_val", "limit_test"):
            if (limit := getattr(self, key)) is not None:
                check_count(key, limit, at_least=1)


def make_image_data(
    name: str, train: ImageSet, test: ImageSet, num_classes: int, settings: ImageSettings
) -> ImageData:
    """Hold out the last `val_size` training images, keep the first `limit_train` of the rest (None: all).

    Of the images held out and of the test set the first `limit_val` and `limit_test` are kept, or all if there are
    fewer. With `deskew`, every image of both sets is deskewed by itself. Raises DataError, naming the key under `data`,
    where a setting does not fit the number of images.
    """
    if settings.deskew:
        train, test = train.deskewed(), test.deskewed()
    val_size, limit_train = settings.val_size, settings.limit_train
    if val_size >= len(train):
        raise DataError(
            f"`data.val_size` is {val_size}, but {name} has {len(train)} training images; "
            f"allowed: 0 to {len(train) - 1}, which leaves at least one to train on"
        )
    rest, held_out = hold_out(train, val_size)
    if limit_train is not None and limit_train > len(rest):
        raise DataError(
            f"`data.limit_train` is {limit_train}, but {name} has {len(rest)} training images beside the "
            f"{val_size} for validation; allowed: 1 to {len(rest)}, or null for all"
        )
    whole: dict[str, int] = {}
    return ImageData(
        name,
        rest[:limit_train],
        _first(held_out, "validation", settings.limit_val, whole) if val_size else None,
        _first(test, "test", settings.limit_test, whole),
        num_classes,
        settings.augment,
        settings.batch_size,
        settings.deskew,
        whole,
    )


def _first(images: ImageSet, part: str, limit: int | None, whole: dict[str, int]) -> ImageSet:
    """The first `limit` images; where some are left out, how many there were goes into `whole` under `part`."""
    if limit is None or limit >= len(images):
        return images
    whole[part] = len(images)
    return images[:limit]
