"""Tables and figures from run folders: reads files, trains nothing, and never imports torch.

What is named here is loaded when it is first asked for: tables need pandas, and who reads a run folder does not.
"""

from typing import TYPE_CHECKING

__all__ = ["Run", "UnknownColumnError", "find_runs", "result_summary", "result_table", "with_values"]

if TYPE_CHECKING:
    from nodebench.reporting.runs import Run, find_runs
    from nodebench.reporting.tables import UnknownColumnError, result_summary, result_table, with_values
else:

    def __getattr__(name: str) -> object:
        if name in __all__:
            from importlib import import_module

            where = "runs" if name in ("Run", "find_runs") else "tables"
            return getattr(import_module(f"nodebench.reporting.{where}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
