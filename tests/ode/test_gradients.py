"""What all three gradients share: the closed form, where gradients flow, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ode_fields import leaf
from torch import Tensor, nn

from nodebench.ode import odeint

DTYPE = torch.float64
GRADIENTS = ["direct", "checkpointed", "adjoint"]
WITHOUT_GRAPH = ["checkpointed", "adjoint"]
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


@pytest.mark.parametrize("times", [(0.2, 0.7, 1.5), (1.5, 0.7, 0.2)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("method", ["dopri5", "bosh3", "dopri8", "fehlberg2"])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_linear_growth_has_its_closed_form_gradients(
    gradient: str, method: str, times: tuple[float, ...], growth: Any
) -> None:
    theta = 0.7
    f, y0, ts = growth(theta), leaf(1.3, -0.4), torch.tensor(times, dtype=DTYPE, requires_grad=True)
    weights = torch.tensor([[0.5, 2.0], [-1.5, 0.3], [1.1, -0.7]], dtype=DTYPE)  # ys[0] is in the loss
    rtol = 1e-7 if method == "fehlberg2" else 1e-9
    ys = odeint(f, y0, ts, method=method, gradient=gradient, rtol=rtol, atol=rtol).ys
    (weights * ys).sum().backward()

    growths = [math.exp(theta * (t - times[0])) for t in times]
    pulls = [(w * y0.detach()).sum().item() for w in weights]  # w_i . y0
    dtheta = sum(p * g * (t - times[0]) for p, g, t in zip(pulls, growths, times, strict=True))
    dy0 = sum(w * g for w, g in zip(weights, growths, strict=True))
    dts = [p * g * theta for p, g in zip(pulls, growths, strict=True)]
    dts[0] = -sum(dts[1:])  # y(t0) itself does not move with t0
    accuracy = 1e-4 if method == "fehlberg2" else 1e-6
    assert f.theta.grad.item() == pytest.approx(dtheta, rel=accuracy, abs=4 * accuracy)
    assert y0.grad.tolist() == pytest.approx(dy0.tolist(), rel=accuracy, abs=accuracy)
    assert ts.grad.tolist() == pytest.approx(dts, rel=accuracy, abs=accuracy)


class Driven(nn.Module):
    """dy1/dt = w cos(t) + p . (0, 1) y2, dy2/dt = q y1: parameters that enter in different ways."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.8, dtype=DTYPE))
        self.frozen = nn.Parameter(torch.tensor(0.3, dtype=DTYPE), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(3, dtype=DTYPE))
        self.q = nn.Parameter(torch.tensor(-0.6, dtype=DTYPE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([self.w * torch.cos(t) + self.frozen * y[1], self.q * y[0]])


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_unused_and_frozen_parameters_receive_no_gradient(gradient: str) -> None:
    f = Driven()
    odeint(f, leaf(1.0, 0.5), [0.0, 1.0], gradient=gradient).ys.sum().backward()
    assert f.w.grad is not None
    assert f.q.grad is not None
    assert f.frozen.grad is None
    assert f.unused.grad is None


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
def test_a_field_whose_parameters_are_all_frozen_still_gives_the_states_gradient(gradient: str) -> None:
    grads = {}
    for mode in ("direct", gradient):
        f, y0 = Driven().requires_grad_(False), leaf(1.0, 0.5)
        odeint(f, y0, [0.0, 1.0], gradient=mode, **TIGHT).ys.square().sum().backward()
        grads[mode] = y0.grad
    torch.testing.assert_close(grads[gradient], grads["direct"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
def test_params_names_the_parameters_of_a_plain_function(gradient: str) -> None:
    w = leaf(0.7)
    ys = odeint(
        lambda t, y: w * y, torch.ones(1, dtype=DTYPE), [0.0, 1.0], gradient=gradient, params=[w], **TIGHT
    ).ys
    ys[-1].sum().backward()
    assert w.grad.item() == pytest.approx(math.exp(0.7), rel=1e-8)


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
def test_a_parameter_named_twice_is_counted_once(gradient: str) -> None:
    w = leaf(0.7)
    ys = odeint(
        lambda t, y: w * y, torch.ones(1, dtype=DTYPE), [0.0, 1.0], gradient=gradient, params=[w, w], **TIGHT
    ).ys
    ys[-1].sum().backward()
    assert w.grad.item() == pytest.approx(math.exp(0.7), rel=1e-8)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_arguments_receive_gradients_and_plain_values_pass_through(gradient: str) -> None:
    a, b = leaf(0.4), leaf(0.5)
    c = b.square()  # not a leaf
    fixed = torch.tensor([2.0], dtype=DTYPE)

    def f(t: Tensor, y: Tensor, name: str, a: Tensor, c: Tensor, fixed: Tensor) -> Tensor:
        assert name == "growth"
        return (a + c * fixed) * y

    y0 = torch.ones(1, dtype=DTYPE)
    odeint(f, y0, [0.0, 1.0], ("growth", a, c, fixed), gradient=gradient, **TIGHT).ys[-1].sum().backward()
    growth = math.exp(0.4 + 2 * 0.25)
    assert a.grad.item() == pytest.approx(growth, rel=1e-8)
    assert b.grad.item() == pytest.approx(growth * 2 * 2 * 0.5, rel=1e-8)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_an_argument_passed_twice_is_counted_once_a_slot(gradient: str) -> None:
    w = leaf(0.7)
    ys = odeint(
        lambda t, y, a, b: a * b * y, torch.ones(1, dtype=DTYPE), [0, 1], (w, w), gradient=gradient, **TIGHT
    ).ys
    ys[-1].sum().backward()
    assert w.grad.item() == pytest.approx(2 * 0.7 * math.exp(0.49), rel=1e-8)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_an_argument_computed_from_a_parameter_of_the_field_is_counted_once(
    gradient: str, growth: Any
) -> None:
    f = growth(0.7)
    f.forward = lambda t, y, c: f.theta * c * y
    y0 = torch.ones(1, dtype=DTYPE)
    odeint(f, y0, [0.0, 1.0], (torch.exp(f.theta),), gradient=gradient, **TIGHT).ys[-1].sum().backward()
    rate = 0.7 * math.exp(0.7)
    assert f.theta.grad.item() == pytest.approx(math.exp(rate) * (math.exp(0.7) + rate), rel=1e-7)


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
@pytest.mark.parametrize("what", ["used", "returned", "computed", "orphaned", "argument"])
def test_a_closure_over_a_tensor_that_requires_grad_is_an_error(gradient: str, what: str) -> None:
    w = leaf(0.7)
    computed, orphaned = w.exp(), leaf(0.7).exp()
    fields = {
        "used": lambda t, y: w * y,
        "returned": lambda t, y: w,
        "computed": lambda t, y: computed * y,
        "orphaned": lambda t, y: orphaned * y,  # its leaf is held by its graph alone
        "argument": lambda t, y, _: w * y,  # w is passed, but not used from there
    }
    args = (w,) if what == "argument" else ()
    with pytest.raises(
        ValueError, match=rf"shape \(1,\) that requires grad .*gradient=`{gradient}` would give it none"
    ):
        odeint(fields[what], torch.ones(1, dtype=DTYPE), [0.0, 1.0], args, gradient=gradient)


@pytest.mark.parametrize("no_grad", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_where_autograd_does_not_record_a_closure_is_as_good_as_an_argument(
    gradient: str, no_grad: Any
) -> None:
    w, ts = leaf(0.7), leaf(0.0, 1.0)
    with no_grad():
        solution = odeint(lambda t, y: w * y, leaf(1.0), ts, gradient=gradient, dense_output=True)
    assert not solution.ys.requires_grad
    assert not solution.evaluate(0.5).requires_grad
    assert solution.ys[-1].item() == pytest.approx(math.exp(0.7), rel=1e-3)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_sequence_of_times_that_would_lose_a_gradient_is_an_error(gradient: str, growth: Any) -> None:
    end = torch.tensor(1.0, dtype=DTYPE, requires_grad=True)
    with pytest.raises(ValueError, match=r"`ts` is a sequence .* pass one tensor: torch\.stack"):
        odeint(growth(0.7), leaf(1.0), [0.0, end], gradient=gradient)


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
def test_second_derivatives_are_refused_by_name(gradient: str, growth: Any) -> None:
    y0 = leaf(1.0)
    ys = odeint(growth(), y0, [0.0, 1.0], gradient=gradient).ys
    with pytest.raises(
        RuntimeError, match=f"gradient=`{gradient}` has no second derivative.*use gradient=`direct`"
    ):
        torch.autograd.grad(ys.sum(), y0, create_graph=True)


class HyperField(nn.Module):
    """dy/dt = W(t) y with W(t) from a small net that a step's stages share."""

    def __init__(self, shared: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.a = nn.Parameter(torch.randn(4, generator=generator, dtype=DTYPE))
        self.b = nn.Parameter(torch.randn(4, 4, generator=generator, dtype=DTYPE) / 4)
        self.num_hyper_calls = 0
        if shared:
            self.at_times = self._at_times

    def matrices(self, ts: Tensor) -> Tensor:
        self.num_hyper_calls += 1
        return (torch.tanh(ts[:, None] * self.a) @ self.b).view(-1, 2, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ self.matrices(t[None])[0].T

    def _at_times(self, ts: Tensor) -> list[Any]:
        return [lambda y, m=m: y @ m.T for m in self.matrices(ts)]


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("options", [{}, {"dt": 0.1}, {"method": "fehlberg2", "rtol": 1e-4, "atol": 1e-4}])
def test_a_hypernetwork_evaluated_once_a_step_changes_no_value_and_no_gradient(
    gradient: str, options: Any
) -> None:
    results = []
    for shared in (False, True):
        f, y0 = HyperField(shared), leaf(1.0, -0.5)
        ts = torch.tensor([0.0, 0.3, 1.0], dtype=DTYPE, requires_grad=True)
        solution = odeint(f, y0, ts, gradient=gradient, **options)
        forward_calls = f.num_hyper_calls
        solution.ys.square().sum().backward()
        results.append(
            (solution, forward_calls, f.num_hyper_calls, [solution.ys, y0.grad, ts.grad, f.a.grad, f.b.grad])
        )
    (plain, plain_forward, _, expected), (solution, forward_calls, all_calls, got) = results
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert solution.stats == plain.stats
    assert plain_forward == plain.stats.forward.nfe
    # Once a step for the later stages, and once where a first stage is not reused from the step before.
    assert forward_calls <= 2 * solution.stats.forward.num_steps + 2
    if gradient != "direct":
        num_steps = solution.stats.backward.num_steps or solution.stats.forward.num_accepted
        starts = 3 + 2 + 1  # time gradients, intervals, the trial of the initial-step rule
        assert all_calls - forward_calls <= 2 * num_steps + starts


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_loss_on_a_middle_output_alone_ignores_what_comes_after(gradient: str, growth: Any) -> None:
    f, y0, ts = growth(0.7), leaf(1.0), leaf(0.0, 0.4, 1.0)
    odeint(f, y0, ts, gradient=gradient, **TIGHT).ys[1].sum().backward()
    middle = math.exp(0.28)
    assert f.theta.grad.item() == pytest.approx(0.4 * middle, rel=1e-7)
    assert y0.grad.item() == pytest.approx(middle, rel=1e-7)
    assert ts.grad.tolist() == pytest.approx([-0.7 * middle, 0.7 * middle, 0.0], rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_tuple_states_have_the_gradients_of_their_entries(gradient: str) -> None:
    w = leaf(0.7)
    x0, z0 = torch.ones(2, 3, dtype=DTYPE, requires_grad=True), leaf(2.0)

    def f(t: Tensor, state: tuple[Tensor, Tensor], w: Tensor) -> tuple[Tensor, Tensor]:
        x, z = state
        return w * x, -w * z + 0 * x.sum()

    xs, zs = odeint(f, (x0, z0), [0.0, 0.5, 1.0], (w,), gradient=gradient, **TIGHT).ys
    assert (xs.shape, zs.shape) == ((3, 2, 3), (3, 1))
    (xs[-1].sum() + 3 * zs[1].sum()).backward()
    torch.testing.assert_close(x0.grad, torch.full((2, 3), math.exp(0.7), dtype=DTYPE), rtol=1e-8, atol=0)
    assert z0.grad.item() == pytest.approx(3 * math.exp(-0.35), rel=1e-8)
    assert w.grad.item() == pytest.approx(6 * math.exp(0.7) - 3 * 2 * 0.5 * math.exp(-0.35), rel=1e-8)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_backward_twice_over_a_kept_graph_gives_the_same_gradients(gradient: str, growth: Any) -> None:
    f, y0, ts = growth(), leaf(1.0), leaf(0.0, 0.4, 1.0)
    loss = odeint(f, y0, ts, gradient=gradient).ys.sum()
    inputs = (f.theta, y0, ts)
    first = [grad.clone() for grad in torch.autograd.grad(loss, inputs, retain_graph=True)]
    torch.testing.assert_close(list(torch.autograd.grad(loss, inputs)), first, rtol=0, atol=0)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_what_is_saved_for_backward_may_be_kept_elsewhere(gradient: str, growth: Any) -> None:
    grads = []
    for pack in (lambda x: x, torch.clone):
        f, y0, c = growth(), leaf(1.0), leaf(0.3)
        f.forward = lambda t, y, c, f=f: torch.tanh(f.theta * y) * c
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = odeint(f, y0, [0.0, 0.5, 1.0], (2 * c,), gradient=gradient).ys.sum()
        grads.append(torch.autograd.grad(loss, (f.theta, y0, c)))
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=0)


@pytest.mark.parametrize("gradient", WITHOUT_GRAPH)
def test_changing_the_initial_state_before_backward_is_an_error_not_a_wrong_gradient(
    gradient: str, time_net: Any
) -> None:
    y0 = torch.ones(3, dtype=DTYPE)
    leaf_y0 = y0.clone().requires_grad_()
    state = leaf_y0 * 1
    ys = odeint(time_net(), state, [0.0, 1.0], gradient=gradient).ys
    if gradient == "checkpointed":
        with torch.no_grad():
            state.add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            ys.sum().backward()
    else:
        with torch.no_grad():
            state.add_(1.0)
        ys.sum().backward()  # the adjoint reads its own outputs, not y0
        assert leaf_y0.grad is not None


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_of_two_losses_over_a_kept_graph_are_kept_apart(gradient: str, time_net: Any) -> None:
    f, y0, ts = time_net(), leaf(1.0, 0.5, -1.0), leaf(0.0, 0.4, 1.0)
    inputs = [y0, ts, *f.parameters()]
    ys = odeint(f, y0, ts, gradient=gradient).ys
    first = torch.autograd.grad(ys[1].sum(), inputs, retain_graph=True)
    kept = [grad.clone() for grad in first]
    torch.autograd.grad(ys[2].sum(), inputs)
    torch.testing.assert_close(list(first), kept, rtol=0, atol=0)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_jump_on_an_output_time_gives_the_same_gradient_in_every_mode(gradient: str, growth: Any) -> None:
    f, y0 = growth(0.7), leaf(1.0)
    f.forward = lambda t, y: f.theta * y * torch.where(t < 0.5, -1.0, 3.0)
    solution = odeint(f, y0, [0.0, 0.5, 1.0], gradient=gradient, jump_ts=(0.5,), rtol=1e-9, atol=1e-9)
    solution.ys[-1].sum().backward()
    assert f.theta.grad.item() == pytest.approx(math.exp(0.7), rel=1e-6)
    assert y0.grad.item() == pytest.approx(math.exp(0.7), rel=1e-6)
    # An evaluation on the wrong side of the jump would have to be rejected down to a tiny step.
    assert solution.stats.backward.num_rejected == 0
