"""What flows compute for a change of density, over their dimension D and their units M: determinants and traces.

Chen et al. 2018, section 4: a layer needs the determinant of its Jacobian, in general O(D^3); a continuous flow needs
a trace, and that of M planar units is O(M D).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nodebench.benchmark.bare import enough_calls
from nodebench.benchmark.contestants import Contestant, Measured, Stopwatch, flat
from nodebench.benchmark.problems import OWN, seeded
from nodebench.models.flows import ConcatSquashField, PlanarField

WIDTH, PLANE = 64, 2  # units while the dimension grows; the dimension, the paper's, while the units do
HIDDEN_DIM = 32  # of the planar field's hypernetwork

Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Cost:
    """One thing to compute for `num_points` points at once, at sizes of `axis`: "dim" for D, "units" for M.

    `order` is the exponent of the size in the number of operations. `make(size, num_points)` gives the call.
    """

    name: str
    axis: str
    order: int
    num_points: int
    make: Callable[[int, int], Call]


def general_determinant(dim: int, num_points: int) -> Call:
    """log|det J| (N,) of Jacobians (N, D, D), by LU factorisation."""
    jacobians = _jacobians(dim, num_points)
    return lambda: torch.linalg.slogdet(jacobians).logabsdet


def general_trace(dim: int, num_points: int) -> Call:
    """tr J (N,) of the same Jacobians."""
    jacobians = _jacobians(dim, num_points)
    return lambda: jacobians.diagonal(dim1=1, dim2=2).sum(1)


def planar_field(dim: int, width: int, num_points: int) -> Call:
    """dz/dt and its trace, (D + 1, N), of `width` planar units at one time, the hypernetwork included."""
    field = PlanarField(width, HIDDEN_DIM, dim, "paper")
    t, y = torch.tensor(0.5), torch.randn(dim + 1, num_points)
    return lambda: field(t, y)


def general_field(dim: int, num_points: int, *, exact: bool) -> Call:
    """dz/dt and its trace, (D + 1, N), of a net with one hidden layer: exact by D tangents, or estimated by one."""
    field = ConcatSquashField(dim, (WIDTH,))
    t, y = torch.tensor(0.5), torch.randn(dim + 1, num_points)
    noise = None if exact else torch.randn(dim, num_points)
    return lambda: field(t, y, noise)


def wide_layer(width: int, num_points: int, *, by_units: bool, dim: int = PLANE) -> Call:
    """log|det J| (N,) of z + U tanh(W z + b) with M units: J = I + U diag(h') W, by M x M or by D x D matrices.

    Both have the same determinant (Sylvester's identity): det(I + U diag(h') W) = det(I + diag(h') W U).
    """
    w, u = torch.randn(width, dim), torch.randn(dim, width) / width
    b, z = torch.randn(width), torch.randn(num_points, dim)

    def log_det() -> Tensor:
        rates = 1 - torch.tanh(torch.addmm(b, z, w.T)).square()  # (N, M)
        product = rates.unsqueeze(2) * (w @ u) if by_units else torch.matmul(u * rates.unsqueeze(1), w)
        product.diagonal(dim1=1, dim2=2).add_(1)
        return torch.linalg.slogdet(product).logabsdet

    return log_det


COSTS = (
    Cost("log-determinant of a D x D Jacobian", "dim", 3, 4, general_determinant),
    Cost("trace of a D x D Jacobian", "dim", 1, 4, general_trace),
    Cost("planar units, value and trace", "dim", 1, 256, lambda dim, n: planar_field(dim, WIDTH, n)),
    Cost("general net, value and exact trace", "dim", 2, 4, partial(general_field, exact=True)),
    Cost("general net, value and estimated trace", "dim", 1, 256, partial(general_field, exact=False)),
    Cost("planar units, value and trace", "units", 1, 256, lambda width, n: planar_field(PLANE, width, n)),
    Cost("wide layer, determinant M x M", "units", 3, 4, partial(wide_layer, by_units=True)),
    Cost("wide layer, determinant D x D", "units", 1, 256, partial(wide_layer, by_units=False)),
)


@dataclass(frozen=True)
class Case:
    """One cost at one size."""

    cost: Cost
    size: int
    call: Call
    contestant: Contestant


def make_cases(sizes: Sequence[int], device: torch.device) -> list[Case]:
    """Everything in COSTS at every size."""
    cases = []
    for cost in COSTS:
        for size in sizes:
            with seeded(), torch.device(device):
                call = cost.make(size, cost.num_points)
            name = f"{cost.name} at {cost.axis} {size}"
            contestant = Contestant(name, OWN, OWN, "", partial(_timed, call, device))
            cases.append(Case(cost, size, call, contestant))
    return cases


def flops_of(call: Call) -> int | None:
    """FLOPs in matrix products and LU factorisations, 2/3 n^3 each (Golub & Van Loan, 3.2.9); None without any."""
    counted = {torch.ops.aten._linalg_slogdet: _lu_flops}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=counted) as counter:
        call()
    return int(counter.get_total_flops()) or None


def _lu_flops(shape: Sequence[int], *_: object, **__: object) -> int:
    *batch, n, _n = shape
    return round(torch.Size(batch).numel() * 2 / 3 * n**3)


def _jacobians(dim: int, num_points: int) -> Tensor:
    return torch.eye(dim) + 0.5 * torch.randn(num_points, dim, dim) / dim**0.5


def _timed(call: Call, device: torch.device) -> Measured:
    """One call, a mean over some in a row where it is short."""
    with torch.no_grad():
        watch = Stopwatch(device)
        call()
        num_calls = enough_calls(watch.lap())
        for _ in range(num_calls):
            value = call()
        return Measured(watch.lap() / num_calls, None, 1, None, flat(value), None)
