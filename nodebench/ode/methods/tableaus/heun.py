"""Heun's method of order 2, the explicit trapezoidal rule: two stages, no embedded method.

Also called improved Euler, and, like the midpoint rule, "modified Euler"; torchdiffeq's `heun2`.
`adaptive_heun` is the same method with an error estimate, `heun3` another method.

Source: Heun, Neue Methoden zur approximativen Integration der Differentialgleichungen einer unabhängigen
Veränderlichen, Z. Math. Phys. 45 (1900), 23-38.
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="heun",
    order=2,
    c=(0.0, 1.0),
    a=((), (1.0,)),
    b=(1 / 2, 1 / 2),
    source="Heun (1900)",
)
