"""The rooms of the package and who may enter which: reads every import and names the rule that is broken."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import nodebench.ode
from nodebench.config.files import shipped_folder, shipped_targets

PACKAGE = Path(__file__).parent.parent / "nodebench"

# What a room may import of nodebench beside itself and the version; the open rooms may import everything.
ROOMS: dict[str, set[str]] = {
    "ode": set(),
    "data": {"counted"},
    "reading": set(),
    "quoting": set(),
    "terminal": {"quoting"},
    "counted": set(),
    "ranks": set(),
    "signals": set(),
    "allocation": set(),
    "records": {"reading"},
    "reporting": {
        *("reading", "quoting", "terminal", "counted", "records"),
        *("ode.methods.traits", "ode.settings"),
    },
    "training": {"reading", "quoting", "terminal", "counted", "signals", "ranks", "records"},
    "models": {"ode", "data.trajectories", "ranks"},
    "tasks": {"ode", "models", "data", "records", "training.protocols"},
    "measurement": {"ode", "models", "data", "tasks", "records", "training.protocols"},
    "benchmark": {
        "ode",
        "models",
        "data",
        "measurement",
        "tasks",
        "training",
        "ranks",
        "allocation",
        "reporting.replacing",
    },
}
OPEN_ROOMS = {"config", "commands", "cli", "api", "__main__", "__init__"}
# Inside ode, each module may import those before it and none after, as docs/architecture.md draws them.
_ORDER = """
    drive methods gradients
    status counts names field norms together packing clock budget failures interpolation events
    methods.own methods.tableau methods.tableaus methods.implicit.tableau methods.implicit.collocation
    methods.traits ranges drive.scalars drive.controllers settings drive.state drive.control
    methods.stages methods.method methods.explicit methods.adams methods.scipy
    methods.implicit methods.implicit.jacobian methods.implicit.newton methods.implicit.gradient
    methods.implicit.matrices methods.implicit.steps methods.implicit.diagonal methods.implicit.coupled methods.registry
    drive.decide drive.first_step drive.stiffness drive.crawl drive.outputs drive.adaptive drive.grid drive.solver
    drive.roots drive.watch drive.dense
    per_sample.rows per_sample.times per_sample.control per_sample.step per_sample.first_step per_sample.outputs
    per_sample.course per_sample.loop
    gradients.problem gradients.drift gradients.augmented
    per_sample.problem per_sample.checkpointed per_sample.augmented per_sample.adjoint
    compiled.fusible compiled.loops compiled.compiler compiled.inputs compiled.traced compiled.march compiled.steps
    compiled.per_sample compiled
    gradients.direct gradients.checkpointed gradients.adjoint gradients.event_times
    options solvers solution assembly per_sample.assembly per_sample front_door public
    compat.options compat.callbacks compat.complex_states compat.gradients compat.grids compat.methods
    compat.norms compat.solvers compat.event_functions compat.odeint compat.events compat
"""
ODE_ORDER = _ORDER.split()  # folders alone import nothing
# What is data and read by rooms without torch: ode/__init__.py loads what is public when it is first asked for.
DATA_IN_ODE = {
    "ode.ranges",
    "ode.settings",
    *(
        f"ode.methods.{name}"
        for name in ("own", "tableau", "tableaus", "implicit.tableau", "implicit.collocation", "traits")
    ),
}
# Functions whose parameters are what a user writes: odeint's are spelled out, odeint_adjoint's are torchdiffeq's.
# Beside them, what a shipped config names as its `_target_`: each parameter is a key of the file.
DOORS = {("ode.front_door", "odeint"), ("ode.compat.odeint", "odeint_adjoint")}
PUBLIC_WITH_UNDERSCORE = {"_replace", "_fields", "_asdict", "_exit"}  # of named tuples, and os._exit
CATCH_ALL_NAMES = {"utils", "util", "misc", "helpers", "common"}
MAX_LINES = 350
MAX_LINES_OF_A_FUNCTION = 70  # from def to the end, docstring and all: a screen
MAX_PARAMETERS = 8


class Import(NamedTuple):
    importer: str  # "ode.methods.tableaus.heun": the module's name below nodebench
    imported: str  # "nodebench.ode.methods.tableau" or "torch.nn"
    line: int

    @property
    def target(self) -> str | None:
        """The imported module's name below nodebench; None for one from elsewhere."""
        return self.imported.removeprefix("nodebench.") if self.imported.startswith("nodebench.") else None


