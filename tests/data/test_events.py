from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nodebench.data import DataError, EventSequences
from nodebench.data.events import events


def written(tmp_path: Path, text: str, name: str = "mine.csv") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def rows(num_sequences: int = 10) -> str:
    return "id,time\n" + "".join(f"s{i},{100 + i}\ns{i},{100.5 + i}\n" for i in range(num_sequences))


def sequences_of(data: EventSequences) -> set[tuple[float, ...]]:
    return {
        tuple(times[:length].tolist())
        for split in data.splits.values()
        for times, length in zip(split.times, split.lengths, strict=True)
    }


def test_the_rows_of_an_id_are_a_sequence_in_whatever_order_they_stand(tmp_path: Path) -> None:
    text = "id,time\na,3\nb,1\n\na, 2\nc,0\nb,1\na,1e9\n"
    data = events(written(tmp_path, text))
    data.check()
    assert sequences_of(data) == {(2.0, 3.0, 1e9), (1.0, 1.0), (0.0,)}
    assert (data.t_start, data.t_end) == (0.0, 1e9)


def test_times_are_kept_as_exactly_as_they_are_written(tmp_path: Path) -> None:
    text = "id,time\na,1732780800.25\nb,1732780800.5\nc,1732780801\n"
    data = events(written(tmp_path, text))
    assert sequences_of(data) == {(1732780800.25,), (1732780800.5,), (1732780801.0,)}
    assert data.train.times.dtype == torch.float64


def test_shares_of_the_sequences_are_held_out_the_same_every_time(tmp_path: Path) -> None:
    path = written(tmp_path, rows(10))
    data, again = events(path, val_share=0.2, test_share=0.3), events(path, val_share=0.2, test_share=0.3)
    assert [len(split) for split in data.splits.values()] == [5, 2, 3]
    assert len(sequences_of(data)) == 10
    assert torch.equal(data.test.times, again.test.times)


def test_the_window_is_the_one_given_or_the_file_s_own_which_is_said(tmp_path: Path) -> None:
    path = written(tmp_path, rows(10))
    data = events(path)
    assert (data.t_start, data.t_end) == (100.0, 109.5)
    (note,) = data.notes
    assert "watched from t=100 to 109.5" in note
    assert "give data.t_start and data.t_end if" in note
    assert "give data.t_end if" in events(path, t_start=90).notes[0]
    data = events(path, t_start=90, t_end=120)
    assert (data.t_start, data.t_end, data.notes) == (90.0, 120.0, ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no events; needed: the header id,time and one row for each event"),
        ("id,time\n", "has no events"),
        ("a,1\nb,2\n", "its first row is a,1; needed: the header id,time"),
        ("id,time,mark\na,1,2\n", "its first row is id,time,mark; needed: the header id,time"),
        ("id,time\na,1\nb,soon\n", r"row 3, column 2 \(counting from 1\) is 'soon'; allowed: times that are"),
        ("id,time\na,nan\n", r"row 2, column 2 \(counting from 1\) is 'nan'"),
        ("id,time\na,\n", r"row 2, column 2 \(counting from 1\) is ''"),
        ("id,time\n ,1\n", r"row 2, column 1 \(counting from 1\) is empty; allowed: the id of a sequence"),
        ("id,time\na,1\nb\n", r"row 3 \(counting from 1\) has 1 column, but the first row has 2"),
        ("id;time\na;1\n", "is separated by semicolons or tabs"),
        ("id,time\na,1\nb,2\n", "has 2 sequences; 1 for validation and 1 for the test leave none to train"),
        (
            "id,time\na,1\nb,1\nc,1\n",
            r"watched from t=1 to 1; give data\.t_start and, above it, data\.t_end",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        events(path)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"t_start": 101},
            r"row 2, column 2 .* is 100; allowed: times from data\.t_start=101 to data\.t_end=109\.5",
        ),
        ({"t_end": 100.2}, r"row 3, column 2 .* is 100\.5; allowed: times from data\.t_start=100"),
        ({"t_end": "noon"}, r"`data\.t_end` is 'noon'; allowed: finite numbers, or null"),
        ({"val_share": 1.5}, r"`data\.val_share` is 1\.5"),
    ],
)
def test_settings_that_do_not_fit_the_file_are_named(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        events(written(tmp_path, rows()), **settings)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"allowed: files that end in \.csv"):
        events(written(tmp_path, "", "mine.npy"))
