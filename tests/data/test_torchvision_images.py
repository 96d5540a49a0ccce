from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.datasets import utils as torchvision_files

from nodebench.data import DataError, ImageData
from nodebench.data.fashion_mnist import fashion_mnist
from nodebench.data.kmnist import kmnist
from nodebench.data.mnist import mnist

LOADERS = {"MNIST": mnist, "FashionMNIST": fashion_mnist, "KMNIST": kmnist}
NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
WriteFiles = Callable[..., Path]


def load(source: str, root: Path | str) -> ImageData:
    return LOADERS[source](root, val_size=8, augment="none", batch_size=4)


@pytest.mark.parametrize("source", LOADERS)
def test_files_already_there_are_read_without_writing_or_network(
    source: str, write_files: WriteFiles, no_network: list[str]
) -> None:
    root = write_files(source)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    data = load(source, root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert no_network == []
    assert data.val is not None
    assert (len(data.train), len(data.val), len(data.test), data.num_classes) == (32, 8, 12, 10)
    for part in (data.train, data.val, data.test):
        assert part.images.dtype == torch.uint8
        assert torch.equal(part.images[:, 0, 27, 27] % 10, part.labels)  # a stand-in's pixels say its label


@pytest.mark.parametrize("source", LOADERS)
@pytest.mark.parametrize("damage", ["truncated", "extra bytes", "wrong magic number"])
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_named_and_never_loaded(
    source: str, damage: str, name: str, write_files: WriteFiles
) -> None:
    root = write_files(source)
    path = root / source / "raw" / name
    content = path.read_bytes()
    changed = {
        "truncated": content[:-1],
        "extra bytes": content + b"\0",
        "wrong magic number": b"\1" + content[1:],
    }
    path.write_bytes(changed[damage])
    with pytest.raises(DataError, match=f"{name}` is truncated or corrupt"):
        load(source, root)


@pytest.mark.parametrize("source", ["FashionMNIST", "KMNIST"])
def test_a_label_out_of_range_is_an_error(source: str, write_files: WriteFiles) -> None:
    root = write_files(source)
    path = root / source / "raw" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\x0a")
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte` .*holds the label 10, beyond 9"):
        load(source, root)


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_in_mnist_is_found_by_sha256(name: str, write_files: WriteFiles) -> None:
    root = write_files("MNIST")
    path = root / "MNIST" / "raw" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name}` is truncated or corrupt: its SHA-256"):
        load("MNIST", root)


@pytest.mark.parametrize("source", LOADERS)
def test_packed_files_are_unpacked_without_network(
    source: str, write_files: WriteFiles, no_network: list[str]
) -> None:
    root = write_files(source, packed=True)
    assert len(load(source, root).train) == 32
    assert no_network == []
    names = {path.name for path in (root / source / "raw").iterdir()}
    assert names == {*NAMES, *(f"{name}.gz" for name in NAMES)}


def test_only_the_missing_file_is_fetched(write_files: WriteFiles, no_network: list[str]) -> None:
    root = write_files("MNIST")
    (root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"missing: t10k-labels-idx1-ubyte\. Put"):
        load("MNIST", root)
    assert no_network
    assert all(url.endswith("t10k-labels-idx1-ubyte.gz") for url in no_network)


def test_a_damaged_packed_file_is_not_unpacked(write_files: WriteFiles) -> None:
    root = write_files("MNIST", packed=True)
    path = root / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        load("MNIST", root)
    assert "; damaged: train-images-idx3-ubyte.gz (its MD5 is not " in str(caught.value)
    assert "missing:" not in str(caught.value)
    assert not (root / "MNIST" / "raw" / "train-images-idx3-ubyte").exists()


def test_a_packed_file_that_is_whole_is_not_called_missing_or_damaged(
    write_files: WriteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot_write(*args: object, **kwargs: object) -> None:
        raise PermissionError("Permission denied")

    root = write_files("MNIST", packed=True)
    (root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    monkeypatch.setattr(torchvision_files, "download_and_extract_archive", cannot_write)
    with pytest.raises(
        DataError,
        match=r"\(Permission denied\); not unpacked: (\S+\.gz,? ?){3}; missing: t10k-labels-idx1-ubyte\. Put",
    ):
        load("MNIST", root)


@pytest.mark.parametrize("source", LOADERS)
def test_without_files_and_network_the_error_says_what_to_do(source: str, tiny: None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the network is unreachable") as caught:
        load(source, tmp_path / "data")
    message = str(caught.value)
    for part in (
        str(tmp_path / "data" / source / "raw"),
        *NAMES,
        "`data.root`",
        "NODEBENCH_DATA",
        "`data=digits`",
    ):
        assert part in message


def test_a_download_runs_with_a_timeout_that_is_taken_back(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float | None] = []

    def hang(*args: object, **kwargs: object) -> None:
        seen.append(socket.getdefaulttimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr(torchvision_files, "download_and_extract_archive", hang)
    with pytest.raises(DataError, match="timed out"):
        load("KMNIST", tmp_path)
    assert seen
    assert all(timeout is not None and timeout <= 15 for timeout in seen)
    assert socket.getdefaulttimeout() is None


def test_the_next_mirror_is_tried_when_one_fails(
    write_files: WriteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_files("MNIST", packed=True)
    real, mirrors = torchvision_files.download_and_extract_archive, []

    def first_mirror_fails(url: str, *args: object, **kwargs: object) -> None:
        mirrors.append(url)
        if len(mirrors) == 1:
            raise RuntimeError("File not found or corrupted.")
        real(url, *args, **kwargs)

    monkeypatch.setattr(torchvision_files, "download_and_extract_archive", first_mirror_fails)
    assert len(load("MNIST", root).test) == 12
    assert mirrors[0] != mirrors[1]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_root_that_is_a_file_is_an_error(below: str, tiny: None, tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("not a folder")
    with pytest.raises(DataError, match=r"is a file|Not a directory"):
        load("MNIST", path / below)


def test_an_empty_root_is_an_error() -> None:
    with pytest.raises(DataError, match=r"`data\.root` is empty"):
        load("MNIST", "")


def test_the_home_of_nobody_is_an_error() -> None:
    with pytest.raises(DataError, match="there is no such home; write the whole path"):
        load("MNIST", "~nobody-of-this-name/data")
