"""What is said about a user's points, and that ordinary points are taken without a word."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from nodebench.data.oddities import oddities
from nodebench.data.points import points

N = 200
CLOUD = np.random.default_rng(0).normal(size=(N, 2))


def beside(column: np.ndarray) -> np.ndarray:
    """The cloud with one more column before it."""
    return np.column_stack([column, CLOUD])


@pytest.mark.parametrize(
    "values",
    [CLOUD, 5 * CLOUD, CLOUD + 5, np.round(CLOUD, 3), CLOUD[:, :1] * np.ones(3), CLOUD[:9] * 1e9],
    ids=["standard", "wider", "beside 0", "rounded", "three alike columns", "too few to tell"],
)
def test_points_that_a_flow_can_learn_are_taken_without_a_word(values: np.ndarray) -> None:
    assert oddities(values) == ()


@pytest.mark.parametrize(
    "index",
    [
        np.arange(N),
        np.arange(N) + 1,
        np.arange(N) * 3,
        np.random.default_rng(1).permutation(N),
        np.arange(N) % (N // 2),
    ],
    ids=["from 0", "from 1", "with gaps, as after a filter", "shuffled", "of two tables"],
)
def test_a_column_that_counts_the_rows_is_named_once(index: np.ndarray) -> None:
    (note,) = oddities(beside(index), ["", "x", "y"])
    assert note.startswith("column 1 counts the rows (")
    (note,) = oddities(beside(index), ["id", "x", "y"])
    assert note.startswith("column 1 (`id`) counts the rows (")


def test_an_increasing_coordinate_that_is_no_count_is_none() -> None:
    assert oddities(beside(np.sort(CLOUD[:, 0]))) == ()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (beside(np.full(N, 3.5)), "column 1 is 3.5 in every row"),
        (beside(np.arange(N) // 20), "column 1 has 10 values only, like a label"),
        (
            1e9 * CLOUD,
            r"column 1 \(and 1 more\) has mean .* standard deviation .*e\+0[89], and a flow starts",
        ),
        (beside(CLOUD[:, 0] / 100), "column 1 has mean .* standard deviation 0.00"),
        (beside(CLOUD[:, 0] + 1000), "column 1 has mean 1e.03 and standard deviation"),
        (np.concatenate([CLOUD, CLOUD]), "200 of 400 rows repeat another"),
        (CLOUD[:, :1], "one column, so this is a density on a line"),
        (np.concatenate([[[0, 1]], CLOUD]), "the first row is 0, 1, like names of columns"),
    ],
)
def test_what_else_is_odd_is_one_sentence(values: np.ndarray, words: str) -> None:
    notes = oddities(values)
    assert len(notes) == 1
    assert re.search(words, notes[0])


def test_a_file_as_pandas_writes_it_is_read_and_its_index_named(tmp_path: Path) -> None:
    lines = [f"{row},{x},{y}" for row, (x, y) in enumerate(CLOUD)]
    for header in (",x,y", ",0,1", ",0,label"):
        path = tmp_path / "mine.csv"
        path.write_text("\n".join([header, *lines]))
        data = points(str(path))
        assert data.dim == 3
        assert len(data.notes) == 1
        assert data.notes[0].startswith("column 1 counts the rows (0, 1, 2, ...)")
