"""Every command of README and docs runs, each in a variant that takes seconds; the slow set is all of them.

Of each nodebench command the first one in the pages runs with the fast tests. Nothing here lists the pages' commands:
they are found, and one that CHEAP and NOT_RUN do not know fails.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import COMMANDS, DOCS, ROOT, forget_own, forget_own_modules, name_of, write_own

from nodebench import cli
from nodebench.benchmark.comparison import Effort
from nodebench.benchmark.workloads import vdp
from nodebench.commands import sweep
from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.config.launch import expand
from nodebench.ode import missing_compiler

Words = tuple[str, ...]

# What makes a command cheap is written behind it, where the last word on a thing counts.
CHEAP: dict[str, Words] = {
    "train": (),  # `small` below: few data, and two steps unless the page gives epochs; of a sweep, two members
    "evaluate": (),  # these six on runs that were trained so
    "export": () if importlib.util.find_spec("onnx") else ("--format", "torchscript"),
    "show": (),
    "status": (),
    "compare": (),
    "report": (),
    "measure": ("--batches", "1", "--reference-tol", "1e-6"),
    "table": (),
    "plot": ("--out", "figures"),  # and not into the committed runs
    "reproduce": ("--dry-run",),
    "bench": ("vdp", "--quick"),  # instead of another workload, and smaller than quick
    "new": ("--to", "made"),
    "list": (),
    "completion": (),
    "--help": (),
}
NOT_RUN = {
    "make": "the targets are tests/test_makefile.py's",
    "torchrun": "tests/training/test_several.py has several processes train",
    "pip": "installs from the network; tests/test_packaging.py builds what it would install",
    "scripts/fig3.sh": "trains on MNIST for half an hour, and measures as long",
    "scripts/per_image.sh": "the same",
    "scripts/table1.sh": "trains on MNIST for many hours",
    "scripts/many_runs.py": "makes ten thousand run folders; tests/reporting/test_index.py makes hundreds",
    "scripts/stiff.py": "minutes of solves; tests/ode/test_stiff_systems.py solves the same systems",
}
RUN_AS_WRITTEN = {"scripts/fig7_ideal.py"}
FEW = {"batch_size": 8, "limit_train": 16, "limit_val": 8, "limit_test": 8, "num_train": 16, "num_test": 8}
FILES = {  # FILE.csv of the pages, by the data set that reads it
    "points": "".join(f"{i / 40},{i % 7}\n" for i in range(40)),
    "series": "id,time,x1,x2\n" + "".join(f"{i},{t},{i * t},{t * t}\n" for i in range(20) for t in range(5)),
    "events": "id,time\n" + "".join(f"{i},{i / 50 + t}\n" for i in range(20) for t in range(5)),
}
RUNS = {  # which the pages' commands speak of, by the name that they give them
    "classification/RUN": ("data=digits", "training.schedule=constant", "training.epochs=3"),
    "classification/OTHER": ("data=digits", "model=rknet"),
    "time_series/RUN": ("task=time_series", "data=spirals", "model=latent_ode"),
}


def small(overrides: Sequence[str], config_dir: str | None = None) -> list[str]:
    """`overrides` and those that make a run of seconds out of it, without a download."""
    first = expand(overrides, config_dir)[0][0]
    composed = compose([word for word in first if not word.startswith("training.")], config_dir)
    data = composed.config["data"]
    few = [f"data.{key}={value}" for key, value in FEW.items() if key in data]
    is_long = not any(word.startswith("training.epochs=") for word in overrides)
    two_steps = ["training.epochs=null", "training.num_steps=2"] if is_long else []
    return [*overrides, *["data=digits"] * ("root" in data), *few, *two_steps]


def two_members(
    overrides: Sequence[str], config_dir: str | Path | None = None
) -> tuple[list[list[str]], list[str]]:
    """The first member of a sweep and the last, each with seed 0."""
    members, own = expand(overrides, config_dir)
    chosen = [members[0], members[-1]] if len(members) > 1 else members
    return [["seed=0" if word.startswith("seed=") else word for word in member] for member in chosen], own


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the commands speak of: small runs under the pages' names, committed ones, and `own`."""
    folder = tmp_path_factory.mktemp("workplace")
    for name, overrides in RUNS.items():
        words = [*small(overrides), f"output_dir={folder / 'trained'}"]
        assert cli.main(["train", *words]) == 0
        shutil.copytree(run_folder(compose(words).config).parent, folder / "outputs" / name)
    shutil.rmtree(folder / "trained")
    (folder / "docs").symlink_to(DOCS)
    write_own(folder)
    yield folder
    forget_own()


@pytest.fixture
def in_workplace(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(sys, "path", [*sys.path, str(workplace / "own")])
    monkeypatch.setattr(sweep, "expand", two_members)
    monkeypatch.setattr(vdp, "QUICK", (3, 0.1, Effort(1)))
    shutil.rmtree("made", ignore_errors=True)
    yield workplace
    forget_own_modules()


def cheap(words: Words) -> list[str]:
    """The words of a nodebench command, and those that make it one of seconds."""
    command, *rest = words
    added = [] if "--out" in rest else [*CHEAP[command]]
    if command == "train":
        config_dir = rest[rest.index("--config-dir") + 1] if "--config-dir" in rest else None
        overrides = [word for word in rest if "=" in word]
        for data in (word.removeprefix("data=") for word in overrides if word.startswith("data=")):
            if data in FILES:
                Path("FILE.csv").write_text(FILES[data], encoding="utf-8")
        added = small(overrides, config_dir)[len(overrides) :]
    elif command == "bench":
        rest = [word for word in rest if word.startswith("--")]
    elif command in ("plot", "table") and rest and rest[0] in ("fig3", "table1") and "--runs" not in rest:
        added += ["--runs", "docs/results/table1/runs"]  # the small runs are no rows of the paper's
    return [command, *rest, *added]


def of_nodebench() -> dict[Words, str]:
    """The words of each command of the pages behind `nodebench`, each once, and the first page that has it."""
    found: dict[Words, str] = {}
    for page, words in COMMANDS:
        if words[0] == "source":  # <(nodebench ...)
            words = " ".join(words[1:]).removeprefix("<(").removesuffix(")").split()
        if words[0] == "nodebench":
            found.setdefault(tuple(words[1:]), name_of(page))
    return found


def cases() -> Iterator[Any]:
    seen: set[str] = set()
    for words, page in of_nodebench().items():
        is_first = words[0] not in seen
        seen.add(words[0])
        marks = [] if is_first else [pytest.mark.slow]
        yield pytest.param(words, id=f"{page}: {' '.join(words)}", marks=marks)


@pytest.mark.usefixtures("in_workplace")
@pytest.mark.parametrize("words", cases())
def test_the_command_runs(words: Words) -> None:
    if "compile=true" in words and (missing := missing_compiler(torch.device("cpu"))):
        pytest.skip(missing)
    given = cheap(words)
    print("nodebench", *given)  # seen where the test fails
    assert cli.main(given) == 0


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(RUN_AS_WRITTEN))
def test_the_script_runs(script: str) -> None:
    (words,) = {tuple(words) for _, words in COMMANDS if script in words}
    assert words[0] == "python"
    subprocess.run([sys.executable, *words[1:]], cwd=ROOT, check=True)


def test_every_command_of_the_pages_has_a_cheap_variant_or_a_reason() -> None:
    assert {words[0] for words in of_nodebench()} == set(CHEAP)
    programs = {words[1] if words[0] == "python" else words[0] for _, words in COMMANDS}
    assert programs - {"nodebench", "source"} == set(NOT_RUN) | RUN_AS_WRITTEN
