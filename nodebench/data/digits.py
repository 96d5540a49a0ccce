"""Handwritten digits that come with scikit-learn: 1,797 images of 8x8 pixels in 17 grey levels. No network.

Source: Alpaydin and Kaynak (1998), the test part of the UCI optical digits. Training and test set share their
writers, so test errors are lower than they would be for new ones.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from nodebench.data.images import ImageData, ImageSet, ImageSettings, hold_out, make_image_data

MAX_LEVEL = 16
TEST_SIZE = 357  # leaves 1,440; 160 of them held out leave 1,280, a whole number of batches of 64
CONTRAST = (
    0.15,
    0.85,
)  # these levels become black and white: mean and deviation of all pixels are then nearly MNIST's


def digits(
    val_size: int = 160,
    limit_train: int | None = None,
    limit_val: int | None = None,
    limit_test: int | None = None,
    augment: str = "affine",
    batch_size: int = 64,
    deskew: bool = False,
) -> ImageData:
    """The digits at 28x28, 1,440 training and 357 test images, always the same ones. Raises DataError."""
    bundled = load_digits()
    images = enlarge(torch.as_tensor(bundled.images, dtype=torch.float32).unsqueeze(1) / MAX_LEVEL)
    train, test = hold_out(ImageSet(images, torch.as_tensor(bundled.target, dtype=torch.int64)), TEST_SIZE)
    settings = ImageSettings(val_size, limit_train, limit_val, limit_test, augment, batch_size, deskew)
    return make_image_data("digits", train, test, 10, settings)


def enlarge(images: Tensor) -> Tensor:
    """Float (N, 1, 8, 8) in [0, 1] to uint8 (N, 1, 28, 28): digits about 20 pixels high, crisp as MNIST's.

    The zero pixel around the small image lets strokes that touch its border fade out instead of being cut.
    """
    large = F.interpolate(F.pad(images, (1, 1, 1, 1)), size=(24, 24), mode="bicubic", align_corners=False)
    black, white = CONTRAST
    stretched = ((large - black) / (white - black)).clamp(0, 1)
    return F.pad((255 * stretched).round().to(torch.uint8), (2, 2, 2, 2))
