from __future__ import annotations

import pytest

from nodebench.counted import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (3000, "3,000 steps")]
)
def test_a_noun_follows_its_number(number: int, words: str) -> None:
    assert counted(number, "step") == words
