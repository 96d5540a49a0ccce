"""Narrow matrix products and tanh inside compiled code: their values, and where they are used and where not."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from nodebench.models.flows import CNF
from nodebench.ode import missing_compiler, odeint
from nodebench.ode.compiled import compiler
from nodebench.ode.compiled.fusible import cache_tag, decompositions, rational_tanh, written_out

aten = torch.ops.aten
IS_FULL_TORCH = torch.__version__ >= compiler.FULL_TORCH
NEEDS_COMPILER = pytest.mark.skipif(
    missing_compiler(torch.device("cpu")) is not None, reason="there is no C++ compiler here"
)


def all_floats(stride: int) -> Tensor:
    """Every so many-th number of float32, NaN and infinities among them."""
    return torch.from_numpy(np.arange(0, 2**32, stride, dtype=np.uint64).astype(np.uint32).view(np.float32))


def test_tanh_is_exact_to_a_few_units_of_the_last_place_over_all_of_float32() -> None:
    x = all_floats(4093)
    expected, actual = torch.tanh(x.double()), rational_tanh(x)
    assert torch.equal(actual.isnan(), x.isnan())
    assert x.isnan().any()
    finite = ~x.isnan() & (x.abs() > 1e-37)
    error = ((actual.double() - expected) / expected)[finite]
    assert error.abs().max() < 4.2e-7
    assert actual[finite].abs().max() == 1.0


def test_tanh_at_the_edges_is_what_it_should_be() -> None:
    x = torch.tensor([torch.inf, -torch.inf, 3e38, -9.02, 0.0, -0.0, 1e-45, -1e-38, 1e-5])
    assert torch.equal(rational_tanh(x), torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0, -0.0, 1e-45, -1e-38, 1e-5]))
    assert torch.equal(torch.signbit(rational_tanh(x)), torch.signbit(x))
    odd = torch.linspace(0, 10, 1001)
    assert torch.equal(rational_tanh(-odd), -rational_tanh(odd))


SHAPES = [(5, 1, 7), (6, 4, 5), (2, 9, 5), (1, 9, 5), (7, 30, 3), (3, 30, 3), (7, 30, 1), (1, 1, 1)]


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_a_narrow_product_is_the_matrix_product(m: int, k: int, n: int) -> None:
    a, b = torch.randn(m, k, dtype=torch.float64), torch.randn(n, k, dtype=torch.float64).t()
    product = written_out(a, b)
    assert product is not None
    torch.testing.assert_close(product, a @ b, rtol=1e-13, atol=1e-13)


def test_wide_and_empty_products_are_left_to_a_library() -> None:
    for m, k, n in ((5, 5, 5), (0, 3, 4), (1 << 12, 1 << 12, 2)):
        assert written_out(torch.zeros(1).expand(m, k), torch.zeros(1).expand(k, n)) is None


def operations(f: Any, *inputs: Tensor) -> Counter[Any]:
    """How often each operation is left of f in compiled code."""
    graph = make_fx(f, decomposition_table=decompositions())(*inputs).graph
    return Counter(node.target for node in graph.nodes if node.op == "call_function")


def evaluation_and_products(w: Tensor, b: Tensor, u: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    """Units u tanh(w z + b) and the gradients of their sum."""
    leaves = [x.detach().requires_grad_() for x in (w, b, u, z)]
    w, b, u, z = leaves
    out = u @ torch.tanh(torch.addmm(b, w, z, beta=0.5, alpha=-2.0))
    return out.detach(), *torch.autograd.grad(out, leaves, torch.ones_like(out))


def units(width: int, dim: int, dtype: torch.dtype) -> list[Tensor]:
    shapes = ((width, dim), (width, 1), (dim, width), (dim, 40))
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def test_a_planar_field_and_its_products_are_elementwise_operations_and_sums() -> None:
    left = operations(evaluation_and_products, *units(8, 2, torch.float32))
    assert not {aten.mm.default, aten.addmm.default, aten.tanh.default} & set(left)
    left = operations(evaluation_and_products, *units(8, 2, torch.float64))
    assert aten.mm.default not in left
    assert left[aten.tanh.default] == 1  # exact where precision is asked for
    left = operations(evaluation_and_products, *units(8, 6, torch.float32))
    assert left[aten.mm.default] + left[aten.addmm.default] == 6


@pytest.mark.parametrize("dim", [2, 6])
def test_the_forms_change_values_by_rounding_alone(dim: int) -> None:
    inputs = units(8, dim, torch.float32)
    ours = make_fx(evaluation_and_products, decomposition_table=decompositions())(*inputs)(*inputs)
    eager = evaluation_and_products(*inputs)
    exact = evaluation_and_products(*(x.double() for x in inputs))
    for actual, beside, expected in zip(ours, eager, exact, strict=True):
        scale = expected.abs().max()
        assert (actual - expected).abs().max() < max(3 * (beside - expected).abs().max(), 2e-6 * scale)


def test_what_is_added_by_a_factor_of_zero_does_not_count() -> None:
    inputs = torch.full((3, 3), torch.nan), torch.ones(3, 2), torch.ones(2, 3)

    def f(*inputs: Tensor) -> Tensor:
        return torch.addmm(*inputs, beta=0.0)

    assert torch.equal(make_fx(f, decomposition_table=decompositions())(*inputs)(*inputs), f(*inputs))


def test_half_precision_and_other_devices_are_left_alone() -> None:
    left = operations(lambda a, b: torch.tanh(a @ b), *(torch.ones(2, 2, dtype=torch.bfloat16) for _ in "ab"))
    assert left[aten.mm.default] == 1
    left = operations(lambda a, b: torch.tanh(a @ b), *(torch.ones(2, 2, device="meta") for _ in "ab"))
    assert (left[aten.mm.default], left[aten.tanh.default]) == (1, 1)


class Graphs:
    """In place of inductor: what it is given, to run as it is."""

    def __init__(self) -> None:
        self.operations: Counter[Any] = Counter()
        self.tags: set[str] = set()

    def __call__(self, graph: Any, inputs: Any, *, decompositions: Any, **settings: Any) -> Any:
        from torch._dynamo.backends.common import aot_autograd

        self.tags.add(torch.compiler.config.cache_key_tag)
        backend = aot_autograd(fw_compiler=self._keep, bw_compiler=self._keep, decompositions=decompositions)
        return backend(graph, inputs)

    def _keep(self, graph: Any, inputs: Any) -> Any:
        from torch._functorch.aot_autograd import make_boxed_func

        self.operations.update(node.target for node in graph.graph.nodes if node.op == "call_function")
        return make_boxed_func(graph.forward)


class Units(nn.Module):
    """dz/dt = u tanh(w z + t)."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w, self.u = (nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((8, 2), (2, 8)))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.u @ torch.tanh(torch.addmm(t, self.w.to(z), z))


