"""The wheel, made of the sdist: it carries the configs, and what it installs works away from the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml

from nodebench import __version__, cli

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
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=ROOT)
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
    assert {"nodebench/py.typed", "nodebench/ode/py.typed"} <= names
    assert configs <= names
    assert not [name for name in names if name.startswith(("tests/", "outputs/"))]


def test_what_a_package_index_shows_leads_to_no_file_of_a_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        (name,) = [name for name in content.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_bytes(content.read(name))
    assert metadata["Description-Content-Type"] == "text/markdown"
    description = metadata.get_payload()
    assert description.startswith("# nodebench\n")
    assert set(re.findall(r"\]\(([^)]*)\)", description)) == {"https://arxiv.org/abs/1806.07366"}
    assert "![" not in description


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    assert citation["version"] == project["version"] == __version__
    assert citation["license"] == project["license"]
    (paper,) = citation["references"]
    assert paper["year"] == 2018
    assert [author["family-names"] for author in paper["authors"]] == [
        *("Chen", "Rubanova", "Bettencourt", "Duvenaud"),
    ]


def test_an_installed_nodebench_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = "import nodebench; print(nodebench.__file__)"
    found = run(sys.executable, "-c", where, cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(found.strip()).is_relative_to(installed)

    nodebench = (sys.executable, "-m", "nodebench")
    listed = run(*nodebench, "list", cwd=tmp_path, PYTHONPATH=str(installed))
    assert {"odenet", "dopri5", "digits"} <= set(listed.split())
    assert "nodebench train" in run(*nodebench, "train", "--help", cwd=tmp_path, PYTHONPATH=str(installed))
    run(*nodebench, "new", "model", "gated", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (tmp_path / "own" / "gated_model.py").is_file()


def test_an_installed_nodebench_is_light_to_import_and_loads_a_run(installed: Path, tmp_path: Path) -> None:
    light = "import sys, nodebench; print({'torch', 'pandas', 'hydra'} & set(sys.modules))"
    assert run(sys.executable, "-c", light, cwd=tmp_path, PYTHONPATH=str(installed)).strip() == "set()"

    smoke = ("data=digits", "training=smoke", "data.batch_size=8", "data.limit_train=64", "solver.tol=1")
    assert cli.main(["train", *smoke, f"output_dir={tmp_path / 'outputs'}"]) == 0
    (seed0,) = tmp_path.glob("outputs/*/*/seed0")
    loads = (
        "import sys, nodebench; (row,) = nodebench.runs().to_dict('records'); "
        "print(nodebench.load(sys.argv[1]).evaluate()['error_test'] == row['error_test'])"
    )
    found = run(sys.executable, "-c", loads, seed0, cwd=tmp_path, PYTHONPATH=str(installed))
    assert found.strip() == "True"


@pytest.mark.slow
def test_a_type_checker_knows_what_an_installed_nodebench_gives(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "script.py").write_text(
        "import nodebench\n"
        "run = nodebench.load('outputs/RUN/seed0')\n"
        "reveal_type(run.evaluate('rk4', dt=0.25))\n"
        "nodebench.load(3)\n"
    )
    checked = subprocess.run(
        (
            sys.executable,
            "-m",
            "mypy",
            "--follow-imports=silent",
            "--cache-dir",
            tmp_path / "cache",
            "script.py",
        ),
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": "", "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.search(r"script.py:3: .*dict\[[\w.]*str, [\w.]*float\]", checked.stdout), checked.stderr
    assert 'script.py:4: error: Argument 1 to "load"' in checked.stdout
