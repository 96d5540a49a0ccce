"""What a command imports before it does anything, and what Python's collector does meanwhile."""

from __future__ import annotations

import atexit
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_faults import COUNT, IS_GLIBC, saying_nothing_of_memory

from nodebench.commands import starting

HEAVY = ("pandas", "sklearn", "scipy", "matplotlib", "torchvision", "PIL")
START = f"""{COUNT}
import gc, sys
from nodebench import cli
from nodebench.commands import session
from nodebench.config.compose import compose
from nodebench.data import fashion_mnist, kmnist, mnist
from nodebench.training import loop

def loaded(*names):
    print("loaded:", sorted(set(names) & set(sys.modules)))

def first_step(*_):
    loaded(*{HEAVY})
    print("collector:", gc.get_threshold() == usual, gc.get_freeze_count() > 0)
    print("memory:", {not IS_GLIBC} or are_kept())
    sys.exit()

overrides = ["task=density", "data=pinwheel", "model=cnf", "training.num_steps=1", "device=cpu"]
session.assemble(compose(overrides).config)
loaded(*{HEAVY}, "tensorboard", "triton", "torch._dynamo")
loop.training_step = first_step
usual = gc.get_threshold()
sys.argv = ["nodebench", "train", *overrides, f"output_dir={{sys.argv[1]}}"]
cli.main()
"""


def test_until_its_first_step_a_run_imports_nothing_that_it_does_not_need_by_then(tmp_path: Path) -> None:
    """A net alone is made without torch's compiler, which all of torch's optimizers import.

    The process' own command begins with a collector at rest, and trains with one that works as always; what it frees
    stays with it.
    """
    done = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path)],
        env=saying_nothing_of_memory(),
        capture_output=True,
        text=True,
        check=False,
    )
    told = ("loaded: ", "collector: ", "memory: ")
    found = [line for line in done.stdout.splitlines() if line.startswith(told)]
    expected = ["loaded: []", "loaded: []", "collector: True True", "memory: True"]
    assert found == expected, done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments", [["table", "--runs"], ["status", "--runs"], ["list"]], ids=lambda words: words[0]
)
def test_what_only_reads_runs_imports_no_torch(arguments: list[str], tmp_path: Path) -> None:
    folder = [str(tmp_path)] if "--runs" in arguments else []
    code = f"import sys\nfrom nodebench import cli\ncli.main({[*arguments, *folder]})\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False", done.stdout


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")  # this process' memory stays as it is
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    atexit.unregister(gc.freeze)


def test_the_collector_rests_while_a_command_starts_and_works_as_before_once_that_is_over(
    collector: None,
) -> None:
    before = gc.get_threshold()
    starting.begin()
    assert gc.get_threshold()[0] > 100 * before[0]
    starting.over()
    assert gc.get_threshold() == before
    num_kept = gc.get_freeze_count()
    assert num_kept > 0
    starting.over()  # of the next run in this process, whose beginning was none
    assert gc.get_freeze_count() == num_kept
