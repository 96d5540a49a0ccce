"""The methods by name. A new tableau needs no line here."""

from __future__ import annotations

from functools import cache
from typing import Any

from nodebench.ode.methods.adams import Adams
from nodebench.ode.methods.explicit import ExplicitRungeKutta
from nodebench.ode.methods.implicit.collocation import COLLOCATION
from nodebench.ode.methods.implicit.coupled import CoupledImplicit
from nodebench.ode.methods.implicit.diagonal import DiagonallyImplicit
from nodebench.ode.methods.implicit.tableau import DIAGONAL
from nodebench.ode.methods.method import Method, SelfDriven
from nodebench.ode.methods.own import OWN
from nodebench.ode.methods.scipy import Scipy
from nodebench.ode.methods.tableau import ButcherTableau
from nodebench.ode.methods.tableaus import load_tableaus
from nodebench.ode.methods.traits import list_methods
from nodebench.ode.names import nearest

AnyMethod = str | ButcherTableau | Method | SelfDriven

WITHOUT_TABLEAU: dict[str, Method | SelfDriven] = {
    "explicit_adams": Adams("explicit_adams"),
    "implicit_adams": Adams("implicit_adams", max_iterations=4),
    "vode_adams": Scipy("vode_adams"),
    "lsoda": Scipy("lsoda"),
    **{name: DiagonallyImplicit(tableau) for name, tableau in DIAGONAL.items()},
    **{name: CoupledImplicit(tableau) for name, tableau in COLLOCATION.items()},
}


def find_method(method: AnyMethod) -> Method | SelfDriven:
    """The method of a name or a tableau; one that is a method already is that.

    Raises ValueError for a name that there is not, TypeError for what is no method.
    """
    if isinstance(method, ButcherTableau):
        return ExplicitRungeKutta(method)
    if not isinstance(method, str):
        return _checked(method)
    if method in OWN:
        return find_method(OWN[method])
    if method in WITHOUT_TABLEAU:
        return WITHOUT_TABLEAU[method]
    explicit = _explicit()
    if method not in explicit:
        raise ValueError(f"unknown method `{method}`; {nearest(method, list_methods())}")
    return explicit[method]


@cache
def _explicit() -> dict[str, ExplicitRungeKutta]:
    return {name: ExplicitRungeKutta(tableau) for name, tableau in load_tableaus().items()}


def _checked(method: Any) -> Method | SelfDriven:
    if isinstance(method, type) or not isinstance(method, (Method, SelfDriven)):
        raise TypeError(
            f"`method` is {method!r}; it must be one of list_methods(), a ButcherTableau or a Method (an object with "
            "`traits` and `begin`)"
        )
    if isinstance(method, SelfDriven) is not method.traits.is_self_driven:
        raise TypeError(
            f"`method` is {method!r}; its traits say is_self_driven where it has `drive`, and else not"
        )
    return method
