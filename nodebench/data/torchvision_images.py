"""MNIST and the data sets made in its form: torchvision knows where they come from, the checks are ours.

Files are sought where torchvision puts them, `<root>/<class name>/raw`; if all are there, nothing is written, and
torchvision is not imported.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from nodebench.data.errors import DataError
from nodebench.data.idx_files import damaged, read_idx
from nodebench.data.images import ImageSet

SHAPES = {
    "train-images-idx3-ubyte": (60000, 28, 28),
    "train-labels-idx1-ubyte": (60000,),
    "t10k-images-idx3-ubyte": (10000, 28, 28),
    "t10k-labels-idx1-ubyte": (10000,),
}
NUM_CLASSES = 10
TIMEOUT_S = 10.0
_may_download = ContextVar("may_download", default=True)


class NotDownloadedError(DataError):
    """Files are not there, and are not to be downloaded now."""


@contextmanager
def without_downloads() -> Iterator[None]:
    """Within, files that are not there are a NotDownloadedError, and nothing is written."""
    token = _may_download.set(False)
    try:
        yield
    finally:
        _may_download.reset(token)


def load_train_and_test(
    source: str, root: str | os.PathLike[str], sha256: Mapping[str, str] | None = None
) -> tuple[ImageSet, ImageSet]:
    """Training and test set of `source` (torchvision's class: MNIST or one made from it), downloaded if need be.

    `sha256` maps file names to the digests of the unpacked files, where they are known. Raises DataError if
    `root` is no folder, if files are missing and cannot be downloaded, or if one is damaged.
    """
    if not os.fspath(root):
        raise DataError("`data.root` is empty; name the folder for the files (or unset NODEBENCH_DATA)")
    try:
        path = Path(root).expanduser().absolute()
    except RuntimeError as error:
        raise DataError(
            f"`data.root` is `{root}`, and there is no such home; write the whole path"
        ) from error
    if os.path.isfile(path):
        raise DataError(f"`data.root` is a file: `{path}`; name the folder that holds {source}/raw")
    folder = path / source / "raw"
    missing = [name for name in SHAPES if not os.path.isfile(folder / name)]
    if missing and not _may_download.get():
        raise NotDownloadedError(f"{source} is not in `{folder}` yet; training downloads it")
    if missing:
        _fetch(source, folder, missing)
    return _read(folder, "train", sha256 or {}), _read(folder, "t10k", sha256 or {})


def _read(folder: Path, part: str, sha256: Mapping[str, str]) -> ImageSet:
    images_name, labels_name = (name for name in SHAPES if name.startswith(part))
    images = read_idx(folder / images_name, SHAPES[images_name], sha256.get(images_name))
    labels = read_idx(folder / labels_name, SHAPES[labels_name], sha256.get(labels_name))
    if labels.max() >= NUM_CLASSES:
        raise damaged(folder / labels_name, f"holds the label {labels.max()}, beyond {NUM_CLASSES - 1}")
    return ImageSet(images.unsqueeze(1), labels.to(torch.int64))


def _fetch(source: str, folder: Path, missing: list[str]) -> None:
    """Let torchvision download what is missing: its progress bar, its MD5 check; a .gz there is used."""
    from torchvision import datasets

    known = getattr(datasets, source)
    md5_of = {resource.removesuffix(".gz"): md5 for resource, md5 in known.resources}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _network_timeout(TIMEOUT_S):
            for name in missing:
                _fetch_file(known.mirrors, folder, name, md5_of[name])
    except (OSError, RuntimeError, HTTPException) as error:
        raise DataError(
            f"{source} in `{folder}` is not whole and cannot be downloaded ({str(error) or repr(error)}); "
            f"{_what_is_wrong(folder, missing, md5_of)}. Put these files there (with or without .gz), or set "
            f"`data.root` or NODEBENCH_DATA to a folder that holds {source}/raw, or take "
            "`data=digits`, which needs no files"
        ) from error


def _what_is_wrong(folder: Path, missing: list[str], md5_of: Mapping[str, str]) -> str:
    """`damaged: a.gz, whose MD5 is not 1f3e; missing: b`: each file that is not unpacked, by what there is of it."""
    from torchvision.datasets.utils import check_integrity

    found: dict[str, list[str]] = {"damaged": [], "not unpacked": [], "missing": []}
    for name in missing:
        packed, md5 = folder / f"{name}.gz", md5_of[name]
        if not packed.is_file():
            found["missing"].append(name)
        elif check_integrity(str(packed), md5):
            found["not unpacked"].append(packed.name)
        else:
            found["damaged"].append(f"{packed.name} (its MD5 is not {md5})")
    return "; ".join(f"{state}: {', '.join(names)}" for state, names in found.items() if names)


def _fetch_file(mirrors: list[str], folder: Path, name: str, md5: str) -> None:
    """One file from the first mirror that gives it; it gets its name only when it is complete."""
    from torchvision.datasets.utils import download_and_extract_archive

    failures: list[Exception] = []
    for mirror in mirrors:
        try:
            with TemporaryDirectory(dir=folder) as scratch:
                download_and_extract_archive(
                    f"{mirror}{name}.gz", str(folder), extract_root=scratch, filename=f"{name}.gz", md5=md5
                )
                os.replace(Path(scratch, name), folder / name)
            return
        except (OSError, RuntimeError, HTTPException) as error:
            failures.append(error)
    raise failures[0]  # the main mirror's; the others may be long gone


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    """torchvision opens its connections without a timeout; a dead network would hang for minutes."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
