"""IDX files, the format of MNIST: a header (magic number and sizes, 32 bits big-endian each), plain bytes.

torchvision trusts unpacked files as they lie there. Here the bytes that were checked are returned.
"""

from __future__ import annotations

import hashlib
import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from nodebench.data.errors import DataError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, shape: tuple[int, ...], sha256: str | None = None) -> Tensor:
    """The content of an unpacked IDX file of unsigned bytes: uint8, of the expected `shape`.

    Raises DataError, naming the file, if it cannot be read, if magic number, sizes or length are not those of
    `shape`, or if it has another SHA-256 than the one given.
    """
    try:
        content = bytearray(path.read_bytes())
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error}") from error
    header = struct.pack(f">{1 + len(shape)}I", UNSIGNED_BYTE << 8 | len(shape), *shape)
    num_bytes = len(header) + math.prod(shape)
    if content[:4] != header[:4]:
        raise damaged(
            path,
            f"starts with {content[:4].hex() or 'nothing'}, not with the magic number {header[:4].hex()}",
        )
    if content[4 : len(header)] != header[4:]:
        raise damaged(path, f"its header does not say {' x '.join(map(str, shape))}")
    if len(content) != num_bytes:
        raise damaged(path, f"has {len(content)} bytes, not {num_bytes}")
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise damaged(path, f"its SHA-256 is not {sha256}")
    return torch.frombuffer(content, dtype=torch.uint8, offset=len(header)).view(shape)


def damaged(path: Path, reason: str) -> DataError:
    """The error for a file whose content is not what it should be."""
    return DataError(
        f"`{path}` is truncated or corrupt: {reason}; replace it, or delete it to have it downloaded again"
    )
