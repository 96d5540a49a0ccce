"""Steps of their own for every sample: what each gets does not depend on the samples beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.ode import Controller, NonFiniteError, Solution, Status, StepUnderflowError, odeint
from nodebench.ode.status import EvaluationBudgetError, StepBudgetError

DTYPE = torch.float64
METHODS = ("dopri5", "tsit5", "bosh3", "adaptive_heun", "fehlberg2", "dopri8")


def own(f: Callable[..., Any], y0: Any, ts: Any, *args: Tensor, **settings: Any) -> Solution[Any]:
    settings = {"rtol": 1e-6, "atol": 1e-8, "gradient": "direct", "steps": "per_sample", **settings}
    return odeint(f, y0, ts, args, **settings)


def turning(t: Tensor, y: Tensor) -> Tensor:
    """Each sample turns as fast as it is far from the origin, and is pushed in time."""
    x, v = y.unbind(1)
    square = x * x + v * v
    rate = 1 + 20 * square / (1 + square)
    return torch.stack([rate * v, -rate * x + 0.1 * torch.sin(3 * t)], dim=1)


def starts(num: int = 6) -> Tensor:
    """From slow to fast."""
    return torch.linspace(0.1, 1.5, num, dtype=DTYPE)[:, None] * torch.tensor([0.6, -0.8], dtype=DTYPE)


def spread(solution: Solution[Any]) -> tuple[list[int], list[int], list[int]]:
    samples = solution.stats.forward.samples
    assert samples is not None
    return samples.num_accepted.tolist(), samples.num_rejected.tolist(), samples.nfe.tolist()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("controller", ["integral", "pid"])
def test_a_sample_alone_and_beside_the_hardest_takes_the_same_steps(method: str, controller: str) -> None:
    y0, ts = starts(), [0.0, 0.4, 1.0]
    tol = 1e-3 if method in ("adaptive_heun", "fehlberg2") else 1e-5
    together = own(turning, y0, ts, method=method, controller=controller, rtol=tol, atol=tol)
    for i in (0, 3, 5):
        alone = own(turning, y0[i : i + 1], ts, method=method, controller=controller, rtol=tol, atol=tol)
        torch.testing.assert_close(alone.ys[:, 0], together.ys[:, i], rtol=1e-12, atol=1e-13)
        assert [of[0] for of in spread(alone)] == [of[i] for of in spread(together)]


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_alone_takes_the_steps_of_the_shared_loop(method: str) -> None:
    y0, ts = starts()[-1:], [0.0, 0.3, 0.31, 1.0]

    def shared(t: Tensor, y: Tensor) -> Tensor:
        return turning(t.expand(len(y)), y)

    one = odeint(shared, y0, ts, method=method, rtol=1e-4, atol=1e-6, gradient="direct")
    solution = own(turning, y0, ts, method=method, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(solution.ys, one.ys, rtol=1e-11, atol=1e-12)
    counts, theirs = solution.stats.forward, one.stats.forward
    assert (counts.num_accepted, counts.num_rejected, counts.nfe) == (
        theirs.num_accepted,
        theirs.num_rejected,
        theirs.nfe,
    )
    assert spread(solution) == ([counts.num_accepted], [counts.num_rejected], [counts.nfe])


def test_easy_samples_cost_what_they_cost_alone_and_the_totals_say_both() -> None:
    solution = own(turning, starts(), [0.0, 2.0])
    accepted, rejected, nfe = spread(solution)
    counts = solution.stats.forward
    assert nfe == sorted(nfe)
    assert nfe[-1] > 3 * nfe[0]
    assert counts.nfe == max(nfe)
    assert (counts.num_accepted, counts.num_rejected) == (sum(accepted), sum(rejected))
    assert nfe == [2 + 6 * (a + r) for a, r in zip(accepted, rejected, strict=True)]


def test_samples_that_have_arrived_leave_the_batch_and_are_never_stepped_beyond_their_end() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def watched(t: Tensor, y: Tensor) -> Tensor:
        seen.append((t.clone(), y.clone()))
        return turning(t, y)

    ends = torch.tensor([0.1, 3.0, 0.2, 0.3], dtype=DTYPE)
    own(watched, starts(4), torch.stack([torch.zeros_like(ends), ends], dim=1))
    sizes = [len(t) for t, _ in seen]
    assert sizes[0] == 4
    assert sizes[-1] == 1
    assert all(t.shape == y.shape[:1] for t, y in seen)
    assert all((t <= 3.0).all() and (t >= 0.0).all() for t, _ in seen)
    assert all((t <= ends).all() for t, _ in seen if len(t) == 4)


def test_times_of_their_own_and_a_row_that_ends_early() -> None:
    def decay(t: Tensor, y: Tensor) -> Tensor:
        return -y

    ts = torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.5, 1.5], [0.5, 0.6, 9.0], [2.0, 2.0, 2.0]], dtype=DTYPE)
    y0 = torch.ones(4, 2, dtype=DTYPE)
    solution = own(decay, y0, ts)
    expected = torch.exp(-(ts - ts[:, :1])).t()[..., None].expand(3, 4, 2)
    torch.testing.assert_close(solution.ys, expected, rtol=1e-5, atol=1e-6)
    assert solution.ys.shape == (3, 4, 2)
    assert spread(solution)[2][3] == 0
    backwards = own(decay, y0, -ts)
    torch.testing.assert_close(backwards.ys, 1 / expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [tuple, lambda rows: [torch.tensor(row, dtype=DTYPE) for row in rows]])
def test_times_of_their_own_may_be_nested_numbers(make: Callable[..., Any]) -> None:
    rows = [[0, 1.0], [0.5, 2.0]]
    y0 = torch.ones(2, 1, dtype=DTYPE)
    solution = own(lambda t, y: -t[:, None] * y, y0, make(rows))
    expected = own(lambda t, y: -t[:, None] * y, y0, torch.tensor(rows, dtype=DTYPE))
    assert torch.equal(solution.ys, expected.ys)
    assert torch.equal(solution.ts, expected.ts)


def test_equal_times_give_y0_without_an_evaluation() -> None:
    y0 = starts(3)
    solution = own(turning, y0, [0.5, 0.5])
    assert solution.stats.forward.nfe == 0
    torch.testing.assert_close(solution.ys, y0.expand(2, 3, 2))
    assert own(turning, y0, [0.5]).ys.shape == (1, 3, 2)


@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_many_outputs_inside_a_step_cost_no_evaluation(method: str) -> None:
    y0 = starts(3)
    few = own(turning, y0, [0.0, 1.0], method=method)
    many = own(turning, y0, torch.linspace(0, 1, 200, dtype=DTYPE), method=method)
    assert spread(few) == spread(many)
    tight = own(turning, y0, torch.linspace(0, 1, 200, dtype=DTYPE), method="dopri8", rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(many.ys, tight.ys, rtol=0.0, atol=1e-4 if method == "dopri5" else 3e-3)


def test_tuples_scalars_and_images_are_states() -> None:
    def pair(t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        a, b = y
        assert a.shape[1:] == (2, 3)
        assert b.shape[1:] == ()
        return -a * b[:, None, None], -torch.ones_like(b) * t

    a, b = torch.ones(4, 2, 3, dtype=DTYPE), torch.arange(4, dtype=DTYPE)
    solution = own(pair, (a, b), [0.0, 1.0], rtol=[1e-6, 1e-7], atol=[1e-8, 1e-9])
    torch.testing.assert_close(solution.ys[1][1], b - 0.5)
    expected = torch.exp(-(b - 1 / 6))[:, None, None].expand_as(a)
    torch.testing.assert_close(solution.ys[0][1], expected, rtol=1e-5, atol=1e-6)
    numbers = own(lambda t, y: -y, torch.ones(5, dtype=torch.complex128), [0.0, 1.0])
    torch.testing.assert_close(numbers.ys[-1].real, torch.full((5,), math.exp(-1), dtype=DTYPE))


def test_an_argument_with_a_row_a_sample_keeps_the_batch_whole() -> None:
    sizes = set()

    def field(t: Tensor, y: Tensor, rate: Tensor) -> Tensor:
        sizes.add(len(y))
        return -rate * y

    rate = torch.tensor([[0.1], [1.0], [30.0], [0.1]], dtype=DTYPE)
    solution = own(field, torch.ones(4, 1, dtype=DTYPE), [0.0, 1.0], rate)
    assert sizes == {4}
    torch.testing.assert_close(solution.ys[-1], torch.exp(-rate), rtol=1e-4, atol=1e-5)
    assert spread(solution)[2][2] > 2 * spread(solution)[2][0]


def test_a_field_that_holds_rows_itself_is_told_to_take_them_as_arguments() -> None:
    rate = torch.tensor([[0.1], [1.0], [30.0], [0.1]], dtype=DTYPE)
    with pytest.raises((RuntimeError, ValueError)) as caught:
        own(lambda t, y: -rate * y, torch.ones(4, 1, dtype=DTYPE), [0.0, 1.0])
    assert "what has a row for each sample in `args`" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("num_samples", [2, 3, 5])
def test_a_field_that_multiplies_by_a_bare_time_is_refused_even_where_shapes_allow_it(
    num_samples: int,
) -> None:
    with pytest.raises((RuntimeError, ValueError)) as caught:
        own(lambda t, y: t * y, torch.ones(num_samples, 3, dtype=DTYPE), [0.0, 1.0])
    assert "t.view(-1" in "".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    solution = own(lambda t, y: t.view(-1, 1) * y, torch.ones(num_samples, 3, dtype=DTYPE), [0.0, 1.0])
    torch.testing.assert_close(solution.ys[-1], torch.full((num_samples, 3), math.exp(0.5), dtype=DTYPE))


def test_a_time_on_an_axis_that_is_none_of_samples_is_refused_wherever_the_axis_stands() -> None:
    rows, ts = torch.ones(3, 1, dtype=DTYPE), torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]], dtype=DTYPE)
    with pytest.raises(ValueError, match="change the slopes of other samples"):
        own(lambda t, y, rate: t * rate * y, torch.ones(3, 3, dtype=DTYPE), ts, rows)
    with pytest.raises(ValueError, match="change the slopes of other samples"):
        own(lambda t, y: t.view(-1, 1) * y, torch.ones(3, 3, 2, dtype=DTYPE), [0.0, 1.0])
    solution = own(lambda t, y, rate: t[:, None] * rate * y, torch.ones(3, 3, dtype=DTYPE), ts, -rows)
    torch.testing.assert_close(
        solution.ys[-1], torch.exp(-(ts[:, 1:] ** 2) / 2).expand(3, 3), rtol=1e-4, atol=1e-6
    )


def blowing_up(t: Tensor, y: Tensor) -> Tensor:
    """y' = y^2 is infinite at t = 1 / y0."""
    return y * y


