"""Fehlberg's pair of orders 2 and 1: three stages, order 2 propagated.

Also called RK1(2) or RKF12; torchdiffeq's `fehlberg2`. The embedded method, b_hat = (1/256, 255/256, 0), has
order 1. Fehlberg propagates that one and reuses its last stage; here, as in torchdiffeq, the solution of
order 2 is propagated, at which f has not been evaluated, so the method is not FSAL.

Source: Fehlberg, Low-order classical Runge-Kutta formulas with stepsize control and their application to some
heat transfer problems, NASA TR R-315 (1969), RK1(2).
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="fehlberg2",
    order=2,
    c=(0.0, 1 / 2, 1.0),
    a=((), (1 / 2,), (1 / 256, 255 / 256)),
    b=(1 / 512, 255 / 256, 1 / 512),
    b_err=(-1 / 512, 0.0, 1 / 512),
    source="Fehlberg (1969), NASA TR R-315",
)
