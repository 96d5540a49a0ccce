"""A net that cannot fit into memory is a sentence before any memory is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nodebench.config import size
from nodebench.config.build import Builder
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.config.files import config_folders, shipped_targets
from nodebench.config.size import is_out_of_memory, memory_of, out_of_memory

ALLOWED = shipped_targets(config_folders())
FLOW = ("task=density", "data=two_moons", "device=cpu")
CPU = torch.device("cpu")


def build(*overrides: str) -> nn.Module:
    return Builder(compose([*FLOW, *overrides]).config, ALLOWED).model(dim=2)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["model=cnf", "model.width=1000000", "model.hidden_dim=1000000"],
            "lower model.width or model.hidden_dim",
        ),
        (["model=ffjord", "model.hidden_dims=[1000000,1000000]"], "lower model.hidden_dims"),
    ],
)
def test_a_net_beyond_the_machines_memory_is_refused_with_its_size_and_its_keys(
    overrides: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=r"would have [\d,]{15,} parameters.* GiB, and cpu has .*" + words):
        build(*overrides)


def test_a_net_of_exactly_the_memory_is_made_and_one_byte_less_is_not_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = 2 * sum(4 * parameter.numel() for parameter in build("model=planar_nf").parameters())
    monkeypatch.setattr(size, "memory_of", lambda device: needed)
    build("model=planar_nf")
    monkeypatch.setattr(size, "memory_of", lambda device: needed - 1)
    with pytest.raises(ConfigError, match=r"lower model\.num_layers"):
        build("model=planar_nf")


@pytest.mark.parametrize("name", ["cnf", "ffjord", "planar_nf"])
def test_looking_at_the_size_draws_no_random_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    looked_at = build(f"model={name}")
    monkeypatch.setattr("nodebench.config.build.check_size", lambda *_: None)
    torch.manual_seed(3)
    for one, other in zip(looked_at.parameters(), build(f"model={name}").parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_machine_has_some_memory() -> None:
    assert memory_of(CPU) > 2**28


def test_the_allocators_error_is_known_from_others() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not fit"))


def test_what_to_lower_is_named_with_its_value() -> None:
    config = compose([*FLOW, "model=cnf", "data.batch_size=1000000"]).config
    assert out_of_memory(config) == (
        "out of memory with data.batch_size=1000000, model.width=64, model.hidden_dim=32; lower one of them"
    )
