"""Rows of one batch in several hands take the steps of the whole batch; the hands are threads here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from nodebench.ode import SolverError, odeint
from nodebench.ode.norms import rms_norm

NUM_ROWS = 7


class Hands:
    """So many threads that exchange what each brings, in the order of their numbers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._barrier = threading.Barrier(number, timeout=20)
        self._brought: list = [None] * number
        self.num_exchanges = 0

    def exchange(self, rank: int, brought):
        self._brought[rank] = brought
        self._barrier.wait()
        all_of_it = list(self._brought)
        self.num_exchanges += rank == 0
        self._barrier.wait()
        return all_of_it

    def run(self, work: Callable[[int, Hand], object]) -> list:
        results: list = [None] * self.number

        def one(rank: int) -> None:
            try:
                results[rank] = work(rank, Hand(self, rank))
            except Exception as error:
                results[rank] = error
                self._barrier.abort()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


class Hand:
    def __init__(self, hands: Hands, rank: int) -> None:
        self.hands, self.rank = hands, rank

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        return self.hands.exchange(self.rank, list(numbers))

    def total(self, x: Tensor) -> Tensor:
        return torch.stack(self.hands.exchange(self.rank, x)).sum(0)


class Net(nn.Module):
    """A field whose rows are independent of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 8), nn.Linear(8, 3)
        chance = torch.Generator().manual_seed(0)  # the threads share torch's own
        for parameter in self.double().parameters():
            nn.init.normal_(parameter, generator=chance)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(y))) * torch.cos(t)


def start() -> Tensor:
    return torch.randn(NUM_ROWS, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * (
        torch.arange(1, NUM_ROWS + 1)[:, None].double() / 3
    )


def solved(rows: slice, together=None, **options):
    """The end, the gradient in start and parameters, and the counts of a solve of some rows of the batch."""
    net, y0 = Net(), start()[rows].requires_grad_()
    solution = odeint(net, y0, [0.0, 0.7, 1.5], rtol=1e-4, atol=1e-6, together=together, **options)
    (solution.ys[1:].square().sum() / NUM_ROWS).backward()
    grads = [parameter.grad for parameter in net.parameters()]
    counts = [
        (c.nfe, c.num_accepted, c.num_rejected) for c in (solution.stats.forward, solution.stats.backward)
    ]
    return solution.ys.detach(), y0.grad, grads, counts


def slices(number: int) -> list[slice]:
    return [slice(NUM_ROWS * i // number, NUM_ROWS * (i + 1) // number) for i in range(number)]


WAYS = [
    {"gradient": "direct"},
    {"gradient": "checkpointed", "controller": "pid"},
    {"gradient": "direct", "norm": "max_sample"},
    {"gradient": "direct", "method": "bosh3"},
    *({"gradient": "adjoint", "adjoint_norm": norm} for norm in ("full", "joint", "seminorm", "state")),
    {"gradient": "adjoint", "adjoint_method": "dopri8"},
]


@pytest.mark.parametrize("options", WAYS, ids=lambda options: "-".join(options.values()))
def test_rows_in_several_hands_take_the_steps_of_the_whole_batch(options):
    number = 3  # which 7 rows are not divided by
    ys, grad, grads, counts = solved(slice(None), **options)
    parts = slices(number)
    results = Hands(number).run(lambda rank, hand: solved(parts[rank], hand, **options))
    for result in results:
        if isinstance(result, Exception):
            raise result
        assert result[3] == counts
    close = dict(rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(torch.cat([result[0] for result in results], dim=1), ys, **close)
    torch.testing.assert_close(torch.cat([result[1] for result in results]), grad, **close)
    for summed, whole in zip(zip(*(result[2] for result in results), strict=True), grads, strict=True):
        torch.testing.assert_close(sum(summed), whole, **close)


def test_hands_that_do_not_share_take_steps_of_their_own():
    (easy, hard) = (solved(rows, gradient="direct")[3][0] for rows in slices(2))
    assert easy != hard


def test_a_try_costs_one_exchange_and_a_first_step_two():
    hands = Hands(2)
    results = hands.run(lambda rank, hand: solved(slices(2)[rank], hand, gradient="direct"))
    _, num_accepted, num_rejected = results[0][3][0]
    assert hands.num_exchanges == num_accepted + num_rejected + 2


def test_what_is_not_finite_in_one_hand_at_the_end_is_refused_in_all():
    """The last step passes for exact where a state overflows, and the others must not take it either."""

    def field(rank: int):
        return lambda t, y: (
            torch.where(t > 0.9, torch.inf, 1.0) * torch.ones_like(y) if rank else torch.ones_like(y)
        )

    def work(rank, hand):
        return odeint(
            field(rank), torch.ones(2), [0.0, 1.0], method="adaptive_heun",
            first_step=2.0, together=hand, max_steps=60,
        )  # fmt: skip

    results = Hands(2).run(work)
    assert all(isinstance(result, Exception) for result in results)
    assert any(isinstance(result, SolverError) for result in results)


@pytest.mark.parametrize(("method", "why"), [("kvaerno5", "iterates"), ("lsoda", "inside SciPy")])
def test_methods_whose_steps_hang_on_more_than_their_error_are_refused(method, why):
    with pytest.raises(ValueError, match=why):
        odeint(lambda t, y: -y, torch.ones(2), [0.0, 1.0], method=method, together=Hand(Hands(1), 0))


def test_an_event_which_would_be_of_one_hands_rows_is_refused():
    with pytest.raises(ValueError, match="`event` is one of each process's own rows"):
        solved(slice(None), Hand(Hands(1), 0), event=lambda t, y: y.sum())


def test_a_norm_of_ones_own_is_refused():
    with pytest.raises(ValueError, match="a norm of your own"):
        odeint(
            lambda t, y: -y, torch.ones(2), [0.0, 1.0], norm=lambda x: rms_norm(x), together=Hand(Hands(1), 0)
        )


def test_implicit_adams_corrects_all_rows_equally_often():
    options = {"method": "implicit_adams", "dt": 0.05, "gradient": "direct"}
    counts = solved(slice(None), **options)[3]
    results = Hands(2).run(lambda rank, hand: solved(slices(2)[rank], hand, **options))
    assert [result[3] for result in results] == [counts, counts]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"gradient": "direct"}, {"gradient": "adjoint", "adjoint_norm": "state"}]
)
def test_compiled_steps_are_those_of_the_whole_batch(options):
    counts = solved(slice(None), **options)[3]
    hands = Hands(1)  # torch.compile is not for threads; one hand exchanges all the same
    (result,) = hands.run(lambda rank, hand: solved(slice(None), hand, compile="eager", **options))
    assert result[3] == counts
    assert hands.num_exchanges
