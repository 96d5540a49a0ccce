"""Every tableau, explicit or implicit: order conditions; embedded methods, interpolants, and the folder of files."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchdiffeq
from scipy.integrate import RK23, RK45
from torchdiffeq._impl.odeint import SOLVERS

from nodebench.ode.methods.implicit.collocation import COLLOCATION
from nodebench.ode.methods.implicit.tableau import DIAGONAL
from nodebench.ode.methods.tableaus import load_tableaus

TOLERANCE = 1e-10  # the coefficients of dopri8's interpolant are printed to about 1e-12

# A method that is not listed here is held to one order less than its own, for both.
EMBEDDED_ORDER = {"adaptive_heun": 1, "fehlberg2": 1, "bosh3": 2, "dopri5": 4, "tsit5": 4, "dopri8": 7}
INTERPOLANT_ORDER = {"dopri5": 4, "tsit5": 4, "dopri8": 5}

NUM_STAGES = {
    "euler": 1,
    "midpoint": 2,
    "heun": 2,
    "heun3": 3,
    "ralston": 2,
    "rk4": 4,
    "rk4_38": 4,
    "adaptive_heun": 2,
    "fehlberg2": 3,
    "bosh3": 4,
    "dopri5": 7,
    "tsit5": 7,
    "dopri8": 14,
}
FSAL = {"bosh3", "dopri5", "tsit5", "dopri8"}

TABLEAUS = load_tableaus()
METHODS: dict[str, Any] = {**TABLEAUS, **DIAGONAL, **COLLOCATION}
EMBEDDED = [name for name, tableau in TABLEAUS.items() if tableau.has_error_estimate]
INTERPOLATED = [name for name, tableau in TABLEAUS.items() if tableau.interpolant is not None]

Tree = tuple  # a rooted tree is the sorted tuple of the subtrees at its root; () is a single vertex


def partitions(total: int, largest: int) -> list[tuple[int, ...]]:
    """The ways to write `total` as a sum of positive integers, none above `largest`, in falling order."""
    if total == 0:
        return [()]
    return [
        (first, *rest)
        for first in range(min(total, largest), 0, -1)
        for rest in partitions(total - first, first)
    ]


@functools.cache
def trees_of(order: int) -> list[Tree]:
    """All rooted trees with `order` vertices: 1, 1, 2, 4, 9, 20, 48, 115, 286, ... of them."""
    return sorted(
        {
            tuple(sorted(subtrees))
            for sizes in partitions(order - 1, order - 1)
            for subtrees in itertools.product(*map(trees_of, sizes))
        }
    )


def num_vertices(tree: Tree) -> int:
    return 1 + sum(map(num_vertices, tree))


def density(tree: Tree) -> int:
    """gamma(tree): the number of vertices times the densities of the subtrees."""
    return num_vertices(tree) * math.prod(map(density, tree))


@functools.cache
def stage_weights(name: str, tree: Tree) -> np.ndarray:
    """Phi_i(tree) for every stage i: the product over the subtrees of sum_j a_ij Phi_j(subtree)."""
    tableau = METHODS[name]
    num_stages = len(tableau.b)
    a = np.array([[*row, *[0.0] * (num_stages - len(row))] for row in tableau.a])
    weights = np.ones(num_stages)
    for subtree in tree:
        weights = weights * (a @ stage_weights(name, subtree))
    return weights


def largest_defect(name: str, weights: np.ndarray, order: int, theta: float = 1.0) -> float:
    """max over the trees of `order` vertices of |sum_i weights_i Phi_i - theta^order / gamma|."""
    return max(
        abs(weights @ stage_weights(name, tree) - theta**order / density(tree)) for tree in trees_of(order)
    )


def propagated_weights(name: str) -> np.ndarray:
    return np.array(METHODS[name].b)


def embedded_weights(name: str) -> np.ndarray:
    return np.array(TABLEAUS[name].b) - np.array(TABLEAUS[name].b_err)


def interpolant_weights(name: str, theta: float) -> np.ndarray:
    """P_i(theta) for every stage i."""
    coefficients = np.array(TABLEAUS[name].interpolant)
    return coefficients @ theta ** np.arange(1, coefficients.shape[1] + 1)


def interpolant_slopes(name: str, theta: float) -> np.ndarray:
    """P_i'(theta) for every stage i."""
    coefficients = np.array(TABLEAUS[name].interpolant)
    powers = np.arange(1, coefficients.shape[1] + 1)
    return coefficients @ (powers * theta ** (powers - 1))


def unit_vector(size: int, index: int) -> np.ndarray:
    return np.eye(size)[index]


