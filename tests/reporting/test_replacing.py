"""A table or figure replaces the old file whole, and nothing but it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodebench.reporting.replacing import replace_file


def test_a_link_in_the_way_of_the_partial_file_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text("mine")
    (tmp_path / "table.md.partial").symlink_to(elsewhere)

    replace_file(tmp_path / "table.md", b"new")

    assert elsewhere.read_text() == "mine"
    assert (tmp_path / "table.md").read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path)) == ["elsewhere.txt", "table.md"]


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.md"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        replace_file(path, b"new")
    assert os.listdir(tmp_path) == ["table.md"]
    assert path.read_text() == "old"
