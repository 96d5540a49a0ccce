"""per_image.csv: what is written is read, and what is not what is written is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodebench.records.per_image import (
    FILE,
    DamagedImagesError,
    ImageRow,
    append_rows,
    header,
    read_rows,
)

WHOLE = ImageRow(1.2345678e-3, 3, 7, True, 26, 4, 0, 1.5e-3, 32, 2.5e-8)
FAILED = ImageRow(1e-5, 1234567, 0)


def test_rows_are_read_as_they_were_written_and_half_a_line_is_left_out(tmp_path: Path) -> None:
    assert read_rows(tmp_path) == []
    append_rows(tmp_path, [WHOLE])
    append_rows(tmp_path, [FAILED, WHOLE._replace(image=4, is_right=False)])
    path = tmp_path / FILE
    assert path.read_text().count(header()) == 1
    assert "\n1e-05,1234567,0,,,,,,,\n" in path.read_text()
    assert read_rows(tmp_path) == [WHOLE, FAILED, WHOLE._replace(image=4, is_right=False)]
    path.write_text(path.read_text()[:-3])
    assert read_rows(tmp_path) == [WHOLE, FAILED]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0.001,3,7", "line 3 has 3 entries in place of 10"),
        ("0.001,4,7,1,many,4,0,,32,", "line 3 has nfe=many, which is no number"),
        ("0.001,4,,1,26,4,0,,32,", "line 3 does not say its label"),
        ("0.001,4,7,1,-26,4,0,,32,", "line 3 has nfe=-26, which is none"),
        ("0,4,7,1,26,4,0,,32,", "line 3 has tol=0, which is none"),
        ("0.001,4,7,1,26,4,0,nan,32,", "line 3 has error=nan, which is none"),
        ("0.0012345678,3,7,1,26,4,0,,32,", "line 3 repeats image 3 at tolerance 0.00123457"),
    ],
)
def test_a_line_that_is_none_is_named(line: str, reason: str, tmp_path: Path) -> None:
    append_rows(tmp_path, [WHOLE])
    path = tmp_path / FILE
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(DamagedImagesError, match=reason):
        read_rows(tmp_path)


def test_a_file_that_does_not_name_its_columns_is_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("tol,image\n0.001,3\n")
    with pytest.raises(DamagedImagesError, match="line 1 does not name its columns"):
        read_rows(tmp_path)
