"""nodebench's solver library: Runge-Kutta, Adams and SciPy's solvers, with three gradients.

It imports torch (and scipy in its bridge) and knows no model, data set, config or file. See README.md beside this
file for the words and symbols used, and public.py for what can be imported from here.

What is public is loaded when it is first asked for, so that what is data alone (settings, capabilities, tableaus) is
read without torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nodebench.ode.public import *  # noqa: F403
else:
    from importlib import import_module
    from importlib.util import find_spec

    def __getattr__(name: str) -> object:
        if find_spec(f"{__name__}.{name}") is None:  # else Python is about to import a module of ours
            public = import_module(f"{__name__}.public")
            if name == "__all__" or name in public.__all__:
                return getattr(public, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return import_module(f"{__name__}.public").__all__
