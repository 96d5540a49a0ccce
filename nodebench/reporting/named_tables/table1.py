"""Table 1: MNIST classifiers, our numbers beside the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from nodebench.counted import counted
from nodebench.records.jsonl import is_number
from nodebench.reporting.circumstances import length_words, tell_circumstances
from nodebench.reporting.growth import Growth, find_growth
from nodebench.reporting.layout import Column, Line, NothingToTabulateError, Table
from nodebench.reporting.paper import PAPERS_DATA, TABLE1, PaperRow
from nodebench.reporting.recipes import Recipes
from nodebench.reporting.rows import FEW_SEEDS, Row, interval95, rows_over_seeds
from nodebench.reporting.runs import Run

NAMES = {
    "mlp": "MLP",
    "resnet": "ResNet",
    "rknet": "RK-Net",
    "odenet": "ODE-Net",
    "noblock": "no block (control)",
    "resnet1": "one block (control)",
}
DEPTHS = {"resnet": "L", "rknet": "L~", "odenet": "L~"}
BLOCKS = {"noblock": 0, "resnet1": 1, "resnet": 6}
GRADIENTS = {"odenet": "adjoint", "rknet": "direct"}
NUMBERS = ("num_params", "memory_saved_mib", "memory_peak_mib", "nfe_forward", "nfe_backward", "time_step_ms")
COLUMNS = (
    *(Column("row", is_number=False), Column("seeds")),
    *(Column("test error\n(%)"), Column("paper")),
    *(Column("parameters"), Column("paper")),
    *(Column("saved\n(MiB)"), Column("peak\n(MiB)"), Column("NFE\nf / b"), Column("step\n(ms)")),
    Column("recon_ok"),
    *(Column("memory\ngrows as"), Column("paper")),
    *(Column("time\ngrows as"), Column("paper")),
)
LEGEND = (
    "Ours: last epoch's weights, mean over the finished seeds ± half the 95 % interval (Student's t); saved: what "
    "autograd keeps of one training step, peak: the most memory in one; NFE: evaluations a training batch, forward / "
    "backward, counted apart; recon_ok: 2,000 training images forward and back again at the training "
    "tolerance, every batch within 1 %.",
    "Paper: Chen et al. 2018, Table 1: single numbers without seeds or deviations. It states no widths, normalisation, "
    "optimizer, schedule, epochs, batch size, augmentation or times; the architecture here is that of its authors' "
    "public example. One standard error of 0.42 % on 10,000 images is 0.065 points.",
    "L: residual blocks of the ResNet; L~: evaluations of f in one forward pass.",
)
NOTES = {
    "mlp": "the paper's 1.60 % is that of LeCun et al. (1998) with 300 units on deskewed images of 20x20 pixels; its "
    "0.24 M parameters are those of 784-300-10, which had 4.7 % on images as they are",
    "resnet": "the paper's 0.60 M parameters are those of the res stem (601,482); the conv stem has 576,778",
    "rknet": "the paper names neither its RK-Net's method nor its tolerance",
    "odenet": "the paper's solver is SciPy's implicit Adams, at 1e-3 by its text; no variant of the public "
    "example has its 0.22 M parameters (conv stem 208,266, res stem 232,970)",
    "noblock": "not in the paper: stem and head alone",
    "resnet1": "not in the paper: one residual block in place of six",
}
_TOLD_ELSEWHERE = ("model.stem", "compile")  # in the row's name, and where its times were measured


@dataclass(frozen=True)
class _Kind:
    """What makes runs one row: data set, stem, and which of NAMES the net is."""

    data: str
    stem: str
    net: str


def table1(runs: Sequence[Run], root: Path, recipes: Recipes) -> Table:
    """A row for every net of Table 1 and two controls, conv stem first, res stem where there are runs of it.

    A row is one recipe: of several, a finished one of `recipes`, then that with the most finished seeds, then the most
    epochs. Runs of other data than MNIST are rows of their own, without the paper's numbers. Raises
    NothingToTabulateError if no run is a row's.
    """
    found: dict[_Kind, list[Row]] = {}
    for row in rows_over_seeds(list(runs)):
        if (kind := _kind(row.first)) is not None:
            found.setdefault(kind, []).append(row)
    if not found:
        raise NothingToTabulateError(
            "no run is a row of Table 1: make them with `nodebench reproduce table1`"
        )
    chosen = {kind: min(rows, key=lambda row: _precedence(row, recipes)) for kind, rows in found.items()}
    # Once more with these rows alone, for what is said of them together.
    shown = [run for row in chosen.values() for run in row.runs]
    rows = {kind: row for row in rows_over_seeds(shown) if (kind := _kind(row.first)) is not None}
    for kind, row in rows.items():
        row.notes.extend(_about_recipe(kind, row, found[kind], recipes))
    known = [row for row in rows.values() if row.counted]
    shared, own = tell_circumstances([[row] for row in known])
    for row, notes in zip(known, own, strict=True):
        row.notes.extend(notes)
    growth = find_growth(root)
    data = sorted({kind.data for kind in rows}, key=_mnist_first)
    kinds = list(_in_order(rows, data))
    lines = [_line(kind, rows.get(kind), growth, several=len(data) > 1) for kind in kinds]
    numbers = pd.DataFrame([_numbers(kind, rows.get(kind), growth) for kind in kinds])
    return Table(COLUMNS, lines, numbers, [*LEGEND, *shared, *_about_growth(growth)])


def _kind(run: Run) -> _Kind | None:
    """Which row a run belongs to, by what its net is; None for a net that Table 1 does not have."""
    data, model = run.names
    stem = str(run.setting("model.stem") or "conv")
    if model == "mlp":
        return _Kind(data, "conv", "mlp")
    if model in BLOCKS:
        blocks = run.setting("model.num_blocks")
        blocks = BLOCKS[model] if blocks is None else blocks
        net = next((name for name, number in BLOCKS.items() if number == blocks), None)
    else:
        gradient = run.setting("model.gradient") or GRADIENTS.get(model)
        in_family = [name for name, mode in GRADIENTS.items() if mode == gradient]
        net = in_family[0] if model in GRADIENTS and in_family else None
    return None if net is None else _Kind(data, stem, net)


def papers_row(run: Run) -> tuple[PaperRow, str] | None:
    """What the paper prints of the net that a run is, with what there is to note of it; None where it has none."""
    kind = _kind(run)
    paper = None if kind is None else _paper(kind)
    return None if kind is None or paper is None else (paper, _note(kind))


def _paper(kind: _Kind) -> PaperRow | None:
    return TABLE1.get(kind.net) if kind.data == PAPERS_DATA else None


def _note(kind: _Kind) -> str:
    """Of the paper's row on MNIST; the numbers of its ResNet are those of the res stem."""
    return "" if kind.net == "resnet" and kind.stem == "res" else NOTES.get(kind.net, "")


