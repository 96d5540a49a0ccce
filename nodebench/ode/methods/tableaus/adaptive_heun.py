"""Heun's method of order 2 with an error estimate of order 1: two stages.

Also called Heun-Euler 2(1); torchdiffeq's `adaptive_heun`. The embedded method is y + dt k_1, as in
torchdiffeq; with Euler's y + dt k_0, the usual choice, the estimate only changes its sign. The second stage
is evaluated at Euler's point, not at y1, so the method is not FSAL.

Source: Heun, Neue Methoden zur approximativen Integration der Differentialgleichungen einer unabhängigen
Veränderlichen, Z. Math. Phys. 45 (1900), 23-38; the estimate's sign from torchdiffeq 0.2.5.
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="adaptive_heun",
    order=2,
    c=(0.0, 1.0),
    a=((), (1.0,)),
    b=(1 / 2, 1 / 2),
    b_err=(1 / 2, -1 / 2),
    source="Heun (1900)",
)
