"""Every key has a range, and what lies far outside is a sentence before anything is built."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nodebench.config.check import check
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.config.files import NODES, PRIMARY, config_folders, flatten, load, options
from nodebench.config.ranges import ALLOWED, NULLABLE, check_ranges

SHIPPED = config_folders()
NO_VALUES = ("_target_", "recommended", "content", "from_weights")  # not for users
SIGNED = ("data.phase", "data.window_end", "data.t_start", "data.t_end")
CHECKED_OTHERWISE = ("solver.method", "solver.adjoint.method")  # by the methods that there are


def keys_of_users() -> set[str]:
    keys = {key for key, _ in flatten(load(SHIPPED[0] / f"{PRIMARY}.yaml"))}
    keys = {key for key in keys if key.split(".")[0] not in ("defaults", "hydra", "about", "sweep")}
    for group in set(NODES) - {"training"}:  # whose files set keys of the primary file
        for path in options(group, SHIPPED).values():
            keys |= {key for key, _ in flatten(load(path), f"{group}.")}
    return {key for key in keys if not set(key.split(".")) & set(NO_VALUES)}


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def test_every_key_that_a_user_sets_has_a_range_and_every_range_a_key() -> None:
    assert set(ALLOWED) == keys_of_users() - set(CHECKED_OTHERWISE)
    assert set(NULLABLE) <= set(ALLOWED)


@pytest.mark.parametrize("key", sorted(ALLOWED))
def test_a_value_that_nobody_means_is_a_short_sentence_that_names_the_key(key: str) -> None:
    negative = [] if key in SIGNED else [-1]
    for value in (math.nan, -math.inf, 1e300, -1e300, *negative, 10**400, {}, [[]], [math.nan], [10**400]):
        with pytest.raises(ConfigError) as caught:
            check_ranges(nested(key, value))
        assert str(caught.value).startswith(f"{key}=")
        assert "it must be" in str(caught.value)
        assert len(str(caught.value)) < 300


NAMES_OF_PLACES = {"data.root", "data.path", "output_dir", "training.from", "training.extend"}


@pytest.mark.parametrize("key", sorted(set(ALLOWED) - NAMES_OF_PLACES))
def test_a_word_where_a_value_belongs_is_named(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}=lots is not possible"):
        check_ranges(nested(key, "lots"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["num_threads=1000000"],
            "num_threads=1000000 is not possible; it must be a whole number from 1 to 1,024",
        ),
        (
            ["training.num_steps=99999999999999999999"],
            "training.num_steps=99999999999999999999 is not possible",
        ),
        (["model=resnet", "model.num_blocks=100000"], "model.num_blocks=100000 is not possible"),
        (
            ["task=density", "data=rings", "model=cnf", "model.width=1e9"],
            "model.width=1000000000.0 is not possible",
        ),
        (["task=density", "data=rings", "model=cnf", "model.t1=1e300"], "model.t1=1e+300 is not possible"),
        (
            ["task=density", "data=rings", "model=cnf", "data.noise=1e300"],
            "data.noise=1e+300 is not possible",
        ),
        (["optimizer.eps=0"], "optimizer.eps=0 is not possible; it must be a number from 1e-30 to 1e6"),
        (["solver.tol=1e-300"], "solver.tol=1e-300 is not possible; it must be a number from 1e-15 to 1e6"),
    ],
)
def test_a_slip_of_the_keyboard_is_told_what_is_allowed(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose(overrides).config)
    assert message in str(caught.value)


def test_a_number_longer_than_python_reads_is_cut_and_named() -> None:
    with pytest.raises(ConfigError, match=r"^cannot read `seed=9{55}\.\.\.`: no number is that long$"):
        compose([f"seed={'9' * 5000}"])
