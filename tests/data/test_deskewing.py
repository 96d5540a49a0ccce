from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nodebench.data.deskewing import deskew, slants
from nodebench.data.digits import digits

HEIGHT = 28


def bar(slant: float, *, middle: tuple[float, float] = (13.5, 13.5), half: float = 9.0) -> Tensor:
    """A bar through `middle` (down, right), `half` its height, every line `slant` pixels further right: uint8."""
    down = torch.arange(HEIGHT, dtype=torch.float64)[:, None] - middle[0]
    right = torch.arange(HEIGHT, dtype=torch.float64)[None, :] - middle[1] - slant * down
    image = (2.5 - right.abs()).clamp(0, 1) * (down.abs() <= half)
    return (255 * image).round().to(torch.uint8).view(1, 1, HEIGHT, HEIGHT)


def line_centres(image: Tensor) -> list[float]:
    """Where the middle of the ink lies in every line that has any."""
    grey = image[0, 0].tolist()
    return [sum(i * w for i, w in enumerate(line)) / sum(line) for line in grey if sum(line)]


@pytest.fixture
def written() -> Tensor:
    return digits().test.images


@pytest.mark.parametrize("slant", [-0.9, -0.3, 0.1, 0.5, 1.2])
def test_the_slant_of_a_bar_is_found(slant: float) -> None:
    image = bar(slant, half=5)
    found, middle = slants(image)
    assert found.item() == pytest.approx(slant, abs=0.02)
    assert middle.item() == pytest.approx(13.5, abs=0.02)


@pytest.mark.parametrize("slant", [-0.9, -0.3, 0.1, 0.5, 1.2])
@pytest.mark.parametrize("middle", [(13.0, 13.5), (12.0, 14.0)])
def test_a_slanted_bar_becomes_upright_where_it_stands(slant: float, middle: tuple[float, float]) -> None:
    slanted = bar(slant, middle=middle, half=5)
    assert line_centres(slanted)[0] != pytest.approx(middle[1], abs=0.4)
    assert line_centres(deskew(slanted)) == pytest.approx([middle[1]] * 11, abs=0.1)


def test_an_upright_image_stays_bit_for_bit_wherever_it_stands() -> None:
    upright = torch.cat([bar(0), bar(0, middle=(10.0, 16.5), half=6)])
    assert torch.equal(deskew(upright), upright)


def test_a_black_image_and_one_with_a_single_line_stay() -> None:
    line = torch.zeros(1, 1, HEIGHT, HEIGHT, dtype=torch.uint8)
    line[..., 20, 3:9] = 200
    images = torch.cat([torch.zeros_like(line), line])
    assert torch.equal(deskew(images), images)
    assert slants(images)[0].tolist() == [0, 0]


def test_written_digits_have_no_slant_left(written: Tensor) -> None:
    before, after = slants(written)[0].abs(), slants(deskew(written))[0].abs()
    assert before.max() > 0.3
    assert after.max() < 0.003


def test_lines_keep_their_ink_and_the_centre_of_mass_its_place(written: Tensor) -> None:
    found = deskew(written)
    ink = written.sum(3, dtype=torch.int64), found.sum(3, dtype=torch.int64)
    assert (ink[0] - ink[1]).abs().max() <= HEIGHT / 2  # every pixel is rounded
    columns = torch.arange(HEIGHT, dtype=torch.float64)
    centres = [
        (image.double().sum((1, 2)) @ columns) / image.double().sum((1, 2, 3)) for image in (written, found)
    ]
    assert (centres[0] - centres[1]).abs().max() < 0.02


def test_a_line_is_interpolated_between_its_two_neighbours() -> None:
    image = bar(0.5, half=5)
    slant, middle = (value.item() for value in slants(image))
    found = deskew(image)
    for line in range(HEIGHT):
        offset = slant * (line - middle)
        for column in range(8, 20):
            left = int((column + offset) // 1)
            share = column + offset - left
            values = image[0, 0, line, [left, left + 1]].tolist()
            expected = (1 - share) * values[0] + share * values[1]
            assert found[0, 0, line, column].item() == pytest.approx(expected, abs=0.51)


def test_a_batch_is_deskewed_as_its_images_one_by_one(
    written: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = deskew(written[:50])
    assert torch.equal(together, torch.cat([deskew(image[None]) for image in written[:50]]))
    monkeypatch.setattr("nodebench.data.deskewing.IMAGES_AT_ONCE", 7)
    assert torch.equal(together, deskew(written[:50]))


def test_the_given_images_are_left_alone(written: Tensor) -> None:
    kept = written.clone()
    found = deskew(written)
    assert torch.equal(written, kept)
    assert (found.dtype, found.shape) == (torch.uint8, written.shape)
