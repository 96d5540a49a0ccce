"""A twin in JAX computes what the field and the loss in torch do. Skipped without JAX, which no test needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nodebench.benchmark import libraries
from nodebench.benchmark.problems import Problem, Twin
from nodebench.benchmark.workloads import cnf, latent, mixed, mlp, odenet, vdp

pytestmark = pytest.mark.skipif(
    libraries.DIFFRAX in libraries.missing_baselines(), reason="diffrax is not installed"
)

CPU = torch.device("cpu")


def make_cnf() -> Problem:
    return cnf.problems(5, 7, CPU)[0]


def twin_of(problem: Problem) -> Twin:
    assert problem.twin is not None
    return problem.twin()


def to_jax(tensor: Tensor) -> object:
    import jax.numpy as jnp

    return jnp.asarray(tensor.detach().numpy())


def to_torch(array: object) -> Tensor:
    import numpy as np

    return torch.from_numpy(np.array(array))


@pytest.mark.parametrize(
    "make",
    [
        make_cnf,
        lambda: vdp.problem(6, 1.0, CPU),
        lambda: mixed.problem(6, 1.0, CPU),
        lambda: mlp.problem(6, 1.0, CPU),
        lambda: latent.problem(6, 3, CPU),
    ],
)
@pytest.mark.parametrize("t", [0.0, 7.5])
def test_the_field_is_that_of_torch_with_the_same_weights(make: Callable[[], Problem], t: float) -> None:
    problem = make()
    (y,) = (part + 0.1 for part in problem.parts)
    params = [to_jax(param) for param in problem.field.parameters()]
    dy = twin_of(problem).field(t, to_jax(y), params)
    with torch.no_grad():
        torch.testing.assert_close(to_torch(dy), problem.field(torch.tensor(t), y), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (make_cnf, (1, 3, 7)),
        (lambda: latent.problem(6, 3, CPU), (2, 6, 4)),
    ],
)
def test_the_loss_is_that_of_torch(make: Callable[[], Problem], shape: tuple[int, ...]) -> None:
    problem = make()
    twin = twin_of(problem)
    assert problem.loss is not None
    assert twin.loss is not None
    ys = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(to_torch(twin.loss(to_jax(ys))), problem.loss(ys), rtol=1e-5, atol=1e-5)


def test_a_field_that_jax_is_too_slow_for_has_none() -> None:
    assert [problem.twin for problem in odenet.problems(4, 1, CPU, 1e-2)] == [None, None]
