"""The three gradients of solves whose samples have steps of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode import Solution, SolveStats, odeint

DTYPE = torch.float64
GRADIENTS = ("direct", "checkpointed", "adjoint")
TS = (0.0, 0.3, 0.35, 1.0)


class Net(nn.Module):
    """dy/dt = W2 tanh(W1 y + t v) + c sin y, whose samples differ in speed by their size."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w1, self.w2 = (
            nn.Parameter(torch.randn(2, 2, generator=generator, dtype=DTYPE)) for _ in range(2)
        )
        self.v = nn.Parameter(torch.randn(2, generator=generator, dtype=DTYPE))
        self.unused = nn.Parameter(torch.zeros(1, dtype=DTYPE))

    def forward(self, t: Tensor, y: Tensor, c: Tensor | float = 0.5) -> Tensor:
        t = t.view(-1, 1) if t.dim() else t
        square = y.square().sum(1, keepdim=True)
        speed = 1 + 6 * square / (1 + square)
        return speed * (torch.tanh(y @ self.w1.T + t * self.v) @ self.w2.T) + c * torch.sin(y)


def starts() -> Tensor:
    return torch.tensor([[0.1, 0.2], [1.0, -2.0], [0.0, 0.5], [-0.3, 0.1]], dtype=DTYPE)


def gradients(
    gradient: str, *args: Tensor, ts: Any = TS, **settings: Any
) -> tuple[list[Tensor], Solution[Any], list[Tensor | None]]:
    """Those of a loss over all outputs, by y0, args and parameters."""
    net, y0 = Net(), starts().requires_grad_()
    settings = {"rtol": 1e-9, "atol": 1e-10, "steps": "per_sample", **settings}
    solution = odeint(net, y0, ts, args, gradient=gradient, **settings)
    weights = torch.linspace(1, 2, solution.ys.numel(), dtype=DTYPE).view_as(solution.ys)
    (solution.ys.square() * weights).sum().backward()
    leaves = [y0, *args, net.w1, net.w2, net.v]
    return [leaf.grad for leaf in leaves], solution, [net.unused.grad]  # type: ignore[misc]


