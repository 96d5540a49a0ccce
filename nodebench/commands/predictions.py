"""What a trained net says of each sample of a split: a row an image, a point, a series or a sequence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodebench.commands.destinations import writing_to
from nodebench.commands.session import Session
from nodebench.commands.trained import failures_told
from nodebench.config.errors import ConfigError
from nodebench.counted import counted
from nodebench.reporting.replacing import replace_file
from nodebench.terminal import tell
from nodebench.training.progress import shown

if TYPE_CHECKING:
    import pandas as pd


def check_has_predictions(trained: Session) -> None:
    """Raises ConfigError for a task, as of one's own, that does not tell what its nets say of single samples."""
    if not hasattr(trained.task, "predictions"):
        name = trained.builder.config["task"]["name"]
        raise ConfigError(
            f"task={name} has no `predictions`, a function that says what a net says of each sample"
        )


def predictions(trained: Session, split: str = "test") -> pd.DataFrame:
    """The rows of a split, in its order, by the columns of its task; empty if it was not held out.

    Raises ConfigError for a task that has none, FailedError if a solve fails or the net gives NaN.
    """
    import pandas as pd

    check_has_predictions(trained)
    task: Any = trained.task
    with failures_told(), shown("predicting") as progress:
        columns = task.predictions(trained.model, split, progress)
    return pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})


def write_predictions(trained: Session, path: Path) -> None:
    """Write the rows of the test set as CSV, and say what they are. Raises ConfigError if that cannot be."""
    rows = predictions(trained)
    with writing_to(path, "choose another place with --predictions"):
        replace_file(path, rows.to_csv(index=False).encode())
    tell(f"wrote       {path}: {counted(len(rows), 'row')} of {', '.join(rows.columns)}", 12)