def _in_order(found: Iterable[_Kind], data: Sequence[str]) -> Iterator[_Kind]:
    """Every net on MNIST with the conv stem, missing or not; then whatever else there is."""
    for name in data:
        for stem in ("conv", "res"):
            kinds = [_Kind(name, stem, net) for net in NAMES]
            yield from (kind for kind in kinds if kind in found or (name, stem) == (PAPERS_DATA, "conv"))


def _mnist_first(data: str) -> tuple[bool, str]:
    return (data != PAPERS_DATA, data)


def _precedence(row: Row, recipes: Recipes) -> tuple[bool, bool, int, float, str]:
    return (
        not row.counted,
        not recipes.has(row.first),
        -len(row.counted),
        -_epochs(row),
        row.identity["hash"],
    )


def _epochs(row: Row) -> float:
    """The epochs of the row's longest finished run; unfinished ones tell what they were to have."""
    planned = row.first.setting("training.epochs")
    return max(row.values("epoch"), default=float(planned) if is_number(planned) else 0.0)


def _about_recipe(kind: _Kind, row: Row, found: Sequence[Row], recipes: Recipes) -> Iterator[str]:
    if kind.data == PAPERS_DATA and row.counted:
        yield from filter(None, [recipes.complaint(row.first, NAMES[kind.net], _TOLD_ELSEWHERE)])
    if kind.data == PAPERS_DATA and (note := _note(kind)):
        yield note
    if kind.net == "mlp" and kind.data == PAPERS_DATA:
        as_they_are = "images as they are (experiment=lecun_mlp deskews them, by data.deskew=true)"
        images = "deskewed images of 28x28 pixels" if row.first.setting("data.deskew") else as_they_are
        yield f"ours has {images}, augmentation: {row.first.setting('data.augment') or 'none'}"
    if 0 < (known := len(row.values("error_test"))) < len(row.counted):
        yield f"{known} of {len(row.counted)} seeds have a test error"
    if others := [other for other in found if other.first.group != row.first.group]:
        left_out = ", ".join(_short(other) for other in others)
        yield f"several recipes: shown is {_short(row)}, left out: {left_out}"


