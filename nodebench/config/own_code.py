"""The code behind a user's own `_target_`s, as a hash of its files: what git and versions do not tell of a run.

Nothing is imported for it. docs/decisions/0012 says why it is kept beside a run and not in its name.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nodebench.config.files import flatten, is_ours, shipped_folder, shipped_targets
from nodebench.config.own_solvers import FILES as OWN_SOLVERS

_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
_PACKAGES = {"site-packages", "dist-packages"}  # where pip, conda and Debian install to


def own_code(config: Mapping[str, Any]) -> dict[str, str]:
    """`model=mine` -> 16 hexadecimal digits, for each node whose `_target_` is neither shipped nor of this package.

    The digits change with the file that the target's module is, its packages' __init__, and with what those import
    of their own, that is not installed. A module that Python does not find is left out; building it says so.
    A method of one's own, `solver=mine`, is its file alone.
    """
    found = {}
    for key, target in flatten(dict(config)):
        node, _, last = key.rpartition(".")
        if last != "_target_" or not isinstance(target, str) or node == "logger":  # which changes no numbers
            continue
        if is_ours(target) or target in shipped_targets((shipped_folder(),)):
            continue
        files: dict[str, Path] = {}
        _collect(target.rpartition(".")[0], files)
        if files:
            found[f"{node}={config[node]['name']}"] = _digest(files)
    method = config.get("solver", {}).get("method")
    if method in OWN_SOLVERS:
        found[f"solver={method}"] = _digest({method: OWN_SOLVERS[method]})
    return found


def _digest(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _collect(module: str, files: dict[str, Path]) -> None:
    """Add the module's file and its packages' to `files`, and those of what they import, by module name."""
    for name, path in _files(module):
        if name in files:
            continue
        files[name] = path
        if path.suffix == ".py" and not _is_installed(path):
            for imported in _imports(path, name):
                if _is_followed(imported):
                    _collect(imported, files)


def _files(module: str) -> Iterator[tuple[str, Path]]:
    """Name and file of each package above a module, and of the module, as far as they are there."""
    first, *below = module.split(".")
    try:
        spec = importlib.util.find_spec(first) if first else None
    except ValueError:  # a module that was run as a script has no spec
        return
    if spec is None:
        return
    if spec.origin and Path(spec.origin).is_file():
        yield first, Path(spec.origin)
    name, places = first, [Path(place) for place in spec.submodule_search_locations or []]
    for part in below:
        name = f"{name}.{part}"
        candidates = (place / file for place in places for file in (f"{part}/__init__.py", f"{part}.py"))
        path = next((path for path in candidates if path.is_file()), None)
        if path is not None:
            yield name, path
        places = [place / part for place in places]


def _is_followed(module: str) -> bool:
    """Whether an imported module is the user's own: there, and neither installed, nor Python's, nor of this package."""
    found = list(_files(module))
    return bool(found) and found[0][0] != "nodebench" and not _is_installed(found[-1][1])


def _is_installed(path: Path) -> bool:
    return bool(_PACKAGES & set(path.parts)) or path.resolve().is_relative_to(_STDLIB)


def _imports(path: Path, name: str) -> Iterator[str]:
    """The module names that a module's file imports, anywhere in it; `from a import b` may mean a module a.b."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