def gradient(field: nn.Module, mode: str, compile: bool, dtype: torch.dtype = torch.float32) -> Tensor:
    field = copy.deepcopy(field).to(dtype)
    y0 = torch.linspace(-1, 1, 20, dtype=dtype).view(2, 10).requires_grad_()
    settings = {"method": "midpoint", "dt": 0.25, "gradient": mode, "compile": compile}
    ys = odeint(field, y0, [0.0, 0.5], **settings).ys  # type: ignore[arg-type]
    grads = torch.autograd.grad(ys[-1].square().sum(), [y0, *field.parameters()])
    return torch.cat([grad.reshape(-1) for grad in grads])


@NEEDS_COMPILER
@pytest.mark.skipif(not IS_FULL_TORCH, reason="an earlier torch")
@pytest.mark.parametrize("mode", ["direct", pytest.param("adjoint", marks=pytest.mark.slow)])
def test_compiled_steps_and_their_gradients_hold_no_narrow_product_and_no_tanh(
    mode: str, monkeypatch: Any
) -> None:
    graphs = Graphs()
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", graphs)
    field = Units()
    ours, eager = (gradient(field, mode, compile) for compile in (True, False))
    exact = gradient(field, mode, False, torch.float64)
    assert graphs.operations[aten.div.Tensor] > 0
    assert not {aten.mm.default, aten.addmm.default, aten.tanh.default} & set(graphs.operations)
    assert (ours - exact).norm() < 3 * (eager - exact).norm() + 1e-6 * exact.norm()
    assert graphs.tags == {cache_tag()}
    assert torch.compiler.config.cache_key_tag != cache_tag()


@NEEDS_COMPILER
@pytest.mark.slow
def test_the_real_compiler_makes_loops_of_a_flows_evaluations() -> None:
    from torch._inductor.utils import fresh_cache, run_and_get_code

    flow = CNF(width=8, hidden_dim=4)
    field, y0 = flow.ode_block.vector_field, torch.randn(3, 64)

    def solve(compile: bool) -> Tensor:
        with torch.no_grad():
            return odeint(field, y0, [0.0, 0.5], method="midpoint", dt=0.25, compile=compile).ys[-1]

    with fresh_cache():
        ours, codes = run_and_get_code(solve, True)
    torch.testing.assert_close(ours, solve(False), rtol=1e-5, atol=1e-5)
    assert sum(code.count("extern_kernels.") for code in codes) == 0