def close(found: list[Tensor], expected: list[Tensor], rtol: float) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "adaptive_heun", "dopri8"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_are_those_of_shared_steps_at_tight_tolerance(
    gradient: str, whole: bool, method: str
) -> None:
    def args() -> list[Tensor]:
        rows = torch.tensor([[0.5], [0.1], [-0.3], [0.7]], dtype=DTYPE)
        return [rows.requires_grad_()] if whole else []

    tol, within = {"adaptive_heun": (1e-4, 2e-2), "bosh3": (1e-7, 1e-4)}.get(method, (1e-9, 2e-6))
    expected, _, _ = gradients("direct", *args(), steps="shared", method="dopri8", rtol=1e-11, atol=1e-11)
    # The first steps are rejected, backwards too, and by some samples more often than by others.
    settings = {"method": method, "rtol": tol, "atol": tol, "first_step": 0.3}
    found, solution, (unused,) = gradients(gradient, *args(), **settings)
    stats = solution.stats.backward if gradient == "adjoint" else solution.stats.forward
    assert stats.num_rejected
    close(found, expected, within)
    assert unused is None


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("method", ["dopri5", "bosh3", "adaptive_heun"])
def test_checkpointed_is_direct_to_rounding_on_coarse_steps(method: str, whole: bool) -> None:
    def args() -> list[Tensor]:
        return [torch.full((4, 1), 0.5, dtype=DTYPE, requires_grad=True)] if whole else []

    settings = {"method": method, "rtol": 1e-3, "atol": 1e-4, "first_step": 0.9}
    direct, solution, _ = gradients("direct", *args(), **settings)
    found, again, _ = gradients("checkpointed", *args(), **settings)
    assert solution.stats.forward.num_rejected
    torch.testing.assert_close(again.ys, solution.ys, rtol=0.0, atol=1e-14)
    close(found, direct, 1e-11)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_gradients_are_finite_differences(gradient: str) -> None:
    net = Net()
    torch.manual_seed(1)

    def solved(y0: Tensor, w1: Tensor, c: Tensor) -> Tensor:
        def field(t: Tensor, y: Tensor, w1: Tensor, c: Tensor) -> Tensor:
            return torch.func.functional_call(net, {"w1": w1}, (t, y, c))

        settings: dict[str, Any] = {"method": "dopri8", "rtol": 1e-9, "atol": 1e-9, "steps": "per_sample"}
        params = [p for p in net.parameters() if p is not net.w1]
        return odeint(field, y0, TS, (w1, c), gradient=gradient, params=params, **settings).ys[2:]

    c = torch.tensor([[0.5], [0.1]], dtype=DTYPE, requires_grad=True)
    w1 = net.w1.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(
        solved, (starts()[:2].requires_grad_(), w1, c), eps=1e-6, atol=1e-6, fast_mode=True
    )


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_samples_gradient_does_not_depend_on_the_samples_beside_it(gradient: str) -> None:
    def grad(samples: list[int]) -> Tensor:
        y0 = starts()[samples].requires_grad_()
        solution = odeint(
            Net(), y0, TS, gradient=gradient, rtol=1e-4, atol=1e-5, steps="per_sample", method="dopri5"
        )
        (found,) = torch.autograd.grad(solution.ys.square().sum(), y0)
        return found

    together = grad([0, 1, 2, 3])
    for i in range(4):
        torch.testing.assert_close(grad([i]), together[i : i + 1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_with_times_of_their_own_are_those_of_solves_one_by_one(gradient: str) -> None:
    ts = torch.tensor([[0.0, 0.5, 1.0], [0.1, 0.2, 0.2], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.5]], dtype=DTYPE)
    found, solution, _ = gradients(gradient, ts=ts)
    net, y0 = Net(), starts().requires_grad_()
    weights = torch.linspace(1, 2, solution.ys.numel(), dtype=DTYPE).view_as(solution.ys)
    total = torch.zeros((), dtype=DTYPE)
    for i, times in enumerate([ts[0], ts[1, :2], ts[2, :1], ts[3]]):
        one = odeint(net, y0[i : i + 1], times, gradient="direct", rtol=1e-9, atol=1e-10, method="dopri8")
        ys = torch.cat([one.ys, one.ys[-1:].expand(3 - len(times), 1, 2)])
        torch.testing.assert_close(solution.ys[:, i : i + 1], ys, rtol=1e-7, atol=1e-8)
        total = total + (ys.square() * weights[:, i : i + 1]).sum()
    expected = torch.autograd.grad(total, [y0, net.w1, net.w2, net.v])
    close(found, list(expected), 1e-6)


@pytest.mark.parametrize("norm", ["state", "seminorm", None])
def test_the_adjoint_is_counted_by_sample_and_its_settings_are_heeded(norm: str | None) -> None:
    ts = (0.0, 3.0)
    loose, solution, _ = gradients("adjoint", ts=ts, adjoint_norm=norm, adjoint_rtol=1e-3, adjoint_atol=1e-3)
    tight, dear, _ = gradients("adjoint", ts=ts, adjoint_norm=norm)
    few, many = (s.stats.backward.samples for s in (solution, dear))
    assert few is not None
    assert many is not None
    assert (few.nfe < many.nfe).all()
    assert many.nfe.max() > many.nfe.min()
    assert dear.stats.backward.nfe <= 2 + int(many.nfe.max())
    assert not torch.allclose(loose[0], tight[0], rtol=1e-7, atol=0.0)
    close(loose, tight, 0.2)


def test_direct_has_a_second_derivative() -> None:
    y0 = torch.tensor([[0.5], [1.0]], dtype=DTYPE, requires_grad=True)
    ys = odeint(
        lambda t, y: y * y, y0, [0.0, 0.5], gradient="direct", rtol=1e-9, atol=1e-9, steps="per_sample"
    ).ys
    (first,) = torch.autograd.grad(ys[-1].sum(), y0, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), y0)
    torch.testing.assert_close(second, 2 * 0.5 / (1 - 0.5 * y0.detach()) ** 3, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("gradient", ["checkpointed", "adjoint"])
def test_a_hidden_tensor_and_a_second_derivative_are_refused(gradient: str) -> None:
    hidden = torch.ones((), dtype=DTYPE, requires_grad=True)
    with pytest.raises(ValueError, match="neither in `params` nor in `args`"):
        odeint(lambda t, y: hidden * y, starts(), TS, gradient=gradient, steps="per_sample")
    y0 = starts().requires_grad_()
    ys = odeint(Net(), y0, TS, gradient=gradient, steps="per_sample").ys
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(ys.sum(), y0, create_graph=True)


@pytest.mark.parametrize("norm", ["full", "joint"])
def test_norms_of_the_parameters_integrals_are_refused(norm: str) -> None:
    with pytest.raises(ValueError, match="belong to no one sample"):
        odeint(Net(), starts(), TS, gradient="adjoint", adjoint_norm=norm, steps="per_sample")


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_sample_that_fails_gives_the_others_their_gradients(gradient: str) -> None:
    y0 = torch.tensor([[0.1], [4.0], [0.3]], dtype=DTYPE, requires_grad=True)
    rate = torch.ones((), dtype=DTYPE, requires_grad=True)

    def field(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
        return rate * y * y

    solution = odeint(
        field,
        y0,
        [0.0, 0.1, 1.0],
        (rate,),
        gradient=gradient,
        rtol=1e-9,
        atol=1e-9,
        steps="per_sample",
        raise_on_failure=False,
    )
    assert list(solution.failures) == [1]
    (solution.ys[1].sum() + solution.ys[2, [0, 2]].sum()).backward()
    assert y0.grad is not None
    assert rate.grad is not None
    start = y0.detach()
    first, last = 1 / (1 - 0.1 * start).square(), 1 / (1 - start).square()
    expected = first + last * torch.tensor([[1.0], [0.0], [1.0]], dtype=DTYPE)
    torch.testing.assert_close(y0.grad, expected, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("broken", [1e200, torch.nan])
@pytest.mark.parametrize("first_step", [None, 0.1])
@pytest.mark.parametrize("method", ["dopri5", "adaptive_heun"])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_sample_that_is_finite_nowhere_leaves_the_gradients_of_the_others_as_they_are(
    gradient: str, whole: bool, method: str, first_step: float | None, broken: float
) -> None:
    def grads(starts: list[float], healthy: list[int]) -> list[Tensor]:
        y0 = torch.tensor(starts, dtype=DTYPE)[:, None].requires_grad_()
        rate = torch.tensor(2.0, dtype=DTYPE, requires_grad=True)
        rows = torch.ones_like(y0).requires_grad_()
        ts = torch.tensor([0.0, 0.5, 1.0], dtype=DTYPE, requires_grad=True)

        def field(t: Tensor, y: Tensor, rows: Tensor | float = 1.0) -> Tensor:
            return -rate * rows * y**3

        settings: dict[str, Any] = {} if first_step is None else {"first_step": first_step}
        solution = odeint(
            field,
            y0,
            ts,
            (rows,) if whole else (),
            params=(rate,),
            method=method,
            gradient=gradient,
            steps="per_sample",
            raise_on_failure=False,
            **settings,
        )
        assert len(solution.failures) == len(starts) - len(healthy)
        solution.ys[1:, healthy].sum().backward()
        leaves = [rate, ts, y0] + ([rows] if whole else [])
        found = [leaf.grad for leaf in leaves if leaf.grad is not None]
        assert len(found) == len(leaves)
        return [grad[healthy] if grad.dim() == 2 else grad for grad in found]

    close(grads([1.0, broken, 2.0, 0.5, 1.5], [0, 2, 3, 4]), grads([1.0, 2.0, 0.5, 1.5], [0, 1, 2, 3]), 1e-12)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_sample_that_is_finite_at_no_time_leaves_the_gradients_of_the_others_as_they_are(
    gradient: str,
) -> None:
    def grad(ts: list[list[float]]) -> Tensor:
        rate = torch.tensor(2.0, dtype=DTYPE, requires_grad=True)

        def field(t: Tensor, y: Tensor, rows: Tensor) -> Tensor:
            return -rate * torch.sqrt(1.5 - t)[:, None] * rows * y  # at later times there is no field

        y0 = torch.ones(len(ts), 1, dtype=DTYPE)
        times, settings = torch.tensor(ts, dtype=DTYPE), {"steps": "per_sample", "raise_on_failure": False}
        solution = odeint(field, y0, times, (y0,), params=(rate,), gradient=gradient, **settings)  # type: ignore[arg-type]
        solution.ys[-1, :2].sum().backward()
        assert rate.grad is not None
        return rate.grad

    healthy = [[0.0, 1.0], [0.5, 1.0]]
    close([grad([*healthy, [2.0, 3.0]])], [grad(healthy)], 1e-12)


def test_counts_of_checkpointed_are_the_steps_that_stand() -> None:
    stats = SolveStats()
    y0 = starts().requires_grad_()
    ys = odeint(Net(), y0, TS, gradient="checkpointed", steps="per_sample", stats=stats, rtol=1e-4).ys
    ys.sum().backward()
    samples = stats.forward.samples
    assert samples is not None
    assert stats.backward.nfe <= 7 * (int(samples.num_accepted.max()) + int(samples.num_rejected.max()))


def test_without_a_graph_the_three_are_one_plain_solve() -> None:
    with torch.no_grad():
        results = [odeint(Net(), starts(), TS, gradient=g, steps="per_sample").ys for g in GRADIENTS]
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("own", [False, True])
def test_times_get_the_gradient_of_the_ode(gradient: str, own: bool) -> None:
    def grad(steps: str, gradient: str) -> Tensor:
        times = torch.tensor(TS, dtype=DTYPE)
        if own:
            times = 0.1 + times * torch.linspace(0.5, 1.5, 4, dtype=DTYPE)[:, None]
        times.requires_grad_()
        solver: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9, "method": "dopri8", "gradient": gradient}
        if steps == "per_sample":
            ys = odeint(Net(), starts(), times, steps=steps, **solver).ys
        else:
            rows = times if own else times.expand(4, -1)
            ys = torch.cat(
                [odeint(Net(), starts()[i : i + 1], rows[i], **solver).ys for i in range(4)], dim=1
            )
        weights = torch.linspace(1, 2, ys.numel(), dtype=DTYPE).view_as(ys)
        (found,) = torch.autograd.grad((ys.square() * weights).sum(), times)
        return found

    torch.testing.assert_close(grad("per_sample", gradient), grad("shared", "adjoint"), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_sample_that_came_to_rest_before_the_others_has_its_gradient(gradient: str) -> None:
    ts = torch.tensor([[-1.0, 0.0, 0.0, 0.0], [0.0, 0.3, 0.6, 1.0]] * 2, dtype=DTYPE)
    expected, _, _ = gradients("direct", ts=ts, rtol=1e-11, atol=1e-11)
    found, _, _ = gradients(gradient, ts=ts, rtol=1e-9, atol=1e-9)
    close(found, expected, 1e-5)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("where", [1e300, float("inf"), float("nan")])
def test_a_sample_at_rest_where_f_is_not_finite_leaves_the_gradients_of_the_others_finite(
    gradient: str, where: float
) -> None:
    rate = nn.Parameter(torch.tensor(1.0, dtype=DTYPE))
    alone, beside = (
        odeint(
            lambda t, y: rate * y * y,
            y0,
            ts,
            params=(rate,),
            steps="per_sample",
            gradient=gradient,
            raise_on_failure=False,
        )
        for y0, ts in (
            (torch.tensor([[0.5]], dtype=DTYPE), [[0.0, 1.0]]),
            (torch.tensor([[where], [0.5]], dtype=DTYPE), [[0.0, 0.0], [0.0, 1.0]]),
        )
    )
    (expected,) = torch.autograd.grad(alone.ys[1, 0].sum(), rate)
    (got,) = torch.autograd.grad(beside.ys[1, 1].sum(), rate)
    assert torch.equal(beside.ys[1, 0], beside.ys[0, 0]) or where != where
    assert got.item() == pytest.approx(expected.item(), rel=1e-12)
