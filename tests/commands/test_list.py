"""`nodebench list`: everything that can be chosen, with what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodebench.commands.list import SECTIONS, run
from nodebench.config.errors import ConfigError
from nodebench.config.files import config_folders, description, options
from nodebench.ode.settings import of_config

SHIPPED = config_folders()


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(arguments) == 0
    return capsys.readouterr().out


def test_every_option_of_every_group_is_listed_with_its_description(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(capsys).splitlines()
    for group in SECTIONS.values():
        for name, path in options(group, SHIPPED).items():
            assert description(path), path
            assert any(line.split()[:1] == [name] and line.endswith(description(path)) for line in lines), (
                name
            )


def test_solvers_are_listed_with_order_stages_and_kind(capsys: pytest.CaptureFixture[str]) -> None:
    listed = printed(capsys, "solvers")
    assert "dopri5             Dormand-Prince 5(4): order 5, 7 stages, adaptive" in listed
    assert "rk4                Classical Runge-Kutta: order 4, 4 stages, fixed step" in listed
    assert "odenet" not in listed


def test_settings_are_listed_with_what_is_allowed_and_what_they_go_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = printed(capsys, "settings")
    for key in of_config():
        assert f"  {key} " in listed
    assert "dt              a number from 1e-6 to 1e6, or null; null by default" in listed
    assert "goes with a method that is not SciPy's; a solver that controls its error" in listed
    assert "tsit5" not in listed


def test_experiments_are_listed_with_what_they_reproduce_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    listed = printed(capsys, "experiments")
    for name in ("table1_odenet", "table1_rknet", "table1_resnet", "table1_mlp", "digits"):
        assert name in listed
    assert "reproduces: 0.42 % test error, 0.22 M parameters" in listed
    assert "cost: under 3 minutes on 2 CPU cores" in listed


def test_a_section_is_found_by_its_groups_name_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "solver") == printed(capsys, "solvers")


def test_an_unknown_section_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean `experiments`"):
        run(["experimnts"])


def test_a_folder_of_ones_own_is_listed_beside_the_shipped_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "solver").mkdir()
    (tmp_path / "solver" / "mine.yaml").write_text("# My own\nmethod: dopri5\n")
    listed = printed(capsys, "solvers", "--config-dir", str(tmp_path))
    assert "mine               My own" in listed
    assert "dopri5" in listed