def imports_of(path: Path, package: Path) -> Iterator[Import]:
    """Every import in a file, those inside functions too; `from x import y` is x.y where y is a module."""
    parts = path.relative_to(package).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
    folder = ["nodebench", *parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                below = package.parent / source.replace(".", "/") / alias.name
                is_module = below.is_dir() or below.with_suffix(".py").is_file()
                yield Import(module, f"{source}.{alias.name}" if is_module else source, node.lineno)


def is_within(module: str, roots: set[str]) -> bool:
    """Whether a dotted name is one of `roots` or lies below one."""
    return any(module == root or module.startswith(f"{root}.") for root in roots)


def rule_of_rooms(found: Import) -> bool:
    """a room imports only the rooms that ROOMS lists for it"""
    room = found.importer.partition(".")[0]
    if found.target is None or room in OPEN_ROOMS:
        return False
    return not is_within(found.target, {room, *ROOMS.get(room, set())})


def place_in_ode(module: str) -> int | None:
    """Where in ODE_ORDER a module of ode stands; a tableau stands with the folder that loads it."""
    name = module.removeprefix("ode.")
    name = "methods.tableaus" if name.startswith("methods.tableaus.") else name
    return ODE_ORDER.index(name) if name in ODE_ORDER else None


def rule_inside_ode(found: Import) -> bool:
    """inside ode, a module imports only those that ODE_ORDER names before it"""
    if not found.importer.startswith("ode.") or found.target is None or not found.target.startswith("ode."):
        return False
    importer, target = place_in_ode(found.importer), place_in_ode(found.target)
    return importer is not None and target is not None and target > importer


def rule_of_tableaus(found: Import) -> bool:
    """a module in ode/methods/tableaus imports nodebench.ode.methods.tableau and nothing else"""
    allowed = {"__future__", "nodebench.ode.methods.tableau"}
    return found.importer.startswith("ode.methods.tableaus.") and found.imported not in allowed


def rule_of_scipy(found: Import) -> bool:
    """inside ode, scipy appears only in methods/scipy"""
    is_ode = is_within(found.importer, {"ode"}) and found.importer != "ode.methods.scipy"
    return is_ode and is_within(found.imported, {"scipy"})


def rule_of_hydra(found: Import) -> bool:
    """hydra and omegaconf appear only in config, commands and cli"""
    return is_within(found.imported, {"hydra", "omegaconf"}) and not is_within(found.importer, OPEN_ROOMS)


def rule_of_reporting(found: Import) -> bool:
    """reporting and records never import torch"""
    torch_like = {"torch", "torchvision", "torchdiffeq", "tensorboard"}
    return is_within(found.importer, {"reporting", "records"}) and is_within(found.imported, torch_like)


def rule_of_jax(found: Import) -> bool:
    """jax and diffrax appear only in benchmark's diffrax_baseline and twins"""
    allowed = {"benchmark.diffrax_baseline", "benchmark.twins"}
    return is_within(found.imported, {"jax", "diffrax"}) and not is_within(found.importer, allowed)


IMPORT_RULES = (
    rule_of_rooms,
    rule_inside_ode,
    rule_of_tableaus,
    rule_of_scipy,
    rule_of_hydra,
    rule_of_reporting,
    rule_of_jax,
)


def functions(
    tree: ast.AST, inside: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its name, `Class` for a constructor, `Class.name` for what else a class has."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = inside if inside and node.name == "__init__" else f"{inside}.{node.name}".lstrip(".")
            yield name, node
        yield from functions(node, node.name if isinstance(node, ast.ClassDef) else inside)


def num_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many there are, *args and **kwargs one each; without self."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return sum(arg.arg not in ("self", "cls") for arg in named) + bool(given.vararg) + bool(given.kwarg)


def too_large(path: Path, module: str, built: set[str]) -> list[str]:
    """One line for every function of a file that is more than a screen, or takes more than one keeps in mind.

    `built`: the names of what configs name as `_target_`.
    """
    breaches = []
    for name, function in functions(ast.parse(path.read_text(encoding="utf-8"))):
        num_lines = (function.end_lineno or 0) - function.lineno + 1
        if num_lines > MAX_LINES_OF_A_FUNCTION:
            what = f"{num_lines} lines, over {MAX_LINES_OF_A_FUNCTION}"
            breaches.append(f"a function is read on one screen: {path.name}: {name} has {what}")
        number = num_parameters(function)
        if number > MAX_PARAMETERS and name not in built and (module, name) not in DOORS:
            what = f"{number} parameters, over {MAX_PARAMETERS}"
            breaches.append(
                f"what belongs together is handed over together: {path.name}: {name} takes {what}"
            )
    return breaches


def broken_rules(package: Path) -> list[str]:
    """One line for every breach in a package: the rule, the file and line, and what is wrong there."""
    breaches = []
    built = {target.rpartition(".")[2] for target in shipped_targets((shipped_folder(),))}
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package.parent)
        for found in imports_of(path, package):
            breaches += [
                f"{rule.__doc__}: {name}:{found.line} imports {found.imported}"
                for rule in IMPORT_RULES
                if rule(found)
            ]
        if path.stem in CATCH_ALL_NAMES or path.parent.name in CATCH_ALL_NAMES:
            breaches.append(f"a module is named after what it holds: {name}")
        num_lines = len(path.read_text(encoding="utf-8").splitlines())
        if num_lines > MAX_LINES:
            breaches.append(f"a file is read in one sitting: {name} has {num_lines} lines, over {MAX_LINES}")
        breaches += too_large(path, ".".join(path.relative_to(package).with_suffix("").parts), built)
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room not in {*ROOMS, *OPEN_ROOMS}:
            breaches.append(f"a new room states here what it may import: {name}")
        parts = path.relative_to(package).with_suffix("").parts
        module = ".".join(parts[1:-1] if parts[-1] == "__init__" else parts[1:])
        if parts[0] == "ode" and path.stat().st_size and module and place_in_ode(f"ode.{module}") is None:
            breaches.append(f"a new module of ode states here where it stands: {name}")
    return breaches


def circles(package: Path) -> list[set[str]]:
    """The sets of modules that import each other, over whatever detour; imports inside functions count."""
    reached: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        for found in imports_of(path, package):
            reached.setdefault(found.importer, set()).update([found.target] if found.target else [])
    grows = True
    while grows:
        grows = False
        for targets in reached.values():
            further = set().union(*(reached.get(target, set()) for target in targets))
            grows |= not further <= targets
            targets |= further
    inside = {module for module, targets in reached.items() if module in targets}
    found_circles: list[set[str]] = []
    for module in sorted(inside):
        circle = {other for other in inside & reached[module] if module in reached[other]}
        if circle not in found_circles:
            found_circles.append(circle)
    return found_circles


def private_names(source: str) -> Iterator[str]:
    """What a test touches of others that is private, `3: progress._bar`; torch's insides are torch's affair."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            is_own = owner in ("self", "cls", "super()") or owner.partition(".")[0] == "torch"
            names = [] if is_own or node.attr in PUBLIC_WITH_UNDERSCORE else [f"{owner}.{node.attr}"]
        elif isinstance(node, ast.Constant) and str(node.value).startswith("nodebench."):
            names = [str(node.value)]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nodebench"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (f"{node.lineno}: {name}" for name in names if re.search(r"\._[a-z]\w*$", name))


def test_no_test_touches_what_is_private_to_a_module() -> None:
    tried = "progress._bar.refresh()\nfrom nodebench.ode import _x\nself._y, os._exit"
    assert sorted(private_names(tried)) == ["1: progress._bar", "2: nodebench.ode._x"]
    for path in sorted(PACKAGE.parent.glob("tests/**/*.py")):
        assert list(private_names(path.read_text(encoding="utf-8"))) == [], path


def test_every_import_keeps_the_rules() -> None:
    breaches = broken_rules(PACKAGE)
    assert not breaches, "\n" + "\n".join(breaches)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles(PACKAGE) == []


def test_a_circle_is_found_over_a_detour_and_inside_a_function(tmp_path: Path) -> None:
    package = tmp_path / "nodebench"
    sources = {
        "ode/clock.py": "from nodebench.ode import field",
        "ode/field.py": "from .norms import Norm",
        "ode/norms.py": "def f():\n    from nodebench.ode.clock import Clock",
        "ode/status.py": "from nodebench.ode import clock",
    }
    for path, source in sources.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(source)
    assert circles(package) == [{"ode.clock", "ode.field", "ode.norms"}]


def test_every_module_that_the_order_of_ode_names_is_there() -> None:
    for name in ODE_ORDER:
        path = PACKAGE / "ode" / name.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), name


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("models/mlp.py", "from nodebench.training import trainer", rule_of_rooms.__doc__),
        ("data/mnist.py", "import nodebench.models.mlp", rule_of_rooms.__doc__),
        ("training/trainer.py", "from ..tasks.classification import Classification", rule_of_rooms.__doc__),
        ("tasks/flow.py", "from nodebench.training.trainer import train", rule_of_rooms.__doc__),
        ("ode/methods/stages.py", "from nodebench.ode import front_door", rule_inside_ode.__doc__),
        ("ode/gradients/direct.py", "from ..front_door import odeint", rule_inside_ode.__doc__),
        ("ode/clock.py", "def f():\n    from .front_door import solve", rule_inside_ode.__doc__),
        ("ode/methods/tableaus/heun.py", "import torch", rule_of_tableaus.__doc__),
        ("ode/norms.py", "import scipy.linalg", rule_of_scipy.__doc__),
        ("models/mlp.py", "from omegaconf import DictConfig", rule_of_hydra.__doc__),
        ("reporting/tables.py", "from torch import Tensor", rule_of_reporting.__doc__),
        ("benchmark/libraries.py", "def f():\n    import jax.numpy as jnp", rule_of_jax.__doc__),
        ("models/utils.py", "", "a module is named after what it holds"),
        ("ode/front_door.py", "\n" * 351, "a file is read in one sitting"),
        (
            "tasks/flow.py",
            "class A:\n    def f(self):\n" + "        x\n" * 70,
            "a function is read on one screen",
        ),
        (
            "tasks/flow.py",
            "class A:\n    def __init__(self, a, b, c, d, *, e, f, g, h, **rest): ...",
            "what belongs together is handed over together",
        ),
        ("ode/implicit.py", "import torch", "a new module of ode states here where it stands"),
        ("extras/thing.py", "", "a new room states here what it may import"),
    ],
)
def test_a_breach_is_reported_under_the_name_of_its_rule(
    tmp_path: Path, path: str, source: str, rule: str
) -> None:
    package = tmp_path / "nodebench"
    for module in ("ode/front_door.py", "ode/norms.py", "training/trainer.py"):
        (package / module).parent.mkdir(parents=True, exist_ok=True)
        (package / module).touch()
    assert broken_rules(package) == []
    (package / path).parent.mkdir(exist_ok=True, parents=True)
    (package / path).write_text(source)

    (breach,) = broken_rules(package)

    assert breach.startswith(rule)
    assert Path(path).name in breach


def test_what_the_rules_allow_is_not_reported(tmp_path: Path) -> None:
    package = tmp_path / "nodebench"
    allowed = {
        "ode/methods/tableaus/heun.py": "from nodebench.ode.methods.tableau import ButcherTableau",
        "ode/front_door.py": "from nodebench import __version__\nfrom . import clock\nfrom .norms import rms",
        "ode/methods/scipy.py": "from scipy.integrate import ode",
        "tasks/classification.py": "from nodebench.training.protocols import StepOutput",
        "data/spirals.py": "def spirals(a, b, c, d, e, f, g, h, i): ...",
        "models/classifiers.py": "class ODENet:\n    def __init__(self, a, b, c, d, e, f, g, h, i): ...",
        "tasks/flow.py": "class A:\n    def f(self, a, b, c, d, e, f, g, h):\n" + "        x\n" * 69,
        "commands/train.py": "import hydra\nfrom nodebench.training.trainer import train",
    }
    for path, source in allowed.items():
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text(source)
    assert broken_rules(package) == []


def test_reporting_and_what_is_data_in_ode_import_no_torch_through_anyone() -> None:
    names = [
        ".".join(path.with_suffix("").parts[-3:]) for path in sorted((PACKAGE / "reporting").glob("[!_]*.py"))
    ]
    assert names
    names += [
        "nodebench.commands.table",
        "nodebench.config.check",
        *(f"nodebench.{name}" for name in sorted(DATA_IN_ODE)),
    ]
    imports = "\n".join(f"import {name}" for name in names)
    check = "import sys; print(sorted({'torch', 'hydra', 'matplotlib'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", f"{imports}\n{check}"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_no_module_of_ode_hides_what_is_public_under_its_name() -> None:
    modules = {path.stem for path in (PACKAGE / "ode").iterdir()}
    assert not modules & set(nodebench.ode.__all__)
