"""Bogacki and Shampine's pair of orders 3 and 2: four stages, the last reused by the next step (FSAL).

Also called BS3, BS23, RK23 (SciPy) and ode23 (MATLAB). b_err is written as b - b_hat; the embedded b_hat has
order 2.

Source: Bogacki & Shampine, A 3(2) pair of Runge-Kutta formulas, Appl. Math. Lett. 2 (1989), 321-325.
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="bosh3",
    order=3,
    c=(0.0, 1 / 2, 3 / 4, 1.0),
    a=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    b=(2 / 9, 1 / 3, 4 / 9, 0.0),
    b_err=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
    source="Bogacki & Shampine (1989)",
)
