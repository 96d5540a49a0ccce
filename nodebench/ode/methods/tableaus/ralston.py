"""Ralston's method of order 2: two stages, no embedded method.

Of all two-stage methods of order 2 it has the smallest bound on the truncation error. Some books call it
Heun's method; Ralston's methods of order 3 and 4 are others.

Source: Ralston, Runge-Kutta methods with minimum error bounds, Math. Comp. 16 (1962), 431-437.
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="ralston",
    order=2,
    c=(0.0, 2 / 3),
    a=((), (2 / 3,)),
    b=(1 / 4, 3 / 4),
    source="Ralston (1962)",
)
