"""What each method can do, said once and read without torch: settings, gradients and configs ask here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nodebench.ode.methods.implicit.collocation import COLLOCATION, Collocation
from nodebench.ode.methods.implicit.tableau import DIAGONAL, DiagonalTableau
from nodebench.ode.methods.own import OWN
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.tableaus import load_tableaus

GRADIENTS = ("direct", "checkpointed", "adjoint")


@dataclass(frozen=True)
class Traits:
    """What a method can do. `order` is that of the propagated solution."""

    name: str
    order: int
    error_order: int | None = None  # of dt in its estimated error, where that is not `order`
    has_error: bool = False  # its steps can be chosen by their error
    has_interpolant: bool = False  # its steps have an `at` of their own; cubic Hermite serves the others
    knows_f1: bool = False  # a step with an error, or with outputs inside, comes with f1
    is_one_step: bool = (
        True  # a step follows from its start alone, so it can be taken again, and interpolated
    )
    iterates: bool = False  # its steps need a tolerance on a grid too
    is_implicit: bool = False  # it solves with Jacobians, of real states alone
    compiles: bool = False  # compiled/ has its step
    has_own_steps: bool = False  # each sample of a batch can have steps of its own
    is_self_driven: bool = (
        False  # steps and norm are its own: dt, controller and norm do not reach it, nor autograd
    )
    keeps_min_step: bool = True
    max_state: int | None = None  # numbers in a state

    @property
    def gradients(self) -> tuple[str, ...]:
        """The gradient modes that the method allows."""
        allowed = {"direct": not self.is_self_driven, "checkpointed": self.is_one_step}
        return tuple(name for name in GRADIENTS if allowed.get(name, True))


def of_tableau(tableau: ButcherTableau) -> Traits:
    """Those of an explicit Runge-Kutta method."""
    return Traits(
        tableau.name,
        tableau.order,
        has_error=tableau.has_error_estimate,
        has_interpolant=tableau.interpolant is not None,
        knows_f1=tableau.is_fsal,
        compiles=True,
        has_own_steps=tableau.has_error_estimate,
    )


def of_diagonal(tableau: DiagonalTableau) -> Traits:
    """Those of a diagonally implicit Runge-Kutta method."""
    # An estimate from an embedded solution of the order below is of the method's order in dt; one that is made apart,
    # for a method without such a solution, is of the order of the error itself.
    error_order = tableau.order + 1 if tableau.filters_error else None
    return Traits(
        tableau.name,
        tableau.order,
        error_order,
        has_error=tableau.b_err is not None,
        knows_f1=tableau.end is not None,
        iterates=True,
        is_implicit=True,
    )


def of_collocation(tableau: Collocation) -> Traits:
    """Those of a fully implicit Runge-Kutta method."""
    return Traits(tableau.name, tableau.order, iterates=True, is_implicit=True)


OF_OTHERS: dict[str, Traits] = {
    traits.name: traits
    for traits in (
        Traits("explicit_adams", order=4, is_one_step=False),
        Traits("implicit_adams", order=4, is_one_step=False, iterates=True),
        # Of varying order, 1 at the start.
        Traits("vode_adams", order=1, has_error=True, is_one_step=False, is_self_driven=True),
        Traits(
            "lsoda",
            order=1,
            has_error=True,
            is_one_step=False,
            is_self_driven=True,
            keeps_min_step=False,
            max_state=5_000,  # it allocates their dense Jacobian, 200 MB at this size
        ),
    )
}


def known_methods() -> dict[str, Traits]:
    """What every method can do, by name, in alphabetical order. Raises ValueError for a tableau file that is none."""
    return dict(
        sorted((shipped_methods() | {name: traits_of(method) for name, method in OWN.items()}).items())
    )


def shipped_methods() -> dict[str, Traits]:
    """The same without those that were added in this process."""
    tableaus = {name: of_tableau(tableau) for name, tableau in load_tableaus().items()}
    implicit = {name: of_diagonal(tableau) for name, tableau in DIAGONAL.items()}
    implicit |= {name: of_collocation(tableau) for name, tableau in COLLOCATION.items()}
    return tableaus | implicit | OF_OTHERS


def traits_of(method: Any) -> Traits:
    """Those of a tableau, or of a method that says them itself."""
    if isinstance(method, ButcherTableau):
        return of_tableau(method)
    traits: Traits = method.traits
    return traits


def list_methods() -> list[str]:
    """Every method's name, in alphabetical order."""
    return list(known_methods())


def adaptive_methods() -> list[str]:
    """The tableaus whose steps can be chosen by their error."""
    return [
        name for name, traits in known_methods().items() if traits.has_error and not traits.is_self_driven
    ]


def needs_tolerance(method: object, dt: float | None) -> bool:
    """Whether a solve heeds rtol and atol: its steps are chosen by their error, or the method iterates."""
    return dt is None or any(name == method and traits.iterates for name, traits in known_methods().items())