def test_a_sample_that_fails_is_named_and_the_others_are_returned() -> None:
    y0 = torch.tensor([[0.1], [2.0], [0.3], [0.2]], dtype=DTYPE)
    ts = [0.0, 0.25, 1.0]
    with pytest.raises(StepUnderflowError, match=r"^sample 1 of 4: step size underflow at t=0\.5"):
        own(blowing_up, y0, ts)
    solution = own(blowing_up, y0, ts, raise_on_failure=False)
    assert solution.status is Status.DT_UNDERFLOW
    assert list(solution.failures) == [1]
    assert solution.message == str(solution.failures[1])
    assert solution.ys[2, 1].isnan().all()
    torch.testing.assert_close(solution.ys[1, 1], torch.tensor([4.0], dtype=DTYPE), rtol=1e-5, atol=0.0)
    others = [0, 2, 3]
    torch.testing.assert_close(solution.ys[2, others], 1 / (1 / y0[others] - 1), rtol=1e-5, atol=1e-6)


def test_a_field_that_is_not_finite_for_one_sample_fails_for_that_one() -> None:
    def field(t: Tensor, y: Tensor) -> Tensor:
        return torch.where((y > 1.5) & (t[:, None] > 0.3), torch.nan, -0.1 * y)

    y0 = torch.tensor([[1.0], [2.0]], dtype=DTYPE)
    solution = own(field, y0, [0.0, 1.0], raise_on_failure=False)
    assert isinstance(solution.failures[1], NonFiniteError)
    torch.testing.assert_close(solution.ys[1, 0], y0[0] * math.exp(-0.1))
    at_once = own(field, y0, [0.5, 1.0], raise_on_failure=False)
    assert isinstance(at_once.failures[1], NonFiniteError)
    assert at_once.ys[1, 0].isfinite().all()


