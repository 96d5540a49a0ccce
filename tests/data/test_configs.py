from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from nodebench.data.protocol import returns_data

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "data").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_data_set_has_the_same_defaults_in_its_config_and_in_its_function(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    module_name, function_name = config.pop("_target_").rsplit(".", 1)
    assert module_name.startswith("nodebench.data.")
    assert function_name == path.stem
    function = getattr(importlib.import_module(module_name), function_name)
    assert returns_data(function)
    parameters = inspect.signature(function).parameters
    config.pop("content", None)  # a hash of a file, which the config room fills in and checks
    assert list(config) == list(parameters)
    defaults = {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    assert {key: config[key] for key in defaults} == defaults
    assert config.get("root", "${oc.env:NODEBENCH_DATA,data}") == "${oc.env:NODEBENCH_DATA,data}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_data_set_says_what_it_is_in_the_first_line_of_its_config(path: Path) -> None:
    assert path.read_text().startswith("# ")
