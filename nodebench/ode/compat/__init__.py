"""torchdiffeq's interface on nodebench's solvers: change one import, keep the call.

`odeint` and `odeint_adjoint` take the arguments of torchdiffeq 0.2.5, and the methods that its main branch has since
(tsit5 and implicit ones at fixed steps), and mean the same by them. Where they differ:

- No evaluation lies outside the interval: the last step ends on the last output (there: `step_t=t[-1:]`). Where a
  step is shortened to meet such a time, the callbacks hear its real length, and the next step starts from the
  controller's last wish instead of from the shortened one.
- `adaptive_heun` and `fehlberg2` evaluate f anew at each step's start; there they reuse a stage from another point.
- `odeint_adjoint` computes dL/dt from f at the outputs. There it is part of the backward state and of its norm, even
  where t does not require grad; take it out of that norm, and the steps are the same ones. Each output interval goes
  on with the last step size instead of the initial-step rule. Backward callbacks hear the true time.
- A landing on an output passes its gradient to t, also on a grid; grid points between outputs are constants.
- A vector field that uses a tensor which requires grad and is not among `adjoint_params` is an error; there its
  gradient is silently missing. So is an unknown option, which there is a warning.
- A vector field returns tensors of the state's own shapes; there, of as many elements, in any shape.
- The implicit methods solve by Newton's iteration with Jacobians, to rtol and atol, and a step that cannot be solved
  is an error (there: by Broyden's, to 1e-8 or 1e-6, with a warning). `gl4` evaluates at its own nodes (there: both of
  its stages at the first). Gradients do not go through the iteration, so there is no second derivative. Complex
  states are solved as their parts.
- The Adams methods are of order 4 (there: of order up to 12, so `max_order` is refused) and restart where the step
  changes.
- `scipy_solver` solves complex states too, as their parts. Where something requires grad that `odeint` records there as
  little as here, a warning says so; `min_step` with a solver that has none is one too. norm has no effect on it.
- States are in single or double precision, all entries of a tuple in one; half precision is refused.
- Failures raise nodebench.ode.SolverError, not AssertionError, and a fixed-step solve that ends in NaN fails too.
- Events are looked for inside the steps too, and located to rounding (there: at the steps' ends, to atol). Those that
  never come are an error: of `max_num_steps`, or where time has run out of numbers. `odeint_event` gives event_fn's
  parameters gradients. Fixed steps need `step_size` with an event, as there, and SciPy's solvers refuse one.
- `odeint_dense` takes any method of single steps, and tuple states (there: dopri5, and tensors).
- Time is float64, whatever `dtype` says.
"""

from nodebench.ode.compat.events import odeint_dense, odeint_event
from nodebench.ode.compat.odeint import odeint, odeint_adjoint

__all__ = ["odeint", "odeint_adjoint", "odeint_dense", "odeint_event"]
