"""A user's file of time series: what is read of it, and each thing that is wrong, by its place."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from nodebench.data import DataError
from nodebench.data.series_files import read_series

NAN = np.nan


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return tmp_path / "mine.csv"


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def test_rows_of_a_csv_file_are_read_by_id_in_the_order_of_the_file(csv: Path) -> None:
    csv.write_text("ID, Time,x1,x2\nb,0,1,\nb,0.5,,\nb,2,-3e1,4\n\na,1,5,6\n")
    coordinates, (b, a) = read_series(csv, 1.0)
    assert coordinates == ["column 3 (`x1`)", "column 4 (`x2`)"]
    assert (b.name, a.name) == ("id 'b' (from row 2)", "id 'a' (from row 6)")
    assert b.times.tolist() == [0, 0.5, 2]
    np.testing.assert_array_equal(b.values, [[1, NAN], [NAN, NAN], [-30, 4]])
    np.testing.assert_array_equal(a.values, [[5, 6]])
    assert b.times.dtype == b.values.dtype == np.float32


def test_an_npz_file_gives_each_series_its_length_and_times(npz: Path) -> None:
    values = np.array([[[1, NAN], [NAN, NAN], [3, 4]], [[5, 6], [7, 8], [NAN, np.inf]]])
    times = np.array([[0, 0.5, 2], [1, 3, NAN]])
    np.savez(npz, values=values, times=times, lengths=np.array([3, 2], dtype=np.uint8))
    coordinates, (first, second) = read_series(npz, 1.0)
    assert coordinates == ["coordinate 0 (counting from 0)", "coordinate 1 (counting from 0)"]
    assert (first.times.tolist(), second.times.tolist()) == ([0, 0.5, 2], [1, 3])
    np.testing.assert_array_equal(first.values, values[0])
    np.testing.assert_array_equal(second.values, values[1, :2])
    assert first.times.dtype == first.values.dtype == np.float32


def test_times_of_an_npz_file_may_be_one_grid_for_all(npz: Path) -> None:
    np.savez_compressed(npz, values=np.arange(6).reshape(2, 3, 1), times=np.array([0, 1, 4]))
    _, (first, second) = read_series(npz, 2.0)
    assert first.times.tolist() == second.times.tolist() == [0, 0.5, 2]
    assert second.values.tolist() == [[3], [4], [5]]


def test_times_are_divided_before_they_are_rounded_to_float32(csv: Path) -> None:
    csv.write_text("id,time,x\n1,100000001,0\n1,100000002,0\n")
    with pytest.raises(DataError, match="cannot tell them apart"):
        read_series(csv, 1.0)
    csv.write_text("id,time,x\n1,1000,0\n1,3000,0\n")
    _, (rows,) = read_series(csv, 2000)
    assert rows.times.tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it is empty; needed: a header of id, time and a name for each coordinate"),
        ("id,time,x\n", "has a header and no rows; needed: one row for each id and time"),
        ("1,0.5,2\n", "its first row is 1,0.5,2; needed: a header of id, time"),
        ("time,id,x\n1,a,2\n", "its first row is time,id,x; needed: a header"),
        (",id,time,x\n0,a,1,2\n", "its first row is ,id,time,x; needed: .* write with index=False"),
        ("id,time\na,1\n", "its first row is id,time; needed: .* a name for each coordinate"),
        ("id,time,x,x\na,1,2,3\n", r"row 1, column 4 \(counting from 1\) is 'x'; .* each once"),
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
        ("id,time,x\na,1,two\n", r"row 2, column 3 .* is 'two'; allowed: an empty cell where nothing was"),
        ("id,time,x,y\na,1,2,NaN\n", r"row 2, column 4 .* is 'NaN'; allowed: an empty cell"),
        ("id,time,x\na,1,inf\n", r"row 2, column 3 .* is 'inf'; allowed: .* finite numbers"),
        ("id,time,x\na,1,1e39\n", r"row 2, column 3 .* is '1e39'; allowed: .* finite numbers below"),
        ("id,time,x\na,2,1\na,1,1\n", r"row 3, column 2 .* is 1, which is not after 2, the time before it"),
        ("id,time,x\nb,1,0\na,2,1\na,2,1\n", r"row 4, column 2 .* is 2, which is not after 2"),
        (
            "id,time,x\na,1600000000,1\na,1600000001,1\n",
            r"row 3, column 2 .* is 1600000001 after 1600000000, and float32, .* count times from the first",
        ),
        ("id,time,x,y\na,1,2,\na,2,2,\n", r"column 4 \(`y`\) has no value in any series; drop it"),
    ],
)
def test_what_is_wrong_in_a_csv_file_is_one_sentence_with_its_place(
    csv: Path, text: str, sentence: str
) -> None:
    csv.write_text(text)
    with pytest.raises(DataError, match=sentence) as caught:
        read_series(csv, 1.0)
    assert str(csv) in str(caught.value)


def test_times_that_a_scale_makes_infinite_are_refused(csv: Path) -> None:
    csv.write_text("id,time,x\na,0,1\na,1e30,1\n")
    with pytest.raises(DataError, match=r"over 3\.4e38 when divided by data\.time_scale=1e-09; raise it"):
        read_series(csv, 1e-9)


ONES = np.ones((2, 3, 1))
GRID = np.arange(3)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"values": ONES}, r"has no array `times`; needed: an archive with values \(N, T, D\), times"),
        ({"times": GRID}, "has no array `values`"),
        ({"values": ONES, "times": GRID, "mask": ONES}, "has array `mask`, which is not known; needed"),
        (
            {"values": ONES[0], "times": GRID},
            r"`values` is float64 of shape \(3, 1\); allowed: numbers of shape",
        ),
        ({"values": ONES[:0], "times": GRID}, r"`values` is float64 of shape \(0, 3, 1\); allowed"),
        ({"values": ONES.astype(str), "times": GRID}, r"`values` is <U32 of shape .*; allowed: numbers"),
        ({"values": ONES + 1j, "times": GRID}, "`values` is complex128 of shape"),
        (
            {"values": ONES, "times": GRID > 1},
            r"`times` is bool of shape \(3,\); allowed: numbers of shape \(T,\)",
        ),
        (
            {"values": ONES, "times": GRID[:2]},
            r"`times` has shape \(2,\); with values of .*: \(3,\) or \(2, 3\)",
        ),
        ({"values": ONES, "times": GRID, "lengths": GRID}, r"`lengths` has shape \(3,\); .*: \(2,\)"),
        (
            {"values": ONES, "times": GRID, "lengths": np.array([3.0, 2.0])},
            r"`lengths` is float64 of shape \(2,\); allowed: whole numbers",
        ),
        (
            {"values": ONES, "times": GRID, "lengths": np.array([3, 4])},
            r"lengths\[1\] is 4; allowed: from 1 to 3",
        ),
        ({"values": ONES, "times": GRID, "lengths": np.array([0, 3])}, r"lengths\[0\] is 0; allowed"),
        (
            {"values": ONES * [[[1]], [[np.inf]]], "times": GRID},
            r"values\[1, 0, 0\] is inf; allowed: NaN where",
        ),
        ({"values": 1e39 * ONES, "times": GRID}, r"values\[0, 0, 0\] is 1e\+39; .* finite numbers below"),
        ({"values": ONES, "times": np.array([0, NAN, 2])}, r"times\[1\] is nan; allowed: finite numbers"),
        (
            {"values": ONES, "times": np.array([[0, 1, 2], [0, 2, 2]])},
            r"times\[1, 2\] is 2, which is not after 2",
        ),
        (
            {"values": NAN * ONES, "times": GRID},
            r"coordinate 0 \(counting from 0\) has no value in any series; drop it",
        ),
    ],
)
def test_what_is_wrong_in_an_npz_file_is_one_sentence_with_its_place(
    npz: Path, arrays: dict[str, np.ndarray], sentence: str
) -> None:
    np.savez(npz, **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=sentence) as caught:
        read_series(npz, 1.0)
    assert str(npz) in str(caught.value)


class Unpickled:
    """An object whose unpickling is noticed."""

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return pytest.fail, ("the file was unpickled",)


def test_objects_are_refused_and_never_unpickled(npz: Path) -> None:
    objects = np.empty((2, 3, 1), dtype=object)
    objects[:] = Unpickled()
    np.savez(npz, values=objects, times=GRID)
    with pytest.raises(DataError, match=r"mine\.npz: its array `values` cannot be read as numbers of shape"):
        read_series(npz, 1.0)
    npz.write_bytes(pickle.dumps(Unpickled()))
    with pytest.raises(DataError, match=r"mine\.npz cannot be read as an archive with values"):
        read_series(npz, 1.0)


@pytest.mark.parametrize("length", [0, 3, 200])
def test_an_archive_that_was_cut_short_is_refused(npz: Path, length: int) -> None:
    np.savez(npz, values=ONES, times=GRID)
    npz.write_bytes(npz.read_bytes()[:length])
    with pytest.raises(DataError, match=r"mine\.npz cannot be read as an archive with values"):
        read_series(npz, 1.0)


def test_one_array_under_the_name_of_an_archive_is_refused(npz: Path) -> None:
    with npz.open("wb") as stream:
        np.save(stream, ONES)
    with pytest.raises(DataError, match=r"mine\.npz holds one array; needed: an archive with values"):
        read_series(npz, 1.0)
