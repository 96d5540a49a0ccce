"""Random augmentation of a whole batch at once: none, shift, affine.

The parameters are drawn on the CPU, from the generator that is handed in, so that a step sees the same images
on every device; the images are warped where they are, in float32.
"""

from __future__ import annotations

import difflib
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nodebench.data.errors import DataError

KINDS = ("none", "shift", "affine")
MAX_SHIFT = 4


def check_kind(kind: str) -> None:
    """DataError, with the nearest valid name, if `kind` is not one of KINDS."""
    if kind in KINDS:
        return
    nearest = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.5)
    hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
    raise DataError(f"`data.augment` is {kind!r}; allowed: {', '.join(KINDS)}{hint}")


def augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Images (B, 1, 28, 28), uint8 or float in [0, 1], warped at random: float32 in [0, 1], same device."""
    check_kind(kind)
    images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    if kind == "shift":
        return shift(images, random_offsets(len(images), generator))
    if kind == "affine":
        return affine(images, random_affine_maps(len(images), generator))
    return images


def random_offsets(num: int, generator: torch.Generator) -> Tensor:
    """Whole pixels (down, right), uniform in -MAX_SHIFT..MAX_SHIFT: int64 (num, 2)."""
    return torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (num, 2), generator=generator)


def shift(images: Tensor, offsets: Tensor) -> Tensor:
    """Each image moved by its own `offsets: int64 (B, 2)` (down, right; at most MAX_SHIFT), zeros moving in.

    With uniform offsets this is torchvision's RandomCrop(28, padding=4), for a batch in one gather.
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, (MAX_SHIFT,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, 1, 9, 9, H, W)
    top, left = (MAX_SHIFT - offsets).to(images.device).unbind(1)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def random_affine_maps(
    num: int,
    generator: torch.Generator,
    *,
    max_rotation: float = 15.0,
    max_shear: float = 10.0,
    max_scale: float = 0.1,
    max_shift: float = 0.1,
) -> Tensor:
    """Maps from output to input coordinates, [A | t] with A = R(rotation) [[1, tan shear], [0, 1]] / scale.

    Uniform and independent: rotation and shear (degrees) in +-max, scale in 1 +- max_scale, shift along each
    axis in +-max_shift of the image's side. Returns float32 (num, 2, 3), for `affine`; identity if all are 0.
    """
    unit = 2 * torch.rand(5, num, generator=generator, dtype=torch.float32) - 1
    rotation, shear = unit[0] * math.radians(max_rotation), torch.tan(unit[1] * math.radians(max_shear))
    scale = 1 + unit[2] * max_scale
    right, down = unit[3:] * (2 * max_shift)  # the sides run from -1 to 1
    cos, sin = rotation.cos() / scale, rotation.sin() / scale
    rows = [cos, cos * shear - sin, right, sin, sin * shear + cos, down]
    return torch.stack(rows, dim=1).view(num, 2, 3)


def affine(images: Tensor, maps: Tensor) -> Tensor:
    """Float images resampled through `maps: (B, 2, 3)` (as in `affine_grid`): bilinear, zeros outside."""
    grid = F.affine_grid(maps.to(images.device), list(images.shape), align_corners=False)
    warped = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped.clamp_(0, 1)  # the four weights sum to 1 only up to rounding
