from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

CONFIGS = Path(__file__).parents[2] / "configs" / "data"
IMAGE_SETS = ("digits", "fashion_mnist", "kmnist", "mnist")


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_a_data_set_has_the_same_defaults_in_its_config_and_in_its_function(name: str) -> None:
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    module_name, function_name = config.pop("_target_").rsplit(".", 1)
    assert (module_name, function_name) == (f"nodebench.data.{name}", name)
    function = getattr(importlib.import_module(module_name), function_name)
    parameters = inspect.signature(function).parameters
    assert list(config) == list(parameters)
    defaults = {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    assert {key: config[key] for key in defaults} == defaults
    assert config.get("root", "${oc.env:NODEBENCH_DATA,data}") == "${oc.env:NODEBENCH_DATA,data}"
