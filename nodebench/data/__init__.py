"""Image data sets as uint8 tensors in memory, and their augmentation as batched tensor code.

One module a data set: a function of the module's name that takes plain keyword arguments and returns
`ImageData`. `images` holds that type and the train/validation split, `idx_files` and `torchvision_images`
read and check files, `augmentation` warps a batch. There are no data loaders and no worker processes.
"""

from __future__ import annotations

from nodebench.data.errors import DataError
from nodebench.data.images import ImageData, ImageSet

__all__ = ["DataError", "ImageData", "ImageSet"]
