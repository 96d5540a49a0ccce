"""Euler's method, y1 = y + dt f(t, y): order 1, one stage, no embedded method.

Also called forward or explicit Euler. With dt = 1 it is a residual network, h(t+1) = h(t) + f(h(t)).

Source: Euler, Institutionum calculi integralis I (1768), section II, chapter VII.
"""

from __future__ import annotations

from nodebench.ode.methods.tableau import ButcherTableau

TABLEAU = ButcherTableau(
    name="euler",
    order=1,
    c=(0.0,),
    a=((),),
    b=(1.0,),
    source="Euler (1768)",
)
