"""Which experiment fills a cell of a figure or table, of those that could, and what its reader should know of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nodebench.counted import counted
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.rows import Row, interval95, rows_over_seeds
from nodebench.reporting.runs import Run

NO_RUN = "no run"
FINISHED = "finished"


@dataclass(frozen=True)
class Choice:
    """One experiment over its seeds. `row` is None where there is no run.

    `status` is `finished` as soon as one seed is; else what its first run says of itself, or `no run`.
    `notes` are the sentences that a reader needs; `complaint` the note that this is not what was asked for.
    """

    row: Row | None
    status: str
    notes: tuple[str, ...]
    complaint: str = ""

    @property
    def without_picture(self) -> str:
        """The words in place of a picture."""
        return "no picture" if self.status == FINISHED else self.status

    @property
    def drawn_run(self) -> Run | None:
        """The lowest finished seed, whose pictures are shown; None where no seed is finished."""
        return min(self.row.counted, key=_seed) if self.row and self.row.counted else None

    def values(self, column: str) -> list[float]:
        """The summary's column of every finished seed that has it."""
        return self.row.values(column) if self.row else []

    def mean(self, column: str) -> float | None:
        """The mean of a summary's column over the finished seeds; None where there is none."""
        return self.row.number(column) if self.row else None

    def interval(self, column: str) -> float | None:
        """Half the 95 % interval of `column` over the seeds; None below two."""
        return interval95(self.values(column))

    def words(self, column: str, style: str = "") -> str:
        """The mean, `0.092 ± 0.004` where the column has intervals, in its format or in `style`; empty without one."""
        mean = self.mean(column)
        if mean is None or self.row is None:
            return ""
        shown = self.row.columns[column]
        interval, style = self.interval(column) if shown.has_interval else None, style or shown.format
        return f"{mean:{style}}" + ("" if interval is None else f" ± {interval:{style}}")

    def numbers(self, which: Mapping[str, object], columns: Sequence[str]) -> Iterator[dict[str, object]]:
        """A line of a figure's CSV for each run: `which` it is, how it ended, and these columns of its summary."""
        for run in self.row.runs if self.row else ():
            yield {
                **which,
                "seed": run.seed,
                "status": run.status,
                "hash": run.hash,
                "is_drawn": run is self.drawn_run,
                **{column: run.summary.get(column) for column in columns},
            }


def choose(matching: Sequence[Run], name: str, command: str, recipes: Recipes) -> Choice:
    """The experiment among `matching` that fills the cell called `name`; `command` makes what is missing.

    Of several recipes, a finished one is taken, of those one of `recipes`, of those an experiment's, of those the one
    with the most training steps; a note says so, and another that the one taken is none of `recipes`.
    """
    if not matching:
        return Choice(None, NO_RUN, (f"missing: {name}: {command}",))
    row, *others = sorted(rows_over_seeds(list(matching)), key=lambda row: _precedence(row, recipes))
    notes = []
    if others:
        left_out = ", ".join(_recipe(other) for other in others)
        notes.append(f"several recipes: {name}: shown is {_recipe(row)}, left out: {left_out}")
    if not row.counted:
        first = row.runs[0]
        reason = f": {first.problem}" if first.problem else ""
        notes.append(f"{first.status}: {name}{reason}; again: {command}")
        return Choice(row, first.status, tuple(notes))
    complaint = recipes.complaint(row.first, name)
    if complaint:
        notes.append(f"{complaint}; its own: {command}")
    notes += [f"{note} ({name})" for note in row.notes if note.startswith(("not counted", "seed "))]
    return Choice(row, FINISHED, tuple(notes), complaint)


def num_steps(row: Row) -> int:
    """The training steps that the row's recipe asks for, 0 where the config does not tell."""
    asked = row.runs[0].setting("training.num_steps")
    return asked if isinstance(asked, int) else 0


def _precedence(row: Row, recipes: Recipes) -> tuple[bool, bool, bool, int, str]:
    is_by_hand = row.first.setting("about.reproduces") is None
    return (
        *(not row.counted, not recipes.has(row.first), is_by_hand),
        *(-num_steps(row), row.identity["hash"]),
    )


def _recipe(row: Row) -> str:
    status = "" if row.counted else f", {row.runs[0].status}"
    return f"{row.identity['hash'] or row.runs[0].folder} ({counted(num_steps(row), 'step')}{status})"


def _seed(run: Run) -> tuple[int, str]:
    return (int(run.seed) if run.seed.isdecimal() else 0, run.seed)
