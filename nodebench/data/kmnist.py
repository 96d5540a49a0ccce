"""KMNIST: handwritten Japanese characters, Kuzushiji (Clanuwat et al., 2018), of the size of MNIST."""

from __future__ import annotations

import os

from nodebench.data.images import ImageData, ImageSettings, make_image_data
from nodebench.data.torchvision_images import NUM_CLASSES, load_train_and_test


def kmnist(
    root: str | os.PathLike[str],
    val_size: int = 5000,
    limit_train: int | None = None,
    limit_val: int | None = None,
    limit_test: int | None = None,
    augment: str = "affine",
    batch_size: int = 128,
    deskew: bool = False,
) -> ImageData:
    """Kuzushiji-MNIST, 60,000 training and 10,000 test images. Raises DataError."""
    train, test = load_train_and_test("KMNIST", root)
    settings = ImageSettings(val_size, limit_train, limit_val, limit_test, augment, batch_size, deskew)
    return make_image_data("kmnist", train, test, NUM_CLASSES, settings)
