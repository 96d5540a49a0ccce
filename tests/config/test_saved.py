"""config.yaml: what is written can be published and is read back as it was."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.config.saved import config_text, read_config
from nodebench.reporting.runs import find_runs


def saved(folder: Path, *overrides: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(config_text(compose(overrides).config))
    return folder


@pytest.mark.parametrize("overrides", [[], ["model=mlp"], ["data=digits", "solver=rk4"], ["training=paper"]])
def test_a_config_is_read_back_as_it_was(tmp_path: Path, overrides: list[str]) -> None:
    assert read_config(saved(tmp_path, *overrides)) == compose(overrides).config


def test_absolute_paths_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODEBENCH_DATA", str(tmp_path / "from the environment"))
    for override in (f"output_dir={tmp_path}", f"data.root={tmp_path}", "seed=0", "data.root='~/data'"):
        text = (saved(tmp_path, override) / "config.yaml").read_text()
        assert str(tmp_path) not in text
        assert "~" not in text
        assert read_config(tmp_path)["data"]["root"] == str(tmp_path / "from the environment")


def test_a_relative_path_is_kept(tmp_path: Path) -> None:
    for root in ("pictures", "~nobody-of-this-name/pictures"):
        assert read_config(saved(tmp_path, f"data.root='{root}'"))["data"]["root"] == root


def test_a_plain_yaml_reader_finds_numbers_as_numbers(tmp_path: Path) -> None:
    config = yaml.safe_load((saved(tmp_path, "solver.tol=1e-5") / "config.yaml").read_text())
    assert config["solver"]["tol"] == 1e-5
    assert config["optimizer"]["eps"] == 1e-8


def test_a_folder_without_a_config_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run folder"):
        read_config(tmp_path)


def test_the_folder_above_a_run_names_the_run(tmp_path: Path) -> None:
    saved(tmp_path / "seed0")
    with pytest.raises(ConfigError, match=r"there is one in .*seed0"):
        read_config(tmp_path)


@pytest.mark.parametrize("text", ["{", "- 1", "model: odenet", "model: {a: '${nothing}'}", "\x00"])
def test_a_damaged_config_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        read_config(tmp_path)


@pytest.mark.parametrize("key", ["seed", "device", "model._target_", "data.name"])
def test_a_key_that_is_missing_is_named(tmp_path: Path, key: str) -> None:
    config = compose().config
    node, _, name = key.rpartition(".")
    del (config[node] if node else config)[name]
    (tmp_path / "config.yaml").write_text(config_text(config))
    with pytest.raises(ConfigError, match=f"{key} is missing; train the run again"):
        read_config(tmp_path)


def test_a_solver_setting_of_another_version_is_named(tmp_path: Path) -> None:
    config = compose().config
    config["solver"]["order"] = 5
    (tmp_path / "config.yaml").write_text(config_text(config))
    with pytest.raises(ConfigError, match=r"solver\.order is not known here"):
        read_config(tmp_path)


def test_a_config_from_before_there_were_steps_a_sample_means_shared_ones(tmp_path: Path) -> None:
    config = compose().config
    (tmp_path / "config.yaml").write_text(config_text(config).replace("  steps: shared\n", ""))
    assert "\n  steps:" not in (tmp_path / "config.yaml").read_text()
    assert read_config(tmp_path)["solver"] == config["solver"]


def test_the_place_of_a_file_of_points_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("1,2\n")
    config = compose(
        ["task=density", "data=points", "model=cnf", f"data.path={tmp_path / 'mine.csv'}"]
    ).config
    assert str(tmp_path) not in config_text(config)
    assert "path: mine.csv" in config_text(config)


class TestSomebodyElsesConfig:
    """A run folder can come from anywhere: nothing of this machine gets into it, and no reader is kept busy."""

    @pytest.mark.parametrize("key", ["solver.name", "model.stem", "data.root", "optimizer.betas"])
    def test_a_reference_is_named_and_not_looked_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        monkeypatch.setenv("NODEBENCH_TEST_SECRET", "the-secret")
        config = yaml.safe_load((saved(tmp_path) / "config.yaml").read_text())
        node, name = key.split(".")
        reference = "${oc.env:NODEBENCH_TEST_SECRET}"
        config[node][name] = [reference] if name == "betas" else reference
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(
            ConfigError, match=rf"{key} is .*the config of a run holds values alone"
        ) as caught:
            read_config(tmp_path)
        assert "the-secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("[" * 400 + "]" * 400, "nested over 50 deep"),
            ("[" * 100_000, "nest"),
            ("\n".join(" " * depth + "a:" for depth in range(300)), "nested over 50 deep"),
            ("a: &a [x, x]\n" + "\n".join(f"{c}: &{c} [*{b}, *{b}]" for b, c in pairwise("abcdefghijklmnopqrst")),
             "unfolds to over 10,000 values"),
            ("a: &a {b: *a}", "refers to what it is part of"),
            ("a: \xff", "UTF-8"),
        ],
    )  # fmt: skip
    def test_a_file_without_bounds_is_refused_at_once(self, tmp_path: Path, text: str, words: str) -> None:
        (tmp_path / "config.yaml").write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigError, match=words) as caught:
            read_config(tmp_path)
        assert str(tmp_path / "config.yaml") in str(caught.value)
        (run,) = find_runs(tmp_path)
        assert run.status == "damaged"

    def test_a_solver_that_lacks_a_setting_is_named(self, tmp_path: Path) -> None:
        config = compose().config
        del config["solver"]["adjoint"]["norm"]
        (tmp_path / "config.yaml").write_text(config_text(config))
        with pytest.raises(ConfigError, match=r"solver\.adjoint\.norm is missing"):
            read_config(tmp_path)


def test_every_committed_run_can_be_read() -> None:
    folders = [path.parent for path in Path(__file__).parents[2].glob("docs/results/**/config.yaml")]
    assert folders
    assert all(read_config(folder)["model"]["_target_"] for folder in folders)
