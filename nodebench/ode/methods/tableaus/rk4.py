"""The classical Runge-Kutta method: order 4, four stages, no embedded method.

Published by Kutta. Also called RK4 or "the" Runge-Kutta method. Not torchdiffeq's `rk4`, which is the 3/8
rule (`rk4_38` here).

Source: Kutta, Beitrag zur näherungsweisen Integration totaler Differentialgleichungen, Z. Math. Phys. 46
(1901), 435-453; Hairer, Nørsett & Wanner, Solving Ordinary Differential Equations I, 2nd ed. (1993), table
II.1.2.
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="rk4",
    order=4,
    c=(0.0, 1 / 2, 1 / 2, 1.0),
    a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    source="Kutta (1901)",
)
