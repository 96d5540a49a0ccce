"""Kutta's 3/8 rule: order 4, four stages, no embedded method.

Slightly smaller error constants than the classical method (`rk4`) at the same cost. It is what torchdiffeq
calls `rk4`.

Source: Kutta, Beitrag zur näherungsweisen Integration totaler Differentialgleichungen, Z. Math. Phys. 46
(1901), 435-453; Hairer, Nørsett & Wanner, Solving Ordinary Differential Equations I, 2nd ed. (1993), table
II.1.2.
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="rk4_38",
    order=4,
    c=(0.0, 1 / 3, 2 / 3, 1.0),
    a=((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    source="Kutta (1901), 3/8 rule",
)
