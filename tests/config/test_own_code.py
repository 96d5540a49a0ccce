"""The hash of a user's own code: what changes it, and that nothing is imported for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from nodebench.config.compose import compose
from nodebench.config.own_code import own_code

FILES = {
    "mylib/__init__.py": "raise RuntimeError('nothing is imported')\n",
    "mylib/nets.py": "import json\nimport torch\nfrom . import layers\nfrom mylib_parts import norms as n\n",
    "mylib/layers.py": "import nodebench.models\nfrom .deep.inner import x\n",
    "mylib/deep/inner.py": "from mylib import nets\n",  # and back again
    "mylib/unused.py": "",
    "mylib_parts/__init__.py": "",
    "mylib_parts/norms.py": "this is no Python\n",
}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def config(target: str) -> dict[str, Any]:
    return {
        "model": {"name": "mine", "_target_": target},
        "data": {"name": "mnist", "_target_": "nodebench.data.x"},
    }


@pytest.mark.parametrize("name", [name for name in FILES if "unused" not in name])
def test_it_changes_with_every_file_that_the_code_is_made_of(library: Path, name: str) -> None:
    before = own_code(config("mylib.nets.Net"))
    assert list(before) == ["model=mine"]
    (library / name).write_text(f"{FILES[name]}# changed\n")
    assert own_code(config("mylib.nets.Net")) != before
    (library / name).write_text(FILES[name])
    assert own_code(config("mylib.nets.Net")) == before


def test_what_the_code_does_not_use_does_not_change_it(library: Path) -> None:
    before = own_code(config("mylib.nets.Net"))
    (library / "mylib" / "unused.py").write_text("x = 1\n")
    assert own_code(config("mylib.nets.Net")) == before


@pytest.mark.usefixtures("library")
def test_nothing_is_imported() -> None:
    own_code(config("mylib.nets.Net"))
    assert not {name for name in sys.modules if name.startswith("mylib")}


def test_where_the_code_lies_does_not_matter(
    library: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = own_code(config("mylib.nets.Net"))
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    library.rename(moved)
    monkeypatch.syspath_prepend(moved)
    assert own_code(config("mylib.nets.Net")) == before


def test_an_installed_package_is_hashed_by_its_file_and_not_followed() -> None:
    assert list(own_code(config("torch.optim.NAdam"))) == ["model=mine"]


@pytest.mark.parametrize("target", ["nowhere_at_all.Net", "Net", "", "nodebench.models.flows.Flow"])
def test_code_that_is_not_there_or_of_this_package_has_none(target: str) -> None:
    assert own_code(config(target)) == {}


@pytest.mark.parametrize("choice", ["model=odenet", "model=mlp", "training=paper"])
def test_shipped_choices_have_none(choice: str) -> None:
    assert own_code(compose([choice]).config) == {}
