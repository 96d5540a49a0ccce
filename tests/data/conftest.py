"""Tiny stand-ins for the files of MNIST, and the promise that no test here touches the network."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torchvision.datasets
from torchvision.datasets import utils as torchvision_files

from nodebench.data import mnist as mnist_module
from nodebench.data import torchvision_images

SHAPES = {
    "train-images-idx3-ubyte": (40, 28, 28),
    "train-labels-idx1-ubyte": (40,),
    "t10k-images-idx3-ubyte": (12, 28, 28),
    "t10k-labels-idx1-ubyte": (12,),
}


def idx_bytes(name: str) -> bytes:
    """An IDX file of the shape above: image i is filled with i, label i is i modulo 10."""
    shape = SHAPES[name]
    pixels = math.prod(shape[1:])
    values = [i % 10 if pixels == 1 else i for i in range(shape[0]) for _ in range(pixels)]
    return struct.pack(f">{1 + len(shape)}I", 0x0800 | len(shape), *shape) + bytes(values)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every attempt of torchvision to open an address fails, and is listed."""
    attempts: list[str] = []

    def refuse(url: str, *args: object, **kwargs: object) -> None:
        attempts.append(url)
        raise OSError("the network is unreachable")

    monkeypatch.setattr(torchvision_files, "_get_redirect_url", refuse)
    monkeypatch.setattr(torchvision_files, "_urlretrieve", refuse)
    return attempts


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data sets are declared to be as small as the stand-ins, which pass every check."""
    monkeypatch.setattr(torchvision_images, "SHAPES", SHAPES)
    digests = {name: hashlib.sha256(idx_bytes(name)).hexdigest() for name in SHAPES}
    monkeypatch.setattr(mnist_module, "SHA256", digests)
    resources = [(f"{name}.gz", hashlib.md5(zipped(name)).hexdigest()) for name in SHAPES]
    for source in ("MNIST", "FashionMNIST", "KMNIST"):
        monkeypatch.setattr(getattr(torchvision.datasets, source), "resources", resources)


def zipped(name: str) -> bytes:
    return gzip.compress(idx_bytes(name), mtime=0)


@pytest.fixture
def write_files(tiny: None, tmp_path: Path) -> Callable[..., Path]:
    """`write_files(source)` makes a root with the four files of a data set; with `packed=True` as .gz."""

    def write(source: str, packed: bool = False) -> Path:
        folder = tmp_path / source / "raw"
        folder.mkdir(parents=True)
        for name in SHAPES:
            path = folder / (f"{name}.gz" if packed else name)
            path.write_bytes(zipped(name) if packed else idx_bytes(name))
        return tmp_path

    return write
