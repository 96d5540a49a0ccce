from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nodebench.data import DataError, DensityData
from nodebench.data.points import points, read_points


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def saved(folder: Path, array: np.ndarray, name: str = "mine.npy") -> str:
    np.save(folder / name, array)
    return str(folder / name)


def written(folder: Path, text: str) -> str:
    (folder / "mine.csv").write_bytes(text.encode())
    return str(folder / "mine.csv")


def numbered(folder: Path, n: int = 100, dim: int = 2) -> str:
    """A file of n different points: the first coordinate of point i is i."""
    return saved(folder, np.arange(n)[:, None] + np.arange(dim) / 10)


def rows(values: Tensor) -> set[int]:
    return {round(x) for x in values[:, 0].tolist()}


def held_out(data: DensityData) -> tuple[Tensor, Tensor]:
    return data.draw("val", 10**6, generator()), data.draw("test", 10**6, generator())


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, np.dtype(">f8")])
def test_a_npy_file_gives_its_points_whatever_their_number_type(
    tmp_path: Path, dim: int, dtype: np.dtype
) -> None:
    array = (10 * np.random.default_rng(0).random((30, dim))).astype(dtype)
    read = read_points(saved(tmp_path, array))
    assert read.dtype == torch.float32
    np.testing.assert_array_equal(read.numpy(), array.astype(np.float32))
    data = points(saved(tmp_path, array))
    assert (data.name, data.dim) == ("points", dim)
    assert data.draw("train", 7, generator()).shape == (7, dim)


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,-4.5\n5e-1,6\n",
        "1,2\r\n3,-4.5\r\n5e-1,6",
        "x,y\n1,2\n3,-4.5\n5e-1,6\n",
        '\ufeff"x","y"\n\n1, 2\n"3" ,-4.5\n\n5e-1,6\n\n',
    ],
    ids=["plain", "windows lines", "header", "quotes, blanks and byte order mark"],
)
def test_a_csv_file_gives_its_points_with_or_without_a_header(tmp_path: Path, text: str) -> None:
    assert read_points(written(tmp_path, text)).tolist() == [[1, 2], [3, -4.5], [0.5, 6]]


def test_a_csv_file_of_one_column_is_points_on_a_line(tmp_path: Path) -> None:
    assert read_points(written(tmp_path, "x\n1\n2\n3\n")).tolist() == [[1], [2], [3]]


def test_a_tilde_in_a_path_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read_points("~/mine.npy")) == 100


def test_the_parts_share_no_point_and_hold_all_of_them_together(tmp_path: Path) -> None:
    data = points(numbered(tmp_path), val_share=0.2, test_share=0.1)
    val, test = held_out(data)
    train = data.draw("train", 20_000, generator())
    assert (len(val), len(test)) == (20, 10)
    parts = [rows(train), rows(val), rows(test)]
    assert set.union(*parts) == set(range(100))
    assert sum(map(len, parts)) == 100


def test_which_points_are_held_out_is_always_the_same_and_not_the_order_of_the_file(tmp_path: Path) -> None:
    first, second = held_out(points(numbered(tmp_path))), held_out(points(numbered(tmp_path)))
    torch.manual_seed(3)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert rows(first[0]) not in (set(range(10)), set(range(80, 90)))


def test_training_points_follow_the_generator_and_held_out_ones_do_not(tmp_path: Path) -> None:
    data = points(numbered(tmp_path))
    first = data.draw("train", 50, generator())
    assert torch.equal(first, data.draw("train", 50, generator()))
    assert not torch.equal(first, data.draw("train", 50, generator(1)))
    assert len(data.draw("train", 1000, generator())) == 1000
    val = data.draw("val", 10, generator())
    assert torch.equal(val[:4], data.draw("val", 4, generator(1)))


def test_a_caller_who_changes_a_drawn_batch_leaves_the_data_alone(tmp_path: Path) -> None:
    data = points(numbered(tmp_path))
    for split in ("train", "val", "test"):
        before = data.draw(split, 5, generator())
        kept = before.clone()
        before.zero_()
        assert torch.equal(data.draw(split, 5, generator()), kept)


def test_three_points_are_enough_and_two_are_not(tmp_path: Path) -> None:
    data = points(numbered(tmp_path, n=3))
    assert [len(part) for part in held_out(data)] == [1, 1]
    with pytest.raises(
        DataError, match=r"mine\.npy has 2 points; 1 for validation and 1 for the test leave none"
    ):
        points(numbered(tmp_path, n=2))