def test_budgets_are_of_each_sample_and_never_exceeded() -> None:
    easy, hard = spread(own(turning, starts(), [0.0, 2.0]))[2][:: len(starts()) - 1]
    budget = (easy + hard) // 2
    solution = own(turning, starts(), [0.0, 2.0], max_nfe=budget, raise_on_failure=False)
    assert 0 not in solution.failures
    assert isinstance(solution.failures[5], EvaluationBudgetError)
    assert max(spread(solution)[2]) <= budget
    steps = own(turning, starts(), [0.0, 2.0], max_steps=7, raise_on_failure=False)
    assert isinstance(steps.failures[5], StepBudgetError)
    assert max(a + r for a, r in zip(*spread(steps)[:2], strict=True)) == 7


@pytest.mark.parametrize("method", ["dopri5", "adaptive_heun"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_budget_that_stiffness_spent_says_so_of_the_samples_that_are_stiff(
    method: str, whole: bool
) -> None:
    def field(t: Tensor, y: Tensor, rates: Tensor | float = 1.0) -> Tensor:
        """Relaxes to cos(t); the second entry says how fast, and the third how fast the cosine is."""
        x, rate, speed = y.unbind(1)
        still = torch.zeros_like(x)
        return torch.stack([-rate * (x - torch.cos(speed * t)), still, still], dim=1) * rates

    y0 = torch.tensor([[1.0, 0.1, 1.0], [1.0, 1e4, 1.0], [1.0, 5.0, 100.0], [1.0, 1e5, 1.0]], dtype=DTYPE)
    settings: dict[str, Any] = {"method": method, "rtol": 1e-3, "atol": 1e-3, "max_steps": 150}
    args = [torch.ones_like(y0)] if whole else []
    solution = own(field, y0, [0.0, 20.0], *args, raise_on_failure=False, **settings)
    messages = {sample: str(error) for sample, error in solution.failures.items()}
    assert sorted(messages) == [1, 2, 3]
    assert [sample for sample, message in messages.items() if "is stiff" in message] == [1, 3]
    assert 'use method=`kvaerno5` with steps="shared"' in messages[1]
    assert solution.stats.forward.is_stiff
    with pytest.raises(StepBudgetError, match=r"sample 1 of 4.* the system is stiff"):
        own(field, y0, [0.0, 20.0], *args, **settings)


def test_the_evaluations_that_tell_stiffness_are_counted_and_within_max_nfe() -> None:
    def nfe(**settings: Any) -> list[int]:
        y0 = torch.ones(2, 1, dtype=DTYPE)
        solution = own(lambda t, y: -1e4 * y, y0, [0.0, 9.0], raise_on_failure=False, **settings)
        assert len(solution.failures) == 2
        assert solution.stats.forward.nfe == spread(solution)[2][0]
        return spread(solution)[2]

    assert nfe(max_steps=150) == [2 + 150 * 6 + 5] * 2
    assert nfe(max_steps=150, max_nfe=2 + 150 * 6 + 4) == [2 + 150 * 6] * 2


def test_steps_are_never_longer_than_max_step_and_end_on_step_ts() -> None:
    reached: list[float] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        reached.extend(t.tolist())
        return -0.01 * y

    y0 = torch.ones(2, 1, dtype=DTYPE)
    solution = own(field, y0, [0.0, 1.0], max_step=0.1, step_ts=[0.35, 5.0])
    assert 0.35 in reached
    assert max(reached) == 1.0
    assert all(10 <= accepted <= 13 for accepted in spread(solution)[0])
    assert spread(own(field, y0, [0.0, 1.0], first_step=0.5))[2] == [13, 13]  # no guess: 1 + 2 x 6


def test_a_step_at_min_step_is_forced_for_the_sample_that_needs_it() -> None:
    solution = own(turning, starts(2), [0.0, 1.0], min_step=0.05)
    assert 0 < solution.stats.forward.num_forced <= spread(solution)[0][1]


def test_a_controller_of_ones_own_is_told_tensors() -> None:
    class Halving(Controller):
        takes_tensors = True

        def factor(self, error_ratio: Any, order: int, history: Any) -> Any:
            assert isinstance(error_ratio, Tensor)
            return torch.where(error_ratio <= 1, 1.0, 0.5)

    y0 = starts(3)
    solution = own(turning, y0, [0.0, 1.0], controller=Halving())
    torch.testing.assert_close(solution.ys, own(turning, y0, [0.0, 1.0]).ys, rtol=1e-4, atol=1e-4)


class Wary(Controller):
    def factor(self, error_ratio: float, order: int, history: Any) -> float:
        return 0.5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"y0": torch.tensor(1.0)}, "its first axis counts the samples"),
        ({"y0": (torch.ones(2, 3), torch.ones(3))}, "its first axis counts the samples"),
        ({"y0": (torch.ones(()), torch.ones(3))}, "its first axis counts the samples"),
        ({"ts": torch.zeros(3, 2)}, "times for 3 samples and `y0` has 2"),
        ({"ts": torch.tensor([[0.0, 1.0], [1.0, 0.0]])}, "increases for sample 0 and decreases for sample 1"),
        ({"ts": torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 2.0]])}, r"`ts`\[0\] is not strictly monotonic"),
        ({"ts": torch.tensor([[0.0, 0.0, 0.5], [0.0, 1.0, 2.0]])}, r"`ts`\[0\] is not strictly monotonic"),
        ({"ts": torch.tensor([[0.0, 1.0], [0.0, math.nan]])}, r"`ts`\[1, 1\] is nan"),
        ({"ts": [[0.0, 1.0], [0.0, 1.0, 2.0]]}, "rows that are not as many numbers each"),
        ({"ts": [[0.0, 1.0], 2.0]}, "rows that are not as many numbers each"),
        ({"ts": [[0.0, 1.0], [0.0, "late"]]}, "rows that are not as many numbers each"),
        ({"ts": [[0.0, [1.0]], [0.0, 2.0]]}, "rows that are not as many numbers each"),
        ({"ts": 1.0}, "must be a tensor or sequence of times"),
        ({"ts": [[0.0, 1.0]]}, "times for 1 samples and `y0` has 2"),
        ({"ts": [0.0, "late"]}, "`ts` holds 'late'; each time must be a number"),
        (
            {"ts": [[0.0, 1.0], [0.0, 2.0]], "steps": "shared"},
            "`ts` holds a list .* go with steps=.per_sample",
        ),
        ({"method": "rk4"}, "has no embedded error estimate|takes no steps of their own"),
        ({"method": "vode_adams"}, "takes no steps of their own"),
        ({"method": "implicit_adams"}, "takes no steps of their own"),
        ({"dt": 0.1}, "dt=0.1 fixes"),
        ({"norm": "max_sample"}, "a sample's error is the RMS over its own entries"),
        ({"jump_ts": [0.5]}, "`jump_ts` are not kept"),
        ({"dense_output": True}, "dense_output keeps no interpolants"),
        ({"record_steps": True}, "record_steps keeps one list"),
        ({"event": lambda t, y: y.sum()}, "`event` is not looked for"),
        ({"steps": "per-sample"}, "did you mean `per_sample`"),
        ({"controller": Wary()}, "does not say takes_tensors"),
    ],
)
def test_what_does_not_go_with_steps_of_their_own_is_refused(settings: dict[str, Any], sentence: str) -> None:
    call = {"y0": torch.ones(2, 3), "ts": [0.0, 1.0], **settings}
    with pytest.raises((ValueError, TypeError), match=sentence):
        own(lambda t, y: y, **call)


