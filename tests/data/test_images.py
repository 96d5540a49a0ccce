from __future__ import annotations

from typing import Any

import pytest
import torch

from nodebench.data import DataError, ImageData, ImageSet
from nodebench.data.images import ImageSettings, hold_out, make_image_data


def numbered(num: int) -> ImageSet:
    """Images whose labels are their numbers, so that a split can be traced."""
    return ImageSet(torch.zeros(num, 1, 28, 28, dtype=torch.uint8), torch.arange(num))


def settings(**changes: Any) -> ImageSettings:
    limits = {f"limit_{part}": None for part in ("train", "val", "test")}
    return ImageSettings(**({"val_size": 20, **limits, "augment": "none", "batch_size": 8} | changes))


def make(**changes: Any) -> ImageData:
    return make_image_data("tiny", numbered(100), numbered(10), 100, settings(**changes))


def test_training_and_validation_share_no_image_and_leave_none_out() -> None:
    data = make()
    assert data.val is not None
    assert (len(data.train), len(data.val)) == (80, 20)
    assert sorted([*data.train.labels.tolist(), *data.val.labels.tolist()]) == list(range(100))


def test_validation_is_the_end_of_the_permutation_of_seed_0() -> None:
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    data = make(val_size=30)
    assert data.val is not None
    assert torch.equal(data.val.labels, order[70:])
    assert torch.equal(data.train.labels, order[:70])


def test_splitting_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    make()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_split_does_not_change_from_version_to_version() -> None:
    _, held_out = hold_out(numbered(100), 5)
    assert held_out.labels.tolist() == [58, 86, 43, 99, 51]


def test_no_validation_set_is_none_and_all_images_are_trained_on() -> None:
    data = make(val_size=0)
    assert data.val is None
    assert sorted(data.train.labels.tolist()) == list(range(100))


def test_limit_train_keeps_the_first_of_the_rest_and_the_same_validation_set() -> None:
    limited, full = make(limit_train=8), make()
    assert limited.val is not None
    assert full.val is not None
    assert torch.equal(limited.train.labels, full.train.labels[:8])
    assert torch.equal(limited.val.labels, full.val.labels)


def test_limits_of_evaluation_keep_the_first_images_and_say_how_many_there_were() -> None:
    whole, limited = make(), make(limit_val=5, limit_test=3)
    assert whole.val is not None
    assert limited.val is not None
    assert torch.equal(limited.val.labels, whole.val.labels[:5])
    assert torch.equal(limited.test.labels, whole.test.labels[:3])
    assert torch.equal(limited.train.labels, whole.train.labels)
    assert limited.describe() == "80 training, 5 of 20 validation, 3 of 10 test images; augmentation none"


def test_limits_of_evaluation_beyond_what_there_is_keep_all_of_it() -> None:
    assert make(limit_val=20, limit_test=11).describe() == make().describe()
    assert make(val_size=0, limit_val=5).val is None


def test_the_limits_themselves_are_allowed() -> None:
    assert len(make(val_size=99, batch_size=1).train) == 1
    assert len(make(limit_train=80, batch_size=80).train) == 80


def test_deskewing_takes_every_image_of_every_part_and_changes_no_split() -> None:
    slanted = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    slanted[0, 0, range(5, 20), range(5, 20)] = 255
    sets = [ImageSet(slanted.expand(num, -1, -1, -1), torch.arange(num)) for num in (100, 10)]
    data = make_image_data("tiny", *sets, 100, settings(limit_train=8, deskew=True))
    assert data.val is not None
    for part in (data.train, data.val, data.test):
        assert (part.images[:, 0, 5:20, 12] == 255).all()
    assert torch.equal(data.train.labels, make(limit_train=8).train.labels)
    assert data.describe() == "8 training, 20 validation, 10 test images, deskewed; augmentation none"
    assert make().describe() == "80 training, 20 validation, 10 test images; augmentation none"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deskew": 1}, r"`data.deskew` is 1; allowed: true, false"),
        ({"val_size": 100}, r"`data.val_size` is 100, but tiny has 100 training images; allowed: 0 to 99"),
        ({"val_size": -1}, r"`data.val_size` is -1; allowed"),
        ({"val_size": 0.1}, r"`data.val_size` is 0.1; allowed: whole numbers"),
        ({"val_size": True}, r"`data.val_size` is True; allowed: whole numbers"),
        ({"limit_train": 0}, r"`data.limit_train` is 0; allowed: whole numbers from 1 on"),
        ({"limit_train": -5}, r"`data.limit_train` is -5; allowed"),
        (
            {"limit_train": 81},
            r"`data.limit_train` is 81, but tiny has 80 training images .* allowed: 1 to 80",
        ),
        ({"limit_val": 0}, r"`data.limit_val` is 0; allowed: whole numbers from 1 on"),
        ({"limit_test": 0.5}, r"`data.limit_test` is 0.5; allowed: whole numbers from 1 on"),
        ({"batch_size": 0}, r"`data.batch_size` is 0; allowed"),
        ({"batch_size": -8}, r"`data.batch_size` is -8; allowed"),
        ({"batch_size": 81}, r"`data.batch_size` is 81, but the training set has 80 images"),
        ({"batch_size": 8, "limit_train": 7}, r"`data.batch_size` is 8, but the training set has 7 images"),
        (
            {"augment": "afine"},
            r"`data.augment` is 'afine'; allowed: none, shift, affine; did you mean `affine`",
        ),
        ({"augment": None}, r"`data.augment` is None; allowed: none, shift, affine; did you mean `none`"),
    ],
)
def test_a_setting_that_does_not_fit_the_data_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        pytest.param(torch.zeros(3, 1, 28, 28), torch.zeros(3, dtype=torch.int64), id="float images"),
        pytest.param(
            torch.zeros(3, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), id="no channel"
        ),
        pytest.param(
            torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), id="a label less"
        ),
        pytest.param(torch.zeros(3, 1, 28, 28, dtype=torch.uint8), torch.zeros(3), id="float labels"),
    ],
)
def test_an_image_set_has_one_form(images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(DataError, match="are not an image set"):
        ImageSet(images, labels)


def test_an_image_set_moves_to_a_device_as_a_whole() -> None:
    moved = numbered(3).to("meta")
    assert moved.images.device.type == moved.labels.device.type == "meta"
    assert len(moved) == 3
