"""Deskewing: every image sheared by its own moments, so that what was written at a slant stands upright.

Source: LeCun, Bottou, Bengio and Haffner (1998), "Gradient-based learning applied to document recognition", section
III.A, where it is called deslanting: from the second moments of its pixels an image is sheared "by horizontally
shifting the lines so that the principal axis is vertical". They counted a pixel as 0 or 1 and cropped the result to
20x20; here a pixel weighs as much as its grey level, and the image keeps its size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nodebench.data.augmentation import affine

IMAGES_AT_ONCE = 8192  # all of MNIST would take a gigabyte on the way


def deskew(images: Tensor) -> Tensor:
    """Square images, uint8 (N, 1, H, H), each deskewed by what it shows alone: uint8, same shape.

    The line at height y (down from the centre of mass) moves left by `slant * y` pixels, interpolated bilinearly, which
    within a line is linearly; what moves beyond the border is lost, and zeros move in. The centre of mass stays where
    it is, which in MNIST is the middle already, within a pixel. Afterwards the mixed second moment is 0, so that the
    principal axis is vertical wherever an image is taller than wide. An image without a slant stays as it is, and so
    does a black one.
    """
    parts = images.split(IMAGES_AT_ONCE)
    return torch.cat([_shear(part) for part in parts])


def slants(images: Tensor) -> tuple[Tensor, Tensor]:
    """Slant mu_11 / mu_02 (pixels right for each pixel down), and the line of the centre of mass: float64 (N,) each.

    0 where all the mass lies in one line, or there is none. The sums are of whole numbers and exact, so an image has
    the same slant alone and in a batch.
    """
    grey = images.squeeze(1).double()
    place = torch.arange(images.shape[-1], dtype=torch.float64, device=images.device)
    lines, columns = grey.sum(2), grey.sum(1)
    m00, m01, m10 = lines.sum(1), (lines * place).sum(1), (columns * place).sum(1)
    m02 = (lines * place**2).sum(1)
    m11 = (grey @ place * place).sum(1)
    mixed, vertical = m11 * m00 - m10 * m01, m02 * m00 - m01**2  # both times m00 squared
    return mixed / vertical.clamp(min=1), m01 / m00.clamp(min=1)


def _shear(images: Tensor) -> Tensor:
    slant, middle = slants(images)
    height = (2 * middle + 1) / images.shape[-1] - 1  # where the sides run from -1 to 1, as in affine's maps
    zero, one = torch.zeros_like(slant), torch.ones_like(slant)
    maps = torch.stack([one, slant, -slant * height, zero, one, zero], dim=1).view(-1, 2, 3)
    sheared = affine(images.float() / 255, maps.float())
    return (255 * sheared).round().to(torch.uint8)
