"""The costs of flows compute what their names say, and as many operations as they are said to: counted, not timed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nodebench.benchmark import directions
from nodebench.benchmark.flow_costs import (
    COSTS,
    Cost,
    flops_of,
    general_determinant,
    general_field,
    general_trace,
    make_cases,
    planar_field,
    wide_layer,
)
from nodebench.benchmark.problems import seeded
from nodebench.benchmark.slopes import fit_slope

CPU = torch.device("cpu")


def value_of(make: Callable[..., Callable[[], Tensor]], *sizes: int, **options: object) -> Tensor:
    """With the same random numbers every time."""
    with seeded():
        return make(*sizes, **options)()


@pytest.mark.parametrize(
    "cost",
    [cost for cost in COSTS if "trace of" not in cost.name],
    ids=lambda cost: f"{cost.name} over {cost.axis}",
)
def test_the_operations_grow_with_the_power_that_is_said(cost: Cost) -> None:
    sizes = (64, 128, 256)
    flops = [flops_of(cost.make(size, 1)) for size in sizes]
    assert all(flops)
    assert fit_slope(sizes, [float(count or 0) for count in flops]).exponent == pytest.approx(
        cost.order, abs=0.06
    )


def test_a_trace_is_a_sum_without_a_product() -> None:
    assert flops_of(general_trace(8, 2)) is None


def test_a_factorisation_is_counted_as_two_thirds_of_a_cube() -> None:
    assert flops_of(general_determinant(30, 5)) == 5 * 18_000


def test_determinant_and_trace_are_of_the_same_jacobians() -> None:
    log_dets, traces = value_of(general_determinant, 1, 3), value_of(general_trace, 1, 3)
    torch.testing.assert_close(log_dets.exp(), traces.abs())  # of 1 x 1 matrices


def test_a_wide_layer_has_one_determinant_by_units_and_by_dimension() -> None:
    by_units = value_of(wide_layer, 7, 5, by_units=True, dim=3)
    by_dim = value_of(wide_layer, 7, 5, by_units=False, dim=3)
    assert by_units.shape == (5,)
    torch.testing.assert_close(by_units, by_dim, rtol=1e-4, atol=1e-5)


def test_a_wide_layers_determinant_is_that_of_its_jacobian() -> None:
    with seeded():
        w, u = torch.randn(4, 3), torch.randn(3, 4) / 4
        b, z = torch.randn(4), torch.randn(2, 3)
    jacobians = [torch.func.jacrev(lambda point: point + u @ torch.tanh(w @ point + b))(point) for point in z]
    expected = torch.linalg.slogdet(torch.stack(jacobians)).logabsdet
    torch.testing.assert_close(
        value_of(wide_layer, 4, 2, by_units=True, dim=3), expected, rtol=1e-4, atol=1e-5
    )


def test_fields_give_the_derivatives_and_one_trace() -> None:
    assert value_of(planar_field, 3, 8, 5).shape == (4, 5)
    assert value_of(general_field, 3, 5, exact=True).shape == (4, 5)
    assert value_of(general_field, 3, 5, exact=False).shape == (4, 5)


def test_every_cost_is_made_at_every_size() -> None:
    cases = make_cases((2, 3), CPU)
    assert [(case.cost, case.size) for case in cases] == [(cost, size) for cost in COSTS for size in (2, 3)]
    measured = cases[0].contestant.run()
    assert measured.time_ms > 0
    torch.testing.assert_close(measured.solution, cases[0].call())


def test_training_raises_the_likelihood_that_the_directions_are_of() -> None:
    flows = directions.make_flows(CPU)
    for flow in flows.values():
        data = directions.two_circles().draw("test", 128, torch.Generator().manual_seed(1))
        before = flow.log_prob(data).mean()
        directions.train(flow, 5, 64, lambda line: None)
        assert flow.log_prob(data).mean() > before


def test_samples_and_densities_are_the_two_directions_of_one_flow() -> None:
    flows = {"planar_nf": directions.make_flows(CPU)["planar_nf"]}
    runs = {
        direction: contestant.run()
        for _, direction, contestant in directions.make_contestants(flows, 16, CPU)
    }
    base = flows["planar_nf"].draw_base(16, torch.Generator().manual_seed(1))
    samples, log_prob = flows["planar_nf"].push_with_log_prob(base)
    torch.testing.assert_close(runs["sample"].solution, log_prob.detach())
    torch.testing.assert_close(flows["planar_nf"].log_prob(samples), log_prob, rtol=1e-3, atol=1e-3)
    assert runs["density"].solution.shape == (16,)
