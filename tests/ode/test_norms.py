"""What the norms measure, and what a step is accepted by."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from nodebench.ode import odeint
from nodebench.ode.assembly import ADJOINT_NORMS
from nodebench.ode.norms import NORMS, MaxBlockNorm, error_ratio, max_sample_norm, nan_beside, rms_norm

DTYPE = torch.float64


@pytest.mark.parametrize("norm", [*NORMS.values(), MaxBlockNorm((2, 0, 4))])
def test_a_vector_of_ones_has_norm_one(norm: Any) -> None:
    assert norm(torch.ones(6, dtype=DTYPE)).item() == pytest.approx(1.0)
    assert norm(torch.ones(6, dtype=DTYPE)).shape == ()


def test_rms_is_over_everything_and_max_sample_over_the_worst_row() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=DTYPE)
    assert rms_norm(x).item() == pytest.approx(2.5)
    assert max_sample_norm(x).item() == pytest.approx(math.sqrt(12.5))
    assert max_sample_norm(torch.tensor(-2.0)).item() == 2.0


def test_norms_of_complex_vectors_are_real() -> None:
    assert rms_norm(torch.tensor([3 + 4j, 0])).item() == pytest.approx(math.sqrt(12.5))


def test_the_block_norm_is_the_largest_rms_of_a_block() -> None:
    x = torch.tensor([1.0, 1.0, 5.0, 0.0, 0.0, 0.0], dtype=DTYPE)
    assert MaxBlockNorm((2, 4))(x).item() == pytest.approx(2.5)
    assert MaxBlockNorm((2, 1, 3))(x).item() == pytest.approx(5.0)


def test_the_error_ratio_scales_each_entry_by_the_larger_end_of_the_step() -> None:
    y0, y1 = torch.tensor([1.0, -8.0], dtype=DTYPE), torch.tensor([-3.0, 2.0], dtype=DTYPE)
    error = torch.tensor([0.7, 0.9], dtype=DTYPE)
    ratio = error_ratio(error, y0, y1, 0.1, 0.2, lambda x: x.abs().sum())
    assert ratio.item() == pytest.approx(0.7 / 0.5 + 0.9 / 1.0)


def test_the_adjoint_norms_are_what_their_names_say() -> None:
    # y in blocks of 1 and 2, a likewise, parameters of 1 and 3.
    y_sizes, param_sizes = [1, 2], [1, 3]
    state = [2.0, 0.0, 1.0, 0.5, 3.0, 3.0]
    with_params = torch.tensor([*state, 4.0, 6.0, 6.0, 6.0], dtype=DTYPE)
    without = torch.tensor(state, dtype=DTYPE)

    def size(name: str, x: Tensor) -> float:
        return ADJOINT_NORMS[name](y_sizes, param_sizes)(x).item()

    assert size("full", with_params) == pytest.approx(6.0)
    assert size("joint", with_params) == pytest.approx(math.sqrt((4 + 1 + 0.25 + 18 + 16 + 108) / 10))
    for x in (without, with_params):
        assert size("seminorm", x) == pytest.approx(3.0)
        assert size("state", x) == pytest.approx(math.sqrt((4 + 1 + 0.25 + 18) / 6))


def hidden_sample(norm: Any, batch: int) -> int:
    """Steps for a batch of one hard and many resting samples."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        hard = torch.zeros_like(y)
        hard[0] = torch.cos(20 * t)
        return hard

    y0 = torch.zeros(batch, 1, dtype=DTYPE)
    return odeint(
        f, y0, [0.0, 3.0], rtol=1e-5, atol=1e-5, norm=norm, first_step=0.1, gradient="direct"
    ).stats.forward.num_accepted


def test_no_sample_hides_behind_the_others_under_max_sample() -> None:
    assert hidden_sample("max_sample", 1000) == hidden_sample("max_sample", 1) == hidden_sample("rms", 1)
    assert hidden_sample("rms", 1000) < hidden_sample("rms", 1)


def test_a_tuple_state_is_judged_by_its_worst_entry_and_by_one_rms_on_request() -> None:
    def f(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.cos(20 * t).expand(1), torch.zeros(999, dtype=DTYPE)

    state = (torch.zeros(1, dtype=DTYPE), torch.zeros(999, dtype=DTYPE))
    steps = {
        norm: odeint(
            f, state, [0.0, 3.0], rtol=1e-5, atol=1e-5, norm=norm, first_step=0.1, gradient="direct"
        ).stats.forward.num_accepted
        for norm in (None, "rms")
    }
    assert steps["rms"] < steps[None] == hidden_sample("rms", 1)


def test_a_norm_of_ones_own_is_used() -> None:
    assert hidden_sample(lambda x: x.abs().max(), 50) == hidden_sample(lambda x: x.abs().max(), 1)


def test_each_entry_of_a_tuple_state_can_have_tolerances_of_its_own() -> None:
    def f(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.cos(20 * t).expand(2), torch.cos(20 * t).expand(3)

    state = (torch.zeros(2, dtype=DTYPE), torch.zeros(3, dtype=DTYPE))

    def steps(rtol: Any, atol: Any) -> int:
        counts = odeint(
            f, state, [0.0, 3.0], rtol=rtol, atol=atol, first_step=0.1, gradient="direct"
        ).stats.forward
        return counts.num_accepted

    assert steps((1e-3, 1e-7), (1e-3, 1e-7)) == steps(1e-7, 1e-7)
    assert steps((1e-3, 1e-3), (1e-3, 1e-3)) == steps(1e-3, 1e-3) < steps(1e-7, 1e-7)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("place", [0, 17, 99])
def test_a_number_beside_a_state_that_is_not_finite_is_nan(
    bad: float, dtype: torch.dtype, place: int
) -> None:
    y = torch.full((100,), 1e38, dtype=dtype)  # the sum of their squares overflows
    if dtype.is_complex:
        y *= 3 + 3j  # so does the size of an entry
    assert nan_beside(torch.tensor(0.25), y).item() == 0.25
    y[place] = bad
    assert nan_beside(torch.tensor(0.25), y).isnan()


def test_a_tolerance_beyond_the_range_of_the_states_dtype_accepts_every_step() -> None:
    y0 = torch.ones(2, dtype=torch.float32)
    solution = odeint(lambda t, y: -y, y0, [0.0, 1.0], rtol=1e50, atol=1e50, gradient="direct")
    assert solution.stats.forward.num_rejected == 0
