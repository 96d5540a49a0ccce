from __future__ import annotations

import torch

from nodebench.data import ImageSet
from nodebench.data.digits import digits, enlarge


def rows(images: ImageSet) -> set[bytes]:
    return {bytes(image.flatten().tolist()) for image in images.images}


def test_digits_are_1797_images_in_three_parts_without_overlap() -> None:
    data = digits()
    assert data.val is not None
    assert (len(data.train), len(data.val), len(data.test)) == (1280, 160, 357)
    parts = [rows(data.train), rows(data.val), rows(data.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 1797


def test_every_part_of_digits_has_every_class() -> None:
    data = digits()
    assert data.val is not None
    for part in (data.train, data.val, data.test):
        counts = torch.bincount(part.labels, minlength=data.num_classes)
        assert len(counts) == data.num_classes == 10
        assert counts.min() >= 0.05 * len(part)


def test_digits_are_the_same_on_every_call() -> None:
    first, second = digits(), digits()
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.labels, second.test.labels)


def test_digits_look_like_mnist_in_range_margin_mean_and_deviation() -> None:
    images = digits(val_size=0).train.images
    assert (images.min(), images.max()) == (0, 255)
    assert images[:, :, :2].max() == images[:, :, -2:].max() == 0
    assert images[..., :2].max() == images[..., -2:].max() == 0
    scaled = images.double() / 255
    assert abs(scaled.mean() - 0.1307) < 0.03
    assert abs(scaled.std() - 0.3081) < 0.02


def test_enlarging_keeps_the_digit_upright_and_in_its_place() -> None:
    small = torch.zeros(1, 1, 8, 8)
    small[..., 1:3, 5:8] = 1  # near the upper right corner
    row, column = (enlarge(small)[0, 0] > 127).nonzero().double().mean(0).tolist()
    assert (
        abs(row - 8.7) < 0.5
    )  # small pixels are 2.4 large ones, behind a margin of 4.4: 4.4 + 2 * 2.4 - 0.5
    assert abs(column - 19.5) < 0.5
