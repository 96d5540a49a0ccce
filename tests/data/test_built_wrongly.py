"""Data of one's own that is not as its type says: what is wrong, and what is needed instead."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nodebench.data import DataError, DensityData, EnergyData, ImageData, ImageSet
from nodebench.data.energies import u1, u2, u3, u4
from nodebench.data.toy_densities import two_circles

Draw = Callable[[str, int, torch.Generator], Any]


def density(draw: Any, dim: Any = 2, window: Any = 1.0) -> DensityData:
    return DensityData("mine", dim, 8, window, draw)


def normal(split: str, n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, 2, generator=generator)


def one_held_out(split: str, n: int, generator: torch.Generator) -> Tensor:
    return torch.zeros(n if split == "train" else 1, 2)


def failing_test_split(split: str, n: int, generator: torch.Generator) -> Tensor:
    return {"train": torch.zeros(n, 2), "val": torch.zeros(n, 2)}[split]


@pytest.mark.parametrize("draw", [normal, one_held_out])
def test_a_density_as_it_should_be_passes(draw: Draw) -> None:
    density(draw).check()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda s, n, g: torch.zeros(n, 2).double(),
            r"draw\('train', 8, generator\) gave float64 of shape \(8, 2\)",
        ),
        (
            lambda s, n, g: torch.zeros(n, 3),
            r"gave float32 of shape \(8, 3\); needed: a float32 tensor of shape",
        ),
        (lambda s, n, g: torch.zeros(n), r"gave float32 of shape \(8,\)"),
        (lambda s, n, g: torch.zeros(n - 1, 2), r"gave float32 of shape \(7, 2\)"),
        (lambda s, n, g: torch.zeros(()), r"gave float32 of shape \(\)"),
        (lambda s, n, g: np.zeros((n, 2)), "gave a ndarray; needed: a float32 tensor"),
        (lambda s, n, g: torch.full((n, 2), math.nan), "NaN or infinite; every coordinate must be finite"),
        (lambda n: torch.zeros(n, 2), "failed with TypeError"),
        (failing_test_split, r"draw\('test', 8, generator\) failed with KeyError"),
        (
            lambda s, n, g: torch.zeros(n if s == "train" else 0, 2),
            r"draw\('val', 8, generator\) gave .*\(0, 2\)",
        ),
    ],
)
def test_a_draw_that_gives_something_else_is_quoted(draw: Draw, message: str) -> None:
    with pytest.raises(DataError, match=message):
        density(draw).check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"draw": torch.zeros(3, 2)}, "its draw is a Tensor; it must be a function"),
        ({"dim": "2"}, "its dim is '2'; a density has a whole number of dimensions"),
        ({"dim": 0}, "its dim is 0"),
        ({"window": 0}, "its window is 0; it must be a finite number above 0"),
        ({"window": math.inf}, "its window is inf"),
    ],
)
def test_a_density_built_from_the_wrong_things_says_so(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        density(**{"draw": normal, **changes})


@pytest.mark.parametrize("data", [two_circles(), u1(), u2(), u3(), u4()], ids=lambda data: data.name)
def test_what_is_shipped_passes(data: DensityData | EnergyData) -> None:
    data.check()


def test_a_flat_energy_passes() -> None:
    EnergyData("flat", lambda z: torch.zeros_like(z[:, 0]), batch_size=8).check()


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (
            lambda z: z.sum(),
            r"gave float32 of shape \(\) for z of float32 of shape \(64, 2\); needed: one number",
        ),
        (lambda z: z.square(), r"gave float32 of shape \(64, 2\)"),
        (lambda z: z.sum(-1).float(), "gave float32 of shape .* for z of float64"),
        (lambda z: z.detach().numpy(), "gave a ndarray"),
        (lambda z: z[:, 0].log(), "is NaN or infinite inside the window of 4"),
        (lambda z: z.detach().sum(-1), "cannot be differentiated"),
        (lambda: 0, "failed with TypeError"),
    ],
)
def test_an_energy_that_gives_something_else_is_quoted(energy: Callable[..., Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        EnergyData("mine", energy, batch_size=8).check()


def test_an_energy_that_is_no_function_says_so() -> None:
    not_callable: Any = 3
    with pytest.raises(DataError, match="its energy is a int; it must be a function"):
        EnergyData("mine", not_callable, batch_size=8)


def images(num: int, label: int = 0) -> ImageSet:
    return ImageSet(torch.zeros(num, 1, 28, 28, dtype=torch.uint8), torch.full((num,), label))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": images(0)}, "its test set is empty"),
        ({"val": images(0)}, "its validation set is empty"),
        (
            {"train": images(9, label=10)},
            "its training labels go from 10 to 10; with num_classes=10 .* 0 to 9",
        ),
        ({"test": images(9, label=-1)}, "its test labels go from -1 to -1"),
        ({"train": torch.zeros(9, 1, 28, 28)}, "its training set is a Tensor; it must be an ImageSet"),
        ({"augment": "flip"}, "`data.augment` is 'flip'"),
        ({"batch_size": 10}, "`data.batch_size` is 10, but the training set has 9 images"),
    ],
)
def test_images_built_from_the_wrong_things_say_so(changes: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {
        "train": images(9),
        "val": None,
        "test": images(3),
        "augment": "none",
        "batch_size": 8,
    }
    ImageData(name="mine", num_classes=10, **right)
    with pytest.raises(DataError, match=message):
        ImageData(name="mine", num_classes=10, **{**right, **changes})