def _short(row: Row) -> str:
    seeds = counted(len(row.counted), "seed")
    return f"{row.identity['hash'] or row.first.folder} ({seeds}, {length_words(_epochs(row), 'epoch')})"


def _about_growth(growth: Growth) -> list[str]:
    if growth.problem:
        return [f"Growth: {growth.problem}."]
    if growth.path is None:
        return ["Growth: not measured here; `nodebench bench scaling` does it."]
    return [f"Growth: exponents of one training step against depth, fitted in {growth.path}."]


def _name(kind: _Kind, several: bool) -> str:
    parts = [NAMES[kind.net]]
    parts += ["(res stem)"] if kind.stem == "res" else []
    parts += [f"on {kind.data}"] if several or kind.data != PAPERS_DATA else []
    return " ".join(parts)


def _line(kind: _Kind, row: Row | None, growth: Growth, several: bool) -> Line:
    paper = _paper(kind)
    cells = [_name(kind, several), "0", *[""] * 9]
    notes = [f"no run: nodebench train experiment=table1_{kind.net}"]
    if row is not None:
        text = row.text
        counts = f"{text('nfe_forward')} / {text('nfe_backward')}" if text("nfe_forward") else ""
        memory = (text("memory_saved_mib"), text("memory_peak_mib"))
        cells[1:] = [text("seeds"), text("error_test"), "", text("num_params"), "", *memory]
        cells += [counts, text("time_step_ms"), text("recon_ok")]
        notes = sorted(row.notes, key=lambda note: note != FEW_SEEDS)
    if paper is not None:
        cells[3], cells[5] = f"{paper.error_test:.2f}", f"{paper.num_params / 1e6:.2f} M"
    cells += [_grows(kind, growth, "memory_saved_mib"), paper.memory if paper else ""]
    cells += [_grows(kind, growth, "time_ms"), paper.time if paper else ""]
    return Line(cells, notes)


def _exponent(kind: _Kind, growth: Growth, quantity: str) -> tuple[float, float | None] | None:
    """Growth is a property of net and gradient, measured with the conv stem on MNIST's shape."""
    if (kind.data, kind.stem) != (PAPERS_DATA, "conv"):
        return None
    names = (kind.net, "odenet") if kind.net in GRADIENTS else (kind.net,)
    gradients = (GRADIENTS[kind.net],) if kind.net in GRADIENTS else ("", "direct")
    keys = [(name, gradient) for name in names for gradient in gradients]
    found = (growth.with_depth(name, gradient, quantity) for name, gradient in keys)
    return next((exponent for exponent in found if exponent is not None), None)


def _grows(kind: _Kind, growth: Growth, quantity: str) -> str:
    exponent = _exponent(kind, growth, quantity)
    # z: what rounds to nothing has no sign.
    return "" if exponent is None else f"{DEPTHS.get(kind.net, 'L')}^{exponent[0]:z.2f}"


def _numbers(kind: _Kind, row: Row | None, growth: Growth) -> dict[str, object]:
    """The row's line of the CSV."""
    paper = _paper(kind)
    numbers: dict[str, object] = {
        "row": kind.net,
        "stem": "" if kind.net == "mlp" else kind.stem,
        "data": kind.data,
        "hash": row.identity["hash"] if row else "",
        "seeds": len(row.counted) if row else 0,
        "error_test": row.number("error_test") if row else None,
        "error_test_interval": interval95(row.values("error_test")) if row else None,
        "error_test_paper": paper.error_test if paper else None,
        **{name: row.number(name) if row else None for name in NUMBERS},
        "num_params_paper": paper.num_params if paper else None,
        "recon_ok": row.text("recon_ok") if row else "",
    }
    for name, quantity in (("memory", "memory_saved_mib"), ("time", "time_ms")):
        exponent, stderr = _exponent(kind, growth, quantity) or (None, None)
        numbers |= {f"{name}_exponent": exponent, f"{name}_exponent_stderr": stderr}
        numbers[f"{name}_paper"] = getattr(paper, name) if paper else ""
    return numbers
