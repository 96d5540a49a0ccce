"""What a run writes down: its columns, each declared once, and the files that hold them. Free of torch.

declared: the columns, a module for each that they belong to; column, columns: what a column is, and all of a run.
"""

from nodebench.records.column import YES_NO, Column, Shown
from nodebench.records.columns import Columns
from nodebench.records.declared import COLUMNS

__all__ = ["COLUMNS", "YES_NO", "Column", "Columns", "Shown"]
