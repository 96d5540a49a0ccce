from __future__ import annotations

import torch

from nodebench.training.state import moving_average


def _average(decay: float, values: list[float]) -> float:
    averaged, average = [torch.tensor([values[0]], dtype=torch.float64)], moving_average(decay)
    for n, value in enumerate(values[1:], start=1):
        average(averaged, [torch.tensor([value], dtype=torch.float64)], n)
    return averaged[0].item()


def test_the_first_updates_keep_less_than_the_decay() -> None:
    assert _average(0.998, [0.0, 1.0]) == 1 - 2 / 11


def test_after_the_warm_up_the_decay_holds() -> None:
    averaged = [torch.zeros(1, dtype=torch.float64)]
    moving_average(0.9)(averaged, [torch.ones(1, dtype=torch.float64)], torch.tensor(10_000))
    torch.testing.assert_close(averaged[0], torch.full((1,), 0.1, dtype=torch.float64))


def test_a_short_run_forgets_where_it_started() -> None:
    assert _average(0.998, [100.0] + [0.0] * 200) < 1e-6


def test_the_average_of_a_constant_is_that_constant() -> None:
    assert abs(_average(0.998, [3.0] * 50) - 3.0) < 1e-12
