"""The columns of nodebench's own tasks: a module for each whom they belong to, put in the order of a record here.

A task names its columns as `columns`, one of a user's own too; they come into records, charts, the screen and tables
without being named anywhere else.
"""

from nodebench.records.columns import Columns
from nodebench.records.declared import (
    classification,
    density,
    density_matching,
    every_task,
    point_process,
    solves,
    time_series,
)

COLUMNS = Columns(
    (
        *every_task.PROGRESS,
        *classification.COLUMNS,
        *every_task.LOSS,
        *density.COLUMNS,
        *density_matching.COLUMNS,
        *time_series.COLUMNS,
        *point_process.COLUMNS,
        *every_task.SIZE,
        *solves.COUNTS,
        *every_task.COSTS,
        *solves.RECONSTRUCTION,
    )
)
"""Every column of metrics.jsonl but `kind`, in the order of a record; a record holds those that it knows.

error_train is a mean over the epoch's training batches, of the weights as they were at each step and of augmented
inputs; error_val and error_test are of the averaged weights where averaging is on. Times leave out evaluation.
"""
