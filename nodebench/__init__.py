"""nodebench: the reference runner for Neural ODE experiments (Chen et al., 2018).

In Python, `nodebench.load` takes up a trained run and `nodebench.runs` makes a pandas frame of many (docs/python.md).
Both are loaded when they are first asked for: `import nodebench` alone imports neither torch nor pandas.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["ConfigError", "FailedError", "TrainedRun", "__version__", "load", "runs"]

if TYPE_CHECKING:
    from nodebench.api import ConfigError, FailedError, TrainedRun, load, runs
else:

    def __getattr__(name: str) -> object:
        if name in __all__:
            from importlib import import_module

            return getattr(import_module("nodebench.api"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return [*globals(), *(name for name in __all__ if name not in globals())]
