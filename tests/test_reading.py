"""JSON and YAML from anybody: bounds of depth and size, and the plain value of everything within them."""

from __future__ import annotations

import sys

import pytest

from nodebench.reading import MAX_DEPTH, MAX_VALUES, read_json, read_yaml


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_000, 100_000])
def test_json_nested_too_deep_is_an_error_of_the_file(depth: int) -> None:
    with pytest.raises(ValueError, match="nested over 50 deep"):
        read_json("[" * depth + "]" * depth)


def test_how_deep_json_may_nest_does_not_depend_on_pythons_own_limit() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(5_000)
    try:
        with pytest.raises(ValueError, match="nested over 50 deep"):
            read_json("[" * 1_000 + "]" * 1_000)
    finally:
        sys.setrecursionlimit(before)
    assert isinstance(read_json("[" * MAX_DEPTH + "]" * MAX_DEPTH), list)


def test_json_within_bounds_is_read() -> None:
    assert read_json('{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize(("depth", "fits"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_yaml_may_nest_so_deep(depth: int, fits: bool) -> None:
    text = "[" * depth + "]" * depth
    if fits:
        assert isinstance(read_yaml(text), list)
    else:
        with pytest.raises(ValueError, match="nested over"):
            read_yaml(text)


@pytest.mark.parametrize("merge", ["[*{0}, *{0}]", "{{<<: [*{0}, *{0}]}}", "{{x: *{0}, y: *{0}}}"])
def test_aliases_are_counted_as_what_they_unfold_to(merge: str) -> None:
    lines = ["a0: &a0 {k: v}"] + [f"a{i + 1}: &a{i + 1} {merge.format(f'a{i}')}" for i in range(100)]
    with pytest.raises(ValueError, match=f"{MAX_VALUES:,} values"):
        read_yaml("\n".join(lines))


def test_a_few_aliases_are_read() -> None:
    assert read_yaml("a: &a [1, 2]\nb: *a\nc: &c 3\nd: *c") == {"a": [1, 2], "b": [1, 2], "c": 3, "d": 3}


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: *nowhere", "a: [", "a: !!python/object:os.x {}"])
def test_what_is_no_yaml_of_values_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)


def test_an_empty_text_is_nothing() -> None:
    assert read_yaml("# a comment\n") is None
