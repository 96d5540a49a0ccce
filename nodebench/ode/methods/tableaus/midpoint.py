"""The explicit midpoint rule: order 2, two stages, no embedded method.

Published by Runge. Also called RK2, and, like Heun's method, "modified Euler". Not symplectic: that is the
implicit midpoint rule.

Source: Runge, Ueber die numerische Auflösung von Differentialgleichungen, Math. Ann. 46 (1895), 167-178.
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="midpoint",
    order=2,
    c=(0.0, 1 / 2),
    a=((), (1 / 2,)),
    b=(0.0, 1.0),
    source="Runge (1895)",
)
