"""What is odd about a user's points or series: said, and not mended, as only their owner knows what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

NARROW, WIDE = 0.1, 10.0  # a deviation between these, and a mean below, is near a flow's base of 1 and 0
FEW_VALUES = 20
LONG = (
    100.0  # a span of time over which a solver takes many steps, and a field that is too large has no mercy
)
_ENOUGH_ROWS = 10  # of fewer, nothing can be said
_SHARE_REPEATED = 0.01


def oddities(values: np.ndarray, header: Sequence[str] = ()) -> tuple[str, ...]:
    """A sentence each on the points `values` (N, D), whose columns `header` may name.

    A column that counts, like an index, or has few values, like a label, is no coordinate of a density: along it a
    flow's likelihood grows without a bound. Points far from 0 or of another size than 1 are far from its base.
    """
    if len(values) < _ENOUGH_ROWS:
        return ()
    values = values.astype(np.float64)
    names = [_name(column, header) for column in range(values.shape[1])]
    notes, coordinates = [], []
    for name, column in zip(names, values.T, strict=True):
        note = _no_coordinate(name, column)
        if note is None:
            coordinates.append((name, column))
        else:
            notes.append(note)
    notes += [
        *_far_from_base(coordinates, "a flow"),
        *_repeated_rows(values),
        *_names_as_a_point(values, header),
    ]
    if values.shape[1] == 1:
        notes.append(
            "the points have one column, so this is a density on a line, of which no pictures are drawn"
        )
    return tuple(notes)


def _name(column: int, header: Sequence[str]) -> str:
    """`column 1`, or "column 1 (`x`)", counting from 1."""
    title = header[column].strip() if header else ""
    return f"column {column + 1} (`{title}`)" if title else f"column {column + 1}"


def _no_coordinate(name: str, column: np.ndarray) -> str | None:
    different = np.unique(column)
    if len(different) == 1:
        return f"{name} is {column[0]:g} in every row, and has no density; drop it"
    steps = np.diff(column)
    is_count = bool(
        (steps > 0).all()  # with gaps, as rows were left out
        or (steps == 1).mean() > 0.9  # beginning again, as tables were put together
        or (len(different) == len(column) and (np.diff(different) == 1).all())  # shuffled
    )
    if is_count and (column == np.round(column)).all():
        first = ", ".join(f"{value:.0f}" for value in column[:3])
        return f"{name} counts the rows ({first}, ...), like an index; unless it is a coordinate, drop it"
    if len(different) <= FEW_VALUES and len(column) >= 10 * len(different):
        return f"{name} has {len(different)} values only, like a label; unless it is a coordinate, drop it"
    return None


def oddities_of_series(
    times: np.ndarray, values: np.ndarray, names: Sequence[str], time_scale: float
) -> Iterator[str]:
    """A sentence each on the times (n,) of all series, divided by time_scale, and their values (n, dim).

    names: of the coordinates, each with one value or more that is not NaN.
    """
    span = float(times.max()) - float(times.min())
    if span > LONG:
        advised = float(f"{time_scale * span / 10:.2g}")
        yield (
            f"times go from {times.min():.5g} to {times.max():.5g}, which is long for an ODE that is to be learnt; "
            f"data.time_scale={advised:g} divides them so that they span about 10"
        )
    varying = []
    for name, column in zip(names, values.T.astype(np.float64), strict=True):
        there = column[~np.isnan(column)]
        if (there == there[0]).all():
            yield f"{name} is {there[0]:g} at every time; drop it"
        else:
            varying.append((name, there))
    yield from _far_from_base(varying, "a net")
    is_missing = np.isnan(values)
    if (is_missing.any(1) & ~is_missing.all(1)).any():
        yield (
            "some observations lack a coordinate, for which a net reads 0; with model.mask_input=true it also reads "
            "which of them are there"
        )


def _far_from_base(coordinates: Sequence[tuple[str, np.ndarray]], net: str) -> Iterator[str]:
    """One sentence for all the columns that are, with the first of them as the example."""
    far = [
        (name, column.mean(), column.std())
        for name, column in coordinates
        if not NARROW <= column.std() <= WIDE or abs(column.mean()) > WIDE
    ]
    if far:
        name, mean, deviation = far[0]
        others = f" (and {len(far) - 1} more)" if far[1:] else ""
        yield (
            f"{name}{others} has mean {mean:.3g} and standard deviation {deviation:.3g}, and {net} starts from 0 "
            "and 1: it will learn slowly or not at all; give (x - mean) / deviation in its place"
        )


def _repeated_rows(values: np.ndarray) -> Iterator[str]:
    repeated = len(values) - len(np.unique(values, axis=0))
    if repeated > _SHARE_REPEATED * len(values):
        yield (
            f"{repeated:,} of {len(values):,} rows repeat another, so points that are trained on are held out too; "
            "keep one of each"
        )


def _names_as_a_point(values: np.ndarray, header: Sequence[str]) -> Iterator[str]:
    if not header and values.shape[1] > 1 and (values[0] == np.arange(values.shape[1])).all():
        names = ", ".join(str(number) for number in range(values.shape[1]))
        yield f"the first row is {names}, like names of columns, and is taken as a point; unless it is one, drop it"
