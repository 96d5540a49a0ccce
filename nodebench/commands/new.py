"""`nodebench new`: a module and a config of one's own, which train at once, to be changed from there."""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from nodebench.commands.arguments import Parser, folder
from nodebench.commands.destinations import writing_to
from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.config.files import options, shipped_folder
from nodebench.ode.methods.traits import shipped_methods
from nodebench.terminal import tell

EPILOG = """examples:
  nodebench new model gated
  nodebench new solver ralston_euler --to ~/neural

KIND is solver (a Runge-Kutta method), model (a classifier with an ODE), data (a density in the plane) or task
(classification with a loss of its own). The files are complete: train them, then change them."""
TEMPLATES = "nodebench.commands.templates"


class Kind(NamedTuple):
    """`choices` train one of its kind beside data=..., model=... of ours; `{}` is its name."""

    choices: str
    module: str = "{name}_{kind}.py"  # in the user's folder


KINDS = {
    "solver": Kind("data=digits solver={}", "solver/{name}.py"),
    "model": Kind("data=digits model={}"),
    "data": Kind("task=density data={} model=cnf"),
    "task": Kind("task={} data=digits model=mlp"),
}


def run(argv: Sequence[str]) -> int:
    """Write both files, print where they are and how to train them. Returns 0.

    Raises ConfigError for a kind that there is not, a name that cannot be, and a file that is there already.
    """
    parser = Parser(
        prog="nodebench new",
        description="Write a solver, model, data set or task of your own, with its config, that trains at once.",
        epilog=EPILOG,
    )
    parser.add_argument("kind", metavar="KIND", words=KINDS, help=", ".join(KINDS))
    parser.add_argument("name", metavar="NAME", help="what it is chosen by: KIND=NAME")
    parser.add_argument(
        "--to", metavar="FOLDER", type=folder, default=Path("own"), help="where to (own): for --config-dir"
    )
    args = parser.parse_args(argv)
    if args.kind not in KINDS:
        raise ConfigError(f"nothing is made of the kind `{args.kind}`.{did_you_mean(args.kind, KINDS)}")
    check_name(args.kind, args.name)
    place = args.to.expanduser()
    _write(place, written(args.kind, args.name))
    module, config = written(args.kind, args.name)
    print(f"code      {place / module}")
    print(f"config    {place / config}")
    print(f"try it    {command(args.kind, args.name, place)} training=smoke")
    tell("then      change the files, and leave out training=smoke to train in full", 10)
    return 0


def check_name(kind: str, name: str) -> None:
    """Raises ConfigError for a name that is no word of Python's, or that is taken."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) or keyword.iskeyword(name):
        raise ConfigError(
            f"`{name}` cannot be a name; it must be up to 40 small letters, digits and underscores, a letter first, "
            "and no word of Python's"
        )
    taken = {*options(kind, (shipped_folder(),)), *(shipped_methods() if kind == "solver" else ())}
    if name in taken:
        raise ConfigError(f"{kind}={name} is a shipped one, and one name has one meaning; choose another")


def written(kind: str, name: str) -> dict[str, str]:
    """The texts of the module and of the config, by the names of their files in the user's folder."""
    module, config = KINDS[kind].module.format(name=name, kind=kind), f"{kind}/{name}.yaml"
    words = {
        "name": name,
        "Name": "".join(part.title() for part in name.split("_")),
        "module": Path(module).stem,
        "file": config,
    }
    return {
        file: (files(TEMPLATES) / f"{kind}{Path(file).suffix}.txt")
        .read_text(encoding="utf-8")
        .format(**words)
        for file in (module, config)
    }


def command(kind: str, name: str, place: Path) -> str:
    """What trains it; Python is told of the folder where it would not find the module."""
    shown = shlex.quote(str(place))
    path = "" if kind == "solver" else f"PYTHONPATH={shown} "
    return f"{path}nodebench train {KINDS[kind].choices.format(name)} --config-dir {shown}"


def _write(place: Path, texts: dict[str, str]) -> None:
    """All of the files, or none where one is there already."""
    for file in texts:
        if (place / file).exists():
            raise ConfigError(f"{place / file} is there already; choose another name, or remove it")
    for file, text in texts.items():
        with writing_to(place / file, "choose another folder with --to"):
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_text(text, encoding="utf-8")
