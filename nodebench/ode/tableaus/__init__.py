"""The explicit Runge-Kutta methods, one file each: a file dropped into this folder is found by its name."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from nodebench.ode.tableau import ButcherTableau


@functools.cache
def load_tableaus(package: str = __name__) -> dict[str, ButcherTableau]:
    """The `TABLEAU` of every module in `package`, by module name, in alphabetical order.

    Cached: every caller gets the same dict and only reads it.

    Raises ValueError if a module has no `TABLEAU`, or one whose name is not the module's own.
    """
    tableaus = {}
    for module_info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        name = module_info.name
        tableau = getattr(importlib.import_module(f"{package}.{name}"), "TABLEAU", None)
        if not isinstance(tableau, ButcherTableau):
            raise ValueError(
                f"`{package}.{name}` has no ButcherTableau named TABLEAU; every file there defines one"
            )
        if tableau.name != name:
            raise ValueError(
                f"`{package}.{name}` holds a tableau named `{tableau.name}`; "
                "a method is found by its file name, so rename one of the two"
            )
        tableaus[name] = tableau
    return tableaus
