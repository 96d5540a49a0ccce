"""`make setup` and `make test-matrix` with stand-in Pythons: which they take, what they ask of them, what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

# Succeeds at all it is asked; asked for an environment, it puts a Python there that notes how it is called.
WORKING_PYTHON = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$3/bin"
    printf '#!/bin/sh\\necho "%s: $*" >> calls.txt\\n{torchvision}' "$(basename "$0")" > "$3/bin/python"
    chmod +x "$3/bin/python"
fi
"""
NO_ENSUREPIP = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n'
PYENV_SHIM = '#!/bin/sh\necho "pyenv: $(basename "$0"): command not found" >&2\nexit 127\n'
NMS_FAILURE = (
    'case "$2" in *torchvision*) echo "operator torchvision::nms does not exist" >&2; exit 1;; esac\\n'
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and pyproject.toml, and an empty bin/ that comes first on the PATH."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for minor in (11, 12, 13):
        put_python(tmp_path, f"python3.{minor}", PYENV_SHIM)
    return tmp_path


def put_python(checkout: Path, name: str, script: str, torchvision: str = "") -> None:
    path = checkout / "bin" / name
    path.write_text(script.replace("{torchvision}", torchvision))
    path.chmod(0o755)


def make_setup(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{checkout / 'bin'}:/usr/bin:/bin"}
    return subprocess.run(
        ["make", "setup", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def calls(checkout: Path) -> list[str]:
    path = checkout / "calls.txt"
    return path.read_text().splitlines() if path.exists() else []


def test_setup_takes_the_first_python_that_works_and_skips_a_command_that_only_fails(checkout: Path) -> None:
    put_python(checkout, "python3.12", WORKING_PYTHON)
    put_python(checkout, "python3.13", WORKING_PYTHON)

    result = make_setup(checkout, "PIP_ARGS=--extra-index-url somewhere")

    assert result.returncode == 0, result.stderr
    assert calls(checkout) == [
        "python3.12: -m pip install --editable .[dev] --extra-index-url somewhere",
        "python3.12: -c import torchvision",
    ]


def test_setup_skips_a_python_without_ensurepip_when_another_has_it(checkout: Path) -> None:
    put_python(checkout, "python3.11", NO_ENSUREPIP)
    put_python(checkout, "python3.12", WORKING_PYTHON)

    assert make_setup(checkout).returncode == 0
    assert calls(checkout)[0].startswith("python3.12: -m pip install")


def test_setup_does_nothing_twice_and_again_when_the_dependencies_change(checkout: Path) -> None:
    put_python(checkout, "python3.11", WORKING_PYTHON)
    make_setup(checkout)
    first = calls(checkout)

    make_setup(checkout)
    assert calls(checkout) == first

    newer = (checkout / ".venv" / ".setup-done").stat().st_mtime + 10
    os.utime(checkout / "pyproject.toml", (newer, newer))
    make_setup(checkout)
    assert len(calls(checkout)) > len(first)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (PYENV_SHIM, "no Python 3.11, 3.12 or 3.13 works here (tried: python3.11 python3.12 python3.13)"),
        (NO_ENSUREPIP, "python3.13 cannot make environments (no ensurepip)"),
    ],
)
def test_setup_without_a_usable_python_says_what_to_do_in_one_sentence(
    checkout: Path, script: str, words: str
) -> None:
    for minor in (11, 12, 13):
        put_python(checkout, f"python3.{minor}", script)

    result = make_setup(checkout)

    assert result.returncode != 0
    sentence, make_error = result.stderr.splitlines()
    assert words in sentence
    assert "make setup PYTHON=" in sentence
    assert make_error.startswith("make: ***")
    assert not (checkout / ".venv").exists()


def test_python_on_the_command_line_is_the_only_one_tried(checkout: Path) -> None:
    put_python(checkout, "python3.11", WORKING_PYTHON)
    result = make_setup(checkout, "PYTHON=/nowhere/python3.12")
    assert "(tried: /nowhere/python3.12)" in result.stderr
    assert calls(checkout) == []


def test_torch_and_torchvision_of_different_builds_are_named_and_not_called_done(checkout: Path) -> None:
    put_python(checkout, "python3.11", WORKING_PYTHON, torchvision=NMS_FAILURE)

    result = make_setup(checkout)

    assert result.returncode != 0
    assert "operator torchvision::nms does not exist" in result.stderr
    assert "make setup PIP_ARGS=" in result.stderr
    assert not (checkout / ".venv" / ".setup-done").exists()


# A Python whose torch knows AVX2 and no more, and whose tests fail on two threads; it notes how it is called.
MATRIX_PYTHON = """#!/bin/sh
case "$2" in
*capability*) echo avx2;;
*version*) echo "3.11.9 | 2.11.0";;
pytest)
    echo "${0%/bin/python} $ATEN_CPU_CAPABILITY $DNNL_MAX_CPU_ISA $OMP_NUM_THREADS" >> calls.txt
    mkdir "$TORCHINDUCTOR_CACHE_DIR" || exit 4
    [ -z "$STOP" ] || exit 2
    [ "$OMP_NUM_THREADS" = 1 ] && echo "7 passed in 0.10s" && exit
    printf "FAILED tests/test_a.py::test_b\\n1 failed, 6 passed in 0.10s\\n"; exit 1;;
esac
"""


class TestMatrix:
    @pytest.fixture(autouse=True)
    def repository(self, checkout: Path) -> None:
        """The checkout as a commit, with the script and two environments."""
        if shutil.which("git") is None:
            pytest.skip("needs git")
        (checkout / "scripts").mkdir()
        shutil.copy(ROOT / "scripts" / "test_matrix.sh", checkout / "scripts")
        for name in ("old", "new"):
            (checkout / "bin" / name / "bin").mkdir(parents=True)
            put_python(checkout, f"{name}/bin/python", MATRIX_PYTHON)
        author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        for command in (["init", "-q"], ["add", "Makefile"], [*author, "commit", "-qm", "a"]):
            subprocess.run(["git", *command], cwd=checkout, check=True)

    def make_matrix(self, checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        named = ["OLDEST=bin/old", "NEWEST=bin/new"]
        return subprocess.run(
            ["make", "-s", "test-matrix", *named],
            cwd=checkout,
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_every_cell_is_run_once_and_all_stand_in_one_table(self, checkout: Path) -> None:
        first = self.make_matrix(checkout)
        assert calls(checkout) == [
            *("bin/old default AVX2 1", "bin/old avx2 DEFAULT 2"),
            *("bin/new default DEFAULT 2", "bin/new avx2 AVX2 1"),
        ]
        rows = [line.strip("| ").split(" | ") for line in first.stdout.splitlines() if line.startswith("| 3")]
        assert [row[-1] for row in rows] == [
            *("7 passed in 0.10s", "1 failed, 6 passed in 0.10s", "not run: this processor has no avx512"),
            *("1 failed, 6 passed in 0.10s", "7 passed in 0.10s", "not run: this processor has no avx512"),
        ]
        assert rows[1][:-1] == ["3.11.9", "2.11.0", "avx2", "DEFAULT", "2"]
        assert first.stdout.count("FAILED tests/test_a.py::test_b") == 2
        assert first.returncode != 0

        again = self.make_matrix(checkout)
        assert again.stdout == first.stdout
        assert len(calls(checkout)) == 4

    def test_a_cell_that_was_interrupted_is_run_again(self, checkout: Path) -> None:
        assert self.make_matrix(checkout, STOP="1").returncode != 0
        shutil.rmtree(next((checkout / "outputs").rglob("*.compiled")))
        self.make_matrix(checkout)
        assert calls(checkout)[:2] == ["bin/old default AVX2 1"] * 2

    def test_changes_that_are_no_commit_are_not_recorded_as_one(self, checkout: Path) -> None:
        (checkout / "Makefile").write_text((checkout / "Makefile").read_text() + "\n")
        result = self.make_matrix(checkout)
        assert "the working tree has uncommitted changes" in result.stderr
        assert not (checkout / "outputs").exists()
