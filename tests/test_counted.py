from __future__ import annotations

import pytest

from nodebench.counted import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (3000, "3,000 steps")]
)
def test_a_noun_follows_its_number(number: int, words: str) -> None:
    assert counted(number, "step") == words


def test_series_are_as_many_as_one() -> None:
    assert [counted(number, "test series") for number in (1, 2)] == ["1 test series", "2 test series"]
