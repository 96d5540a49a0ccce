from __future__ import annotations

import pytest

from nodebench.reporting.sparklines import sparkline


@pytest.mark.parametrize(
    ("values", "curve"),
    [
        ([], ""),
        ([3.0], "▄"),
        ([0.0, 0.0], "▄▄"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "▁▂▃▄▅▆▇█"),
        ([2.0, -2.0], "█▁"),
        ([1e3, 1e2, 1e1, 1e0], "█▆▃▁"),  # over decades in logarithms
        ([29.0, 15.0, 1.0], "█▅▁"),
    ],
)
def test_a_curve_is_a_block_a_value_from_lowest_to_highest(values: list[float], curve: str) -> None:
    assert sparkline(values) == curve


def test_a_long_curve_is_shortened_to_means() -> None:
    assert sparkline([0.0] * 30 + [1.0] * 30, width=6) == "▁▁▁███"
    assert len(sparkline([float(value) for value in range(1000)], width=24)) == 24