def test_direct_gradients_are_those_of_the_shared_loop_at_tight_tolerance(
    time_net: Callable[..., torch.nn.Module],
) -> None:
    net = time_net(dim=2)

    def grads(steps: str) -> list[Tensor]:
        y0 = starts(4).requires_grad_()

        def field(t: Tensor, y: Tensor) -> Tensor:
            return 2 * net(t.view(-1, 1) if t.dim() else t, y)

        solution = odeint(field, y0, [0.0, 0.3, 1.0], rtol=1e-10, atol=1e-10, gradient="direct", steps=steps)
        loss = (solution.ys[1:] * torch.arange(1.0, 3.0)[:, None, None]).square().sum()
        return list(torch.autograd.grad(loss, [y0, *net.parameters()]))

    for own_grad, shared in zip(grads("per_sample"), grads("shared"), strict=True):
        torch.testing.assert_close(own_grad, shared, rtol=1e-7, atol=1e-9)


def test_a_rejected_step_that_is_not_finite_leaves_no_nan_in_gradients() -> None:
    rate = torch.tensor(1.0, dtype=DTYPE, requires_grad=True)

    def field(t: Tensor, y: Tensor) -> Tensor:
        return rate * torch.where(y > 1e3, torch.inf, y * y)  # a long step ends where nothing is finite

    y0 = torch.tensor([[1.0], [0.1]], dtype=DTYPE)
    solution = own(field, y0, [0.0, 0.9], first_step=5.0)
    assert solution.stats.forward.num_rejected
    solution.ys[-1].sum().backward()
    assert rate.grad is not None
    expected = (0.9 * (y0 / (1 - 0.9 * y0)).square()).sum()  # d/drate of 1 / (1 / y0 - rate t)
    torch.testing.assert_close(rate.grad, expected, rtol=1e-4, atol=0.0)
