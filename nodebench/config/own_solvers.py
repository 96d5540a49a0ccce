"""Methods of one's own: DIR/solver/NAME.py beside DIR/solver/NAME.yaml, each found by its file's name."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from nodebench.config.errors import ConfigError
from nodebench.ode.methods.own import add_method
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.traits import Traits, shipped_methods

_NAMES = ("TABLEAU", "METHOD")
FILES: dict[str, Path] = {}
"""Where each method that was found came from, by name."""


def add_own_solvers(folder: Path) -> None:
    """Import every Python file in the `solver` folder of somebody's configs, and let its method be known by name.

    Raises ConfigError, naming the file, for one that cannot be imported, has no method, one of another name, or
    one with the name of a shipped method.
    """
    for path in sorted((folder / "solver").glob("*.py")):
        method = _method_in(path)
        name = method.name if isinstance(method, ButcherTableau) else method.traits.name
        if name != path.stem:
            raise ConfigError(
                f"{path} holds a method named `{name}`; one is found by its file's name, so rename one of the two"
            )
        if name in shipped_methods():
            raise ConfigError(f"{path} has the name of a shipped method; rename it and the method in it")
        add_method(name, method)
        FILES[name] = path


def _method_in(path: Path) -> Any:
    """The tableau or method that a file defines."""
    spec = spec_from_file_location(f"own_solver_{path.stem}", path)
    assert spec is not None  # of a name that ends in .py
    assert spec.loader is not None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever Python says of somebody's file
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{path} cannot be imported: {words}; mend it, or take it away") from error
    found = [getattr(module, name) for name in _NAMES if hasattr(module, name)]
    if len(found) != 1 or not _is_method(found[0]):
        raise ConfigError(
            f"{path} needs one method: TABLEAU = ButcherTableau(...), or METHOD = an object of a class that "
            "derives from OneStep, as docs/architecture.md shows"
        )
    return found[0]


def _is_method(found: Any) -> bool:
    """Whether it is a tableau, or has what odeint asks of another method."""
    if isinstance(found, ButcherTableau):
        return True
    takes_steps = hasattr(found, "begin") or hasattr(found, "drive")
    return takes_steps and not isinstance(found, type) and isinstance(getattr(found, "traits", None), Traits)
