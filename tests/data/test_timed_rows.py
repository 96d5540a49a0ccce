"""A table of ids and times: what is read of it, and each thing that is wrong, by row and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodebench.data import DataError
from nodebench.data.timed_rows import read_timed_rows


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "mine.csv"


def test_rows_are_read_by_id_in_the_order_of_the_file(written: Path) -> None:
    written.write_text("id,time,x1,x2\nb,0,1,\nb,0.5,,\nb,2,-3e1,4\n\na,1,5,6\n")
    names, (b, a) = read_timed_rows(written)
    assert names == ["x1", "x2"]
    assert (b.name, a.name) == ("id 'b'", "id 'a'")
    assert b.times.tolist() == [0, 0.5, 2]
    np.testing.assert_array_equal(b.values, [[1, np.nan], [np.nan, np.nan], [-30, 4]])
    np.testing.assert_array_equal(a.values, [[5, 6]])
    assert b.times.dtype == b.values.dtype == np.float32


def test_events_are_rows_without_values(written: Path) -> None:
    written.write_text("ID , Time\n1,0.5\n1,0.75\n2,0\n")
    names, (first, second) = read_timed_rows(written)
    assert names == []
    assert (first.times.tolist(), first.values.shape) == ([0.5, 0.75], (2, 0))
    assert (second.times.tolist(), second.values.shape) == ([0], (1, 0))


def test_times_are_divided_before_they_are_rounded_to_float32(written: Path) -> None:
    written.write_text("id,time\n1,1000\n1,3000\n")
    _, (rows,) = read_timed_rows(written, time_scale=2000)
    assert rows.times.tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "mine.csv is empty; needed: the header id,time,"),
        ("id,time,x\n", "has a header and no rows; needed: one row for each id and time"),
        ("1,0.5,2\n", "its first row is 1,0.5,2; needed: a header whose first two columns are id and time"),
        ("time,id,x\n1,a,2\n", "its first row is time,id,x; needed: a header"),
        (",id,time,x\n0,a,1,2\n", "its first row is ,id,time,x; needed: .* write with index=False"),
        ("id\na\n", "its first row is id; needed: a header"),
        ("id,time,x,x\na,1,2,3\n", r"row 1, column 4 \(counting from 1\) is 'x'; .* each name once"),
        ("id,time,\na,1,2\n", r"row 1, column 3 \(counting from 1\) is ''; allowed: a name for each column"),
        ("id,time,x\na,1\n", r"row 2 \(counting from 1\) has 2 columns, but the first row has 3"),
        ("id;time;x\na;1;2\n", "is separated by semicolons or tabs"),
        ("id,time,x\n,1,2\n", r"row 2, column 1 \(counting from 1\) is empty; allowed: an id in every row"),
        (
            "id,time,x\na,1,2\nb,1,2\na,2,2\n",
            r"row 4, column 1 .* is 'a' again, whose rows ended with row 2; .* sort the file by id and time",
        ),
        ("id,time,x\na,,2\n", r"row 2, column 2 \(counting from 1\) is ''; allowed: times that are finite"),
        ("id,time,x\na,noon,2\n", r"row 2, column 2 .* is 'noon'; allowed: times"),
        ("id,time,x\na,nan,2\n", r"row 2, column 2 .* is 'nan'; allowed: times"),
        ("id,time,x\na,1,two\n", r"row 2, column 3 .* is 'two'; .* or an empty cell where nothing was"),
        ("id,time,x,y\na,1,2,NaN\n", r"row 2, column 4 .* is 'NaN'; .* or an empty cell"),
        ("id,time,x\na,1,inf\n", r"row 2, column 3 .* is 'inf'; allowed: finite numbers"),
        ("id,time,x\na,1,1e39\n", r"row 2, column 3 .* is '1e39'; allowed: finite numbers below"),
        ("id,time,x\na,2,1\na,1,1\n", r"row 3, column 2 .* is 1, which is not after 2, the time before it"),
        ("id,time,x\nb,1,0\na,2,1\na,2,1\n", r"row 4, column 2 .* is 2, which is not after 2"),
        (
            "id,time,x\na,1600000000,1\na,1600000001,1\n",
            r"row 3, column 2 .* is 1600000001 after 1600000000, and .* in float32, .* count times from",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_place(written: Path, text: str, sentence: str) -> None:
    written.write_text(text)
    with pytest.raises(DataError, match=sentence) as caught:
        read_timed_rows(written)
    assert str(written) in str(caught.value)


def test_times_that_a_scale_makes_infinite_are_refused(written: Path) -> None:
    written.write_text("id,time\na,0\na,1e30\n")
    with pytest.raises(DataError, match=r"over 3\.4e38 when divided by data\.time_scale=1e-09; raise it"):
        read_timed_rows(written, time_scale=1e-9)