def test_the_rooted_trees_are_all_there() -> None:
    assert [len(trees_of(order)) for order in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert density(((((),),),)) == 24  # the tall tree of order 4
    assert density(((), (), ())) == 4  # the bushy one


def test_the_folder_holds_the_methods_of_the_project() -> None:
    assert set(NUM_STAGES) <= set(TABLEAUS)
    assert set(EMBEDDED_ORDER) <= set(EMBEDDED)
    assert set(INTERPOLANT_ORDER) <= set(INTERPOLATED)


@pytest.mark.parametrize("name", TABLEAUS)
def test_a_method_says_where_it_comes_from(name: str) -> None:
    assert TABLEAUS[name].source


@pytest.mark.parametrize("name", METHODS)
def test_a_method_satisfies_the_order_conditions_up_to_its_order(name: str) -> None:
    for order in range(1, METHODS[name].order + 1):
        assert largest_defect(name, propagated_weights(name), order) < TOLERANCE


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_not_of_higher_order_than_it_claims(name: str) -> None:
    assert largest_defect(name, propagated_weights(name), METHODS[name].order + 1) > 1e-6


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_method_is_exactly_of_its_lower_order(name: str) -> None:
    embedded_order = EMBEDDED_ORDER.get(name, TABLEAUS[name].order - 1)
    for order in range(1, embedded_order + 1):
        assert largest_defect(name, embedded_weights(name), order) < TOLERANCE
    # Without a defect in the next order, the estimate would be blind to the error it estimates.
    assert largest_defect(name, embedded_weights(name), embedded_order + 1) > 1e-6


@pytest.mark.parametrize("theta", [0.1, 0.25, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("name", INTERPOLATED)
def test_an_interpolant_satisfies_the_order_conditions_inside_the_step(name: str, theta: float) -> None:
    for order in range(1, INTERPOLANT_ORDER.get(name, TABLEAUS[name].order - 1) + 1):
        assert largest_defect(name, interpolant_weights(name, theta), order, theta) < TOLERANCE


@pytest.mark.parametrize("name", sorted(INTERPOLANT_ORDER))
def test_an_interpolant_is_not_of_higher_order_than_stated_here(name: str) -> None:
    order = INTERPOLANT_ORDER[name] + 1
    assert largest_defect(name, interpolant_weights(name, 0.25), order, 0.25) > 1e-6


@pytest.mark.parametrize("name", INTERPOLATED)
def test_an_interpolant_starts_with_y0_and_f0_and_ends_with_y1(name: str) -> None:
    np.testing.assert_array_equal(interpolant_weights(name, 0.0), np.zeros(TABLEAUS[name].num_stages))
    np.testing.assert_array_equal(
        interpolant_slopes(name, 0.0), unit_vector(TABLEAUS[name].num_stages, index=0)
    )
    np.testing.assert_allclose(interpolant_weights(name, 1.0), TABLEAUS[name].b, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", [name for name in INTERPOLATED if TABLEAUS[name].is_fsal])
def test_the_interpolant_of_an_fsal_method_ends_with_the_slope_f1(name: str) -> None:
    np.testing.assert_allclose(
        interpolant_slopes(name, 1.0),
        unit_vector(TABLEAUS[name].num_stages, index=-1),
        rtol=0,
        atol=TOLERANCE,
    )


@pytest.mark.parametrize(("name", "num_stages"), NUM_STAGES.items())
def test_stages_and_fsal_are_derived(name: str, num_stages: int) -> None:
    assert TABLEAUS[name].num_stages == num_stages
    assert TABLEAUS[name].is_fsal == (name in FSAL)


@pytest.mark.parametrize("name", ["adaptive_heun", "fehlberg2", "bosh3", "dopri5", "dopri8"])
def test_the_adaptive_methods_have_torchdiffeqs_coefficients(name: str) -> None:
    ours, theirs = TABLEAUS[name], SOLVERS[name]
    assert ours.order == theirs.order
    np.testing.assert_array_equal(ours.c, [0.0, *map(float, theirs.tableau.alpha)])
    for our_row, their_row in zip(ours.a[1:], theirs.tableau.beta, strict=True):
        np.testing.assert_array_equal(our_row, their_row)
    np.testing.assert_array_equal(ours.b, theirs.tableau.c_sol)
    np.testing.assert_array_equal(ours.b_err, theirs.tableau.c_error)


@pytest.mark.parametrize("name", ["dopri5", "dopri8"])
def test_the_interpolant_passes_through_torchdiffeqs_midpoint(name: str) -> None:
    # For dopri5 this is the whole polynomial: a quartic is fixed by both ends, both slopes and the middle.
    np.testing.assert_allclose(interpolant_weights(name, 0.5), SOLVERS[name].mid, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "name_there"),
    [
        ("euler", "euler"),
        ("midpoint", "midpoint"),
        ("heun", "heun2"),
        ("heun3", "heun3"),
        ("rk4_38", "rk4"),
    ],
)
def test_the_fixed_step_methods_mean_what_they_mean_in_torchdiffeq(name: str, name_there: str) -> None:
    def f(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.sin(3 * t) * y[1], y[0] * y[1] - t])

    dt, y0 = 0.3, torch.tensor([0.7, -0.4], dtype=torch.float64)
    tableau = TABLEAUS[name]
    ks: list[torch.Tensor] = []
    for c, row in zip(tableau.c, tableau.a, strict=True):
        t = torch.tensor(c * dt, dtype=torch.float64)
        ks.append(f(t, y0 + dt * sum(weight * k for weight, k in zip(row, ks, strict=True))))
    y1 = y0 + dt * sum(weight * k for weight, k in zip(tableau.b, ks, strict=True))

    ts = torch.tensor([0.0, dt], dtype=torch.float64)
    torch.testing.assert_close(y1, torchdiffeq.odeint(f, y0, ts, method=name_there)[-1], rtol=0, atol=1e-14)


@pytest.mark.parametrize(("name", "theirs"), [("bosh3", RK23), ("dopri5", RK45)])
def test_the_coefficients_are_those_of_scipy(name: str, theirs: type[RK45]) -> None:
    ours = TABLEAUS[name]
    np.testing.assert_array_equal(ours.c[:-1], theirs.C)
    np.testing.assert_array_equal(ours.b[:-1], theirs.B)
    for i, row in enumerate(ours.a[:-1]):
        np.testing.assert_array_equal(row, theirs.A[i, :i])


def test_dopri5_interpolates_like_scipy_and_estimates_two_thirds_of_its_error() -> None:
    np.testing.assert_array_equal(TABLEAUS["dopri5"].interpolant, RK45.P)
    np.testing.assert_allclose(TABLEAUS["dopri5"].b_err, -2 / 3 * RK45.E, rtol=1e-12)


PAGE = Path(__file__).parents[2] / "docs" / "own.md"
EULER = 'ButcherTableau(name="{name}", order=1, c=(0.0,), a=((),), b=(1.0,), source="a test")'
IMPORT = "from nodebench.ode.methods.tableau import ButcherTableau"


def write_package(folder: Path, package: str, files: dict[str, str]) -> None:
    """A package of tableau modules under `folder`: file name -> the right side of `TABLEAU =`."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").touch()
    for name, tableau in files.items():
        source = f"{IMPORT}\n\nTABLEAU = {tableau}\n"
        (folder / package / f"{name}.py").write_text(source)


def test_a_file_dropped_into_the_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: EULER.format(name=name) for name in ("zeta", "alpha")}
    write_package(tmp_path, "dropped_tableaus", files)
    monkeypatch.syspath_prepend(tmp_path)
    tableaus = load_tableaus("dropped_tableaus")
    assert list(tableaus) == ["alpha", "zeta"]
    assert tableaus["zeta"].name == "zeta"


def test_a_tableau_with_another_name_than_its_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_package(tmp_path, "misnamed_tableaus", {"right": EULER.format(name="wrong")})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"`misnamed_tableaus\.right` holds a tableau named `wrong`"):
        load_tableaus("misnamed_tableaus")


def test_a_file_without_a_tableau_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, "empty_tableaus", {"nothing": "None"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"`empty_tableaus\.nothing` has no ButcherTableau named TABLEAU"):
        load_tableaus("empty_tableaus")


def shown_file() -> str:
    """The tableau file that docs/own.md shows, as it stands there."""
    _, section = PAGE.read_text(encoding="utf-8").split("**A Runge-Kutta method**")
    return section.split("```python\n")[1].split("```")[0]


def test_the_file_in_the_docs_works_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(tmp_path, "shown_tableaus", {})
    (tmp_path / "shown_tableaus" / "heun.py").write_text(shown_file())
    monkeypatch.syspath_prepend(tmp_path)
    assert load_tableaus("shown_tableaus") == {"heun": TABLEAUS["heun"]}


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (
            "TABLEAU = ButcherTableau()",
            r"NameError: .*; begin the file with `from nodebench\.ode\.methods\.tableau import",
        ),
        ("TABLEAU = (", r"SyntaxError: .* \(bad\.py, line 1\); correct the file, or remove it"),
        (
            "import nowhere_to_be_found",
            r"ModuleNotFoundError: No module named 'nowhere_to_be_found'; correct",
        ),
        (
            f"{IMPORT}\nTABLEAU = {EULER.replace('order=1', 'order=0')}",
            r"ValueError: tableau `\{name\}`: order is 0; it must be at least 1; correct",
        ),
    ],
)
def test_a_file_that_python_refuses_is_named(
    source: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"bad_tableaus_{tmp_path.name}"  # Python remembers packages by their name
    write_package(tmp_path, package, {})
    (tmp_path / package / "bad.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=rf"the tableau file `{package}\.bad` cannot be imported: {what}"):
        load_tableaus(package)


def test_the_folder_is_read_once() -> None:
    assert load_tableaus() is TABLEAUS
