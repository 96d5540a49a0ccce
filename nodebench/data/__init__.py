"""Data sets of three kinds: images in memory, densities known by samples, densities known up to a constant.

A data set is a function that takes plain keyword arguments; what its return annotation says is its kind:
`ImageData`, `DensityData`, `EnergyData`, or another class that follows `protocol.Data`. Images are uint8 tensors (one
module a set, files read and checked by `idx_files` and `torchvision_images`, sheared upright once by `deskewing` if
asked for, warped a batch at a time by `augmentation`); points are drawn fresh from a generator (`toy_densities`) or
come from a user's file (`points`); `energies` holds the targets of density matching. There are no data loaders and no
worker processes.
"""

from __future__ import annotations

from nodebench.data.densities import DensityData
from nodebench.data.energies import EnergyData
from nodebench.data.errors import DataError
from nodebench.data.images import ImageData, ImageSet
from nodebench.data.protocol import Data

__all__ = ["Data", "DataError", "DensityData", "EnergyData", "ImageData", "ImageSet"]
