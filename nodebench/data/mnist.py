"""MNIST: handwritten digits (LeCun, Cortes and Burges, 1998), the paper's data set."""

from __future__ import annotations

import os

from nodebench.data.images import ImageData, ImageSettings, make_image_data
from nodebench.data.torchvision_images import NUM_CLASSES, load_train_and_test

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def mnist(
    root: str | os.PathLike[str],
    val_size: int = 5000,
    limit_train: int | None = None,
    limit_val: int | None = None,
    limit_test: int | None = None,
    augment: str = "affine",
    batch_size: int = 128,
    deskew: bool = False,
) -> ImageData:
    """MNIST, 60,000 training and 10,000 test images; every file checked by SHA-256. Raises DataError."""
    train, test = load_train_and_test("MNIST", root, SHA256)
    settings = ImageSettings(val_size, limit_train, limit_val, limit_test, augment, batch_size, deskew)
    return make_image_data("mnist", train, test, NUM_CLASSES, settings)
