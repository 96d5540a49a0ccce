from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nodebench.data import DataError
from nodebench.data.augmentation import (
    KINDS,
    affine,
    augment,
    random_affine_maps,
    random_offsets,
    shift,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8, generator=generator(7))


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_float32_between_0_and_1_and_of_the_same_shape(kind: str, images: Tensor) -> None:
    for given in (images, torch.full_like(images, 255), images.double() / 255):
        result = augment(given, kind, generator())
        assert result.dtype == torch.float32
        assert result.shape == images.shape
        assert result.min() >= 0
        assert result.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_and_floats_give_the_same_result(kind: str, images: Tensor) -> None:
    from_bytes, from_floats = augment(images, kind, generator()), augment(images / 255, kind, generator())
    assert torch.equal(from_bytes, from_floats)


@pytest.mark.parametrize("kind", ["shift", "affine"])
def test_the_seed_decides_the_result(kind: str, images: Tensor) -> None:
    first, again, other = (augment(images, kind, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_the_input_nor_the_global_random_state_is_changed(kind: str, images: Tensor) -> None:
    given, state = images / 255, torch.get_rng_state()
    kept = given.clone()
    augment(given, kind, generator())
    assert torch.equal(given, kept)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["shift", "affine"])
def test_every_image_gets_its_own_warp(kind: str, images: Tensor) -> None:
    warped = augment(images[:1].expand(16, -1, -1, -1), kind, generator())
    assert len({tuple(image.flatten().tolist()) for image in warped}) > 8


def test_none_only_scales(images: Tensor) -> None:
    assert torch.equal(augment(images, "none", generator()), images.float() / 255)


def test_shift_is_padding_and_cropping_image_by_image(images: Tensor) -> None:
    floats = images / 255
    result = augment(images, "shift", generator(3))
    for image, (down, right), shifted in zip(
        floats, random_offsets(64, generator(3)).tolist(), result, strict=True
    ):
        padded = F.pad(image, (4, 4, 4, 4))
        assert torch.equal(shifted, padded[:, 4 - down : 32 - down, 4 - right : 32 - right])


def test_shift_moves_down_and_right_and_lets_zeros_in() -> None:
    image = torch.zeros(1, 1, 28, 28)
    image[..., 10, 20] = 1
    moved = shift(image, torch.tensor([[3, -4]]))
    assert moved.nonzero().tolist() == [[0, 0, 13, 16]]
    assert shift(torch.ones(1, 1, 28, 28), torch.tensor([[4, 4]])).sum() == 24 * 24


def test_offsets_cover_every_whole_number_from_minus_4_to_4() -> None:
    offsets = random_offsets(2000, generator())
    assert offsets[:, 0].unique().tolist() == offsets[:, 1].unique().tolist() == list(range(-4, 5))


def test_affine_without_strength_is_the_identity(images: Tensor) -> None:
    maps = random_affine_maps(64, generator(), max_rotation=0, max_shear=0, max_scale=0, max_shift=0)
    torch.testing.assert_close(affine(images / 255, maps), images / 255, atol=1e-4, rtol=0)


def test_affine_by_whole_pixels_is_shift(images: Tensor) -> None:
    maps = torch.tensor([[1.0, 0, 2 * 3 / 28], [0, 1, -2 * 2 / 28]]).expand(64, 2, 3)
    expected = shift(images / 255, torch.tensor([[2, -3]]).expand(64, 2))
    torch.testing.assert_close(affine(images / 255, maps), expected, atol=1e-4, rtol=0)


def test_affine_maps_are_rotation_times_shear_over_scale_within_their_ranges() -> None:
    maps = random_affine_maps(4000, generator()).double()
    matrix, offset = maps[:, :, :2], maps[:, :, 2]
    rotation = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    scale = matrix.det().rsqrt()
    unrotated = torch.stack([matrix[:, 0, 0], matrix[:, 1, 0]], 1) * scale[:, None]  # (cos, sin)
    shear = torch.rad2deg(torch.atan((matrix[:, :, 1] * unrotated).sum(1) * scale))
    for values, bound in (
        (rotation, 15),
        (shear, 10),
        (scale - 1, 0.1),
        (offset[:, 0], 0.2),
        (offset[:, 1], 0.2),
    ):
        assert 0.98 * bound < values.max() <= bound + 1e-5
        assert -bound - 1e-5 <= values.min() < -0.98 * bound


def test_affine_rotates_about_the_centre() -> None:
    image = torch.zeros(1, 1, 28, 28)
    image[..., 4:8, 12:16] = 1
    quarter_turn = torch.tensor([[[0.0, -1, 0], [1, 0, 0]]])
    torch.testing.assert_close(affine(image, quarter_turn), torch.rot90(image, 1, (2, 3)), atol=1e-4, rtol=0)


class ForbidFloat64(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            assert not isinstance(tensor, Tensor) or tensor.dtype != torch.float64, func
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_no_float64_tensor_is_made(kind: str, images: Tensor) -> None:
    with ForbidFloat64():
        augment(images, kind, generator())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_the_gpu_sees_the_same_images_as_the_cpu(kind: str, images: Tensor) -> None:
    on_gpu = augment(images.cuda(), kind, generator())
    assert on_gpu.device.type == "cuda"
    torch.testing.assert_close(on_gpu.cpu(), augment(images, kind, generator()), atol=1e-4, rtol=0)


def test_an_unknown_kind_is_named_with_the_nearest_one(images: Tensor) -> None:
    with pytest.raises(DataError, match="did you mean `shift`"):
        augment(images, "shfit", generator())
