"""A data set of one's own that is not right: one sentence that names its function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from nodebench.config.build import Builder
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.config.files import config_folders, shipped_targets
from nodebench.data import DataError, ImageData, ImageSet
from nodebench.tasks import Classification

MODULE = """import torch
from nodebench.data import DensityData, ImageData, ImageSet

def float64() -> DensityData:
    return DensityData("mine", 2, 8, 1.0, lambda split, n, generator: torch.zeros(n, 2, dtype=torch.float64))

def nothing() -> DensityData:
    return None

def letters() -> ImageData:
    images = ImageSet(torch.zeros(26, 1, 28, 28, dtype=torch.uint8), torch.arange(26))
    return ImageData("letters", images, None, images, 26, "none", 8)

def half() -> DensityData:
    return DensityData("mine",
                       batch_size=8)

def without_annotation():
    return float64()

def of_nowhere() -> "Nowhere":
    return float64()
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Builder]:
    """`own(function)` builds with that function of the module as data=mine."""
    (tmp_path / "data_of_mine.py").write_text(MODULE)
    (tmp_path / "data").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def builder(function: str) -> Builder:
        (tmp_path / "data" / "mine.yaml").write_text(f"# mine\n_target_: data_of_mine.{function}\n")
        config = compose(["data=mine", "training=smoke"], tmp_path).config
        return Builder(config, shipped_targets(config_folders(tmp_path)))

    return builder


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "float64",
            r"^data=mine \(float64\): draw\('train', 8, generator\) gave float64 .* needed: a float32",
        ),
        ("nothing", r"^data=mine \(nothing\): it returned a NoneType, and its annotation says DensityData$"),
    ],
)
def test_what_the_function_makes_is_looked_at(
    own: Callable[[str], Builder], function: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        own(function).data()


@pytest.mark.parametrize("function", ["without_annotation", "of_nowhere"])
def test_a_function_that_does_not_say_its_kind_is_told_how(
    own: Callable[[str], Builder], function: str
) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"data_of_mine\.{function} is no function with a return annotation that is a kind of data, such as Im",
    ):
        own(function).check_fit()


def test_more_classes_than_a_shipped_net_has_outputs_are_refused(own: Callable[[str], Builder]) -> None:
    with pytest.raises(ConfigError, match="data=mine has 26 classes, and model=odenet has 10 outputs"):
        own("letters").data()


@pytest.mark.parametrize(
    ("says", "outputs"), [({}, None), ({"num_outputs": 25}, 25), ({"num_outputs": 26}, None)]
)
def test_outputs_of_a_net_of_ones_own_are_known_where_it_says_them(
    says: dict[str, int], outputs: int | None
) -> None:
    images = ImageSet(torch.zeros(26, 1, 28, 28, dtype=torch.uint8), torch.arange(26))
    data = ImageData("mine", images, None, images, 26, "none", 8)
    misfit = Classification.misfit(data, type("Net", (nn.Module,), says))
    assert misfit == (None if outputs is None else ("26 classes", f"{outputs} outputs"))


def test_what_goes_wrong_in_the_function_is_told_with_its_name_and_line(
    own: Callable[[str], Builder],
) -> None:
    told = r"^data=mine \(half\) cannot be made: TypeError: .* missing .*data_of_mine\.py, line 1[0-9]\)$"
    with pytest.raises(ConfigError, match=told):
        own("half").data()
