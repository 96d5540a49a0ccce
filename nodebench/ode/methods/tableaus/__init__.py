"""The explicit Runge-Kutta methods, one file each: a file dropped into this folder is found by its name."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from nodebench.ode.methods.tableau import ButcherTableau

_IMPORT = f"from {ButcherTableau.__module__} import {ButcherTableau.__name__}"


@functools.cache
def load_tableaus(package: str = __name__) -> dict[str, ButcherTableau]:
    """The `TABLEAU` of every module in `package`, by module name, in alphabetical order.

    Cached: every caller gets the same dict and only reads it.

    Raises ValueError, naming the file, if one cannot be imported, or has no `TABLEAU`, or one whose name is not the
    file's own.
    """
    return {
        module_info.name: _load(package, module_info.name)
        for module_info in pkgutil.iter_modules(importlib.import_module(package).__path__)
    }


def _load(package: str, name: str) -> ButcherTableau:
    try:
        module = importlib.import_module(f"{package}.{name}")
    except Exception as error:  # whatever Python says of somebody's file
        remedy = (
            f"begin the file with `{_IMPORT}`" if _misses_import(error) else "correct the file, or remove it"
        )
        raise ValueError(
            f"the tableau file `{package}.{name}` cannot be imported: {type(error).__name__}: {error}; {remedy}"
        ) from error
    tableau = getattr(module, "TABLEAU", None)
    if not isinstance(tableau, ButcherTableau):
        raise ValueError(
            f"`{package}.{name}` has no ButcherTableau named TABLEAU; every file there defines one"
        )
    if tableau.name != name:
        raise ValueError(
            f"`{package}.{name}` holds a tableau named `{tableau.name}`; "
            "a method is found by its file name, so rename one of the two"
        )
    return tableau


def _misses_import(error: Exception) -> bool:
    return isinstance(error, NameError) and error.name == ButcherTableau.__name__