def test_the_window_is_a_tenth_wider_than_the_points(tmp_path: Path) -> None:
    assert points(numbered(tmp_path, dim=1)).window == pytest.approx(1.1 * 99)
    assert points(saved(tmp_path, np.zeros((10, 2)))).window == 1.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1,2\n3,nan\n", r"row 2, column 2 \(counting from 1\) is nan; allowed: finite numbers"),
        ("x,y\n1,2\n\n-inf,4\n", r"row 4, column 1 \(counting from 1\) is -inf; allowed: finite numbers"),
        ("1,2\n3,1e39\n", r"row 2, column 2 \(counting from 1\) is 1e\+39; allowed: finite numbers below"),
        ("1,2\n3,four\n", r"row 2, column 2 \(counting from 1\) is 'four'; allowed: numbers, separated"),
        ("x,2\n3,4\n", r"row 1, column 1 \(counting from 1\) is 'x'; allowed: numbers"),
        ("1,2\n,4\n", r"row 2, column 1 \(counting from 1\) is ''; allowed: numbers"),
        (
            "x;y\n1;2\n",
            "is separated by semicolons or tabs; allowed: columns separated by commas",
        ),
        ("1,2\n3,4\n5\n", r"row 3 \(counting from 1\) has 1 column, but the first row has 2; allowed"),
        ("x,y\n1,2,3\n", r"row 2 \(counting from 1\) has 3 columns, but the first row has 2; allowed"),
        ("", "is empty; allowed: one point a row"),
        ("\n\n", "is empty; allowed: one point a row"),
        ("x,y\n", "is empty; allowed: one point a row"),
    ],
)
def test_a_bad_csv_file_is_refused_with_its_name_row_and_column(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(DataError, match=rf"mine\.csv.*{sentence}"):
        points(written(tmp_path, text))


def test_a_csv_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match=r"mine\.csv cannot be read as comma-separated text"):
        points(str(tmp_path / "mine.csv"))


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.array([[1, 2], [3, np.nan]]), r"row 2, column 2 \(counting from 1\) is nan; allowed: finite"),
        (np.array([[1, 2], [np.inf, 4]]), r"row 2, column 1 \(counting from 1\) is inf; allowed: finite"),
        (np.array([[1e300, 2]]), r"row 1, column 1 \(counting from 1\) is 1e\+300; allowed: finite"),
        (np.zeros(5), r"holds float64 \(5,\); allowed: floats or integers of shape \(N, D\)"),
        (np.zeros((2, 3, 4)), r"holds float64 \(2, 3, 4\); allowed"),
        (np.zeros((2, 2), dtype=complex), r"holds complex128 \(2, 2\); allowed"),
        (np.zeros((2, 2), dtype=bool), r"holds bool \(2, 2\); allowed"),
        (np.full((2, 2), "a"), r"holds <U1 \(2, 2\); allowed"),
        (np.zeros((0, 2)), "is empty; allowed"),
        (np.zeros((3, 0)), "is empty; allowed"),
    ],
    ids=str,
)
def test_a_bad_npy_file_is_refused_with_its_name(tmp_path: Path, array: np.ndarray, sentence: str) -> None:
    with pytest.raises(DataError, match=rf"mine\.npy.*{sentence}"):
        points(saved(tmp_path, array))


class Unpickled:
    """An object whose unpickling is noticed."""

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return pytest.fail, ("the file was unpickled",)


def test_a_npy_file_of_objects_is_refused_and_never_unpickled(tmp_path: Path) -> None:
    objects = np.empty((2, 2), dtype=object)
    objects[:] = Unpickled()
    with pytest.raises(DataError, match=r"mine\.npy cannot be read as an array of numbers"):
        points(saved(tmp_path, objects))
    (tmp_path / "mine.npy").write_bytes(pickle.dumps(Unpickled()))
    with pytest.raises(DataError, match=r"mine\.npy cannot be read as an array of numbers"):
        points(str(tmp_path / "mine.npy"))


@pytest.mark.parametrize("length", [0, 3, 40, 200])
def test_a_npy_file_that_was_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    path = Path(numbered(tmp_path))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match=r"mine\.npy cannot be read as an array of numbers"):
        points(str(path))


@pytest.mark.parametrize("damaged", [(b"{", b"("), (b"shape", b"sha'e"), (b"\x93NUMPY", b"PK\x03\x04PY")])
def test_a_npy_file_with_a_damaged_header_is_refused(tmp_path: Path, damaged: tuple[bytes, bytes]) -> None:
    path = Path(numbered(tmp_path))
    assert damaged[0] in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(*damaged))
    with pytest.raises(DataError, match=r"mine\.npy cannot be read as an array of numbers"):
        points(str(path))


def test_an_archive_under_the_name_of_an_array_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "mine.npy").open("wb") as stream:
        np.savez(stream, a=np.zeros((3, 2)))
    with pytest.raises(DataError, match=r"mine\.npy holds an archive of arrays; allowed"):
        points(str(tmp_path / "mine.npy"))


def test_a_path_of_no_such_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.npy is no file; give an existing one as `data\.path`"):
        points(str(tmp_path / "none.npy"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv is no file"):
        points(str(tmp_path / "folder.csv"))
    with pytest.raises(
        DataError, match=r"`data\.path` is mine\.txt; allowed: files that end in \.npy or \.csv"
    ):
        points("mine.txt")
    with pytest.raises(DataError, match=r"`data\.path` is None; allowed: the path of"):
        points(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["val_share", "test_share"])
@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan"), "a", None, True])
def test_a_share_outside_zero_and_one_is_refused_by_name(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(DataError, match=rf"`data\.{key}` is .*; allowed: numbers above 0 and below 1"):
        points(numbered(tmp_path), **{key: value})  # type: ignore[arg-type]


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"60 for validation and 40 for the test leave none to train on"):
        points(numbered(tmp_path), val_share=0.6, test_share=0.4)


def test_a_batch_size_below_one_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`data\.batch_size` is 0; allowed: whole numbers from 1 on"):
        points(numbered(tmp_path), batch_size=0)
