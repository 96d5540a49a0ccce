"""Tables and figures from run folders: reads files, trains nothing, and never imports torch."""

from nodebench.reporting.runs import Run, find_runs
from nodebench.reporting.tables import UnknownColumnError, result_summary, result_table, with_values

__all__ = ["Run", "UnknownColumnError", "find_runs", "result_summary", "result_table", "with_values"]
