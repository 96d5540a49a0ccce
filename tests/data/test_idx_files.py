from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nodebench.data import DataError
from nodebench.data.idx_files import read_idx

SHAPE = (2, 3, 4)
CONTENT = struct.pack(">4I", 0x0803, *SHAPE) + bytes(range(24))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "train-images-idx3-ubyte"
        path.write_bytes(content)
        return path

    return write


def test_a_sound_file_is_read_as_it_is(write: Callable[[bytes], Path]) -> None:
    values = read_idx(write(CONTENT), SHAPE, hashlib.sha256(CONTENT).hexdigest())
    assert values.dtype == torch.uint8
    assert torch.equal(values, torch.arange(24, dtype=torch.uint8).view(SHAPE))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(CONTENT[:-1], "has 39 bytes, not 40", id="truncated"),
        pytest.param(CONTENT[:10], "header does not say 2 x 3 x 4", id="truncated in the header"),
        pytest.param(b"", "starts with nothing", id="empty"),
        pytest.param(CONTENT + b"\0", "has 41 bytes, not 40", id="extra bytes"),
        pytest.param(b"\x00\x00\x08\x01" + CONTENT[4:], "magic number 00000803", id="labels for images"),
        pytest.param(b"\x1f\x8b\x08\x00" + CONTENT[4:], "starts with 1f8b0800", id="still packed"),
        pytest.param(CONTENT[:4] + b"\x01" + CONTENT[5:], "header does not say 2 x 3 x 4", id="wrong sizes"),
        pytest.param(CONTENT[:-1] + b"\xff", "SHA-256", id="one byte changed"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(
    write: Callable[[bytes], Path], content: bytes, reason: str
) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read_idx(write(content), SHAPE, hashlib.sha256(CONTENT).hexdigest())
    assert "train-images-idx3-ubyte` is truncated or corrupt" in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels` cannot be read"):
        read_idx(tmp_path / "labels", SHAPE)
