"""The wheel: it carries the configs, and what it installs works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What the command printed; a failure shows its errors."""
    result = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, cwd=ROOT)
    (path,) = folder.glob("nodebench-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """A folder with the wheel's contents as pip lays them out, the dependencies left to the environment."""
    target = wheel.parent / "site"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", target, wheel, cwd=wheel.parent)
    return target


def test_the_wheel_carries_every_config_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"nodebench/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert "nodebench/configs/train.yaml" in configs
    assert "nodebench/ode/py.typed" in names
    assert configs <= names
    assert not [name for name in names if name.startswith(("tests/", "outputs/"))]


def test_an_installed_nodebench_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = "import nodebench; print(nodebench.__file__)"
    found = run(sys.executable, "-c", where, cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(found.strip()).is_relative_to(installed)

    nodebench = (sys.executable, "-m", "nodebench")
    listed = run(*nodebench, "list", cwd=tmp_path, PYTHONPATH=str(installed))
    assert {"odenet", "dopri5", "digits"} <= set(listed.split())
    assert "nodebench train" in run(*nodebench, "train", "--help", cwd=tmp_path, PYTHONPATH=str(installed))
