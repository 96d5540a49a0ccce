"""The settings of a solve stand in one place, and a new one is found wherever settings are read."""

from __future__ import annotations

import importlib
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nodebench.config.compose import compose as own_compose
from nodebench.config.files import flatten, load, shipped_folder
from nodebench.config.identity import hash8
from nodebench.ode.settings import of_config, precision, precision_in_words

ROOT = Path(__file__).parent.parent.parent
FIELD = "    damping: float | None = setting(None, number(0.5, 2), CHOSEN_STEPS, positive=True)\n"


@pytest.fixture
def with_damping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports modules of a copy of the package whose settings have one more: a line in settings.py and train.yaml."""
    for name in ("nodebench", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file, line, added in (
        ("nodebench/ode/settings.py", "    max_nfe: int | None = setting(", FIELD),
        ("configs/train.yaml", "  max_nfe: ", "  damping: null\n"),
    ):
        text = (tmp_path / file).read_text(encoding="utf-8")
        assert text.count(line) == 1
        (tmp_path / file).write_text(text.replace(line, f"{added}{line}"), encoding="utf-8")
    own = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "nodebench"}
    for name in own:
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module
    for name in [name for name in sys.modules if name.split(".")[0] == "nodebench"]:
        del sys.modules[name]
    sys.modules.update(own)


def test_train_yaml_has_the_keys_and_the_defaults_of_the_settings() -> None:
    shipped = dict(flatten(load(shipped_folder() / "train.yaml")["solver"]))
    told = {key: setting.default for key, setting in of_config().items()}
    assert shipped.pop("method") == "???"  # a solver's file gives it: solver=dopri5
    assert told.pop("method") == load(shipped_folder() / "solver" / "dopri5.yaml")["method"]
    assert {key: float(value) if value == ".inf" else value for key, value in shipped.items()} == told


def test_a_setting_that_is_added_is_found_everywhere(
    with_damping: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    check, compose = (
        getattr(with_damping(f"nodebench.config.{name}"), name) for name in ("check", "compose")
    )
    solver_settings = with_damping("nodebench.config.build").solver_settings
    of_copy = with_damping("nodebench.config.identity").hash8

    with_damping("nodebench.commands.list").run(["settings"])
    assert "damping         a number from 0.5 to 2, or null; null by default\n" in capsys.readouterr().out
    for overrides, words in (
        (["solver.damping=3"], "solver.damping=3 is not possible; it must be a number from 0.5 to 2"),
        (
            ["solver=rk4", "solver.damping=1"],
            "solver.damping=1 has no effect with solver.method=rk4, solver.dt=0.1",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            check(compose(overrides).config)
    config = compose(["solver.damping=1"]).config
    check(config)
    solver = solver_settings(config["solver"])
    assert solver.damping == 1
    block = with_damping("nodebench.models.ode_block").ODEBlock(torch.nn.Identity(), solver, "adjoint")
    block.vector_field.forward = lambda t, y: y
    assert block(torch.ones(1)).item() == pytest.approx(math.e, rel=1e-3)
    odeint = with_damping("nodebench.ode").odeint
    for options, words in (
        ({"damping": -1}, "`damping` is -1; it must be positive"),
        ({"method": "rk4", "dt": 0.1, "damping": 1}, "`damping` has no effect on `rk4` with dt=0.1"),
        ({"dampin": 1}, "unknown option `dampin`; did you mean `damping`?"),
    ):
        with pytest.raises((TypeError, ValueError), match=re.escape(words)):
            odeint(lambda t, y: y, torch.ones(1), [0.0, 1.0], **options)
    assert of_copy(config) != hash8(own_compose().config)
    assert of_copy(compose().config) == hash8(own_compose().config)  # older runs keep their folders


def test_a_precision_is_written_in_powers_of_ten_or_in_words() -> None:
    assert precision(1e-3, 1e-3, None) == "1e-3"
    assert precision(1e-3, 2.5e-6, None) == "1e-3/2.5e-6"
    assert precision(None, None, 0.1) == "dt=0.1"
    assert precision("much", 1e-3, None) == "much/1e-3"
    assert precision_in_words(1e-3, 1e-3, None) == ["tol 0.001"]
    assert precision_in_words(1e-3, 1e-6, 0.25) == ["dt 0.25", "rtol 0.001, atol 1e-06"]
