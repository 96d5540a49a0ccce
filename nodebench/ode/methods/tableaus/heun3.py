"""Heun's method of order 3: three stages, no embedded method.

Also called Heun's third-order formula; torchdiffeq's `heun3`.

Source: Heun, Neue Methoden zur approximativen Integration der Differentialgleichungen einer unabhängigen
Veränderlichen, Z. Math. Phys. 45 (1900), 23-38; Hairer, Nørsett & Wanner, Solving Ordinary Differential
Equations I, 2nd ed. (1993), section II.1.
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="heun3",
    order=3,
    c=(0.0, 1 / 3, 2 / 3),
    a=((), (1 / 3,), (0.0, 2 / 3)),
    b=(1 / 4, 0.0, 3 / 4),
    source="Heun (1900)",
)
