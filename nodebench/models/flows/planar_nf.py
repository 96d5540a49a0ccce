"""The planar normalizing flow: a chain of layers that each move all points along one direction.

Source: Rezende & Mohamed 2015 (arXiv 1505.05770), section 4.1 and appendix A.1; Chen et al. 2018, eq. 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nodebench.models.flows.flow import Flow, check_fraction, check_fractions
from nodebench.models.ode_block import ODEBlock

MAX_NEWTON_STEPS = 100  # 2 or 3 do in a trained flow, some tens with c near -1 or huge


class PlanarNF(Flow):
    """K layers z' = z + û tanh(w.z + b), from the base to the data; a layer has u (D), w (D) and b as parameters.

    A layer is invertible when c = w.û > -1. û = u + (c - w.u) w / |w|^2 with c = softplus(w.u) - 1 sees to that for
    every u and w (R&M, A.1). Where w = 0 (|w|^2 underflows) û = u, c = 0, and the layer is a shift by u tanh(b).

    With h = tanh(w.z + b) the Jacobian of a layer is I + (1 - h^2) û w^T, of rank one beside I, so the matrix
    determinant lemma gives its determinant in O(D). With s = 1 + c = softplus(w.u) it needs no subtraction:

        det = 1 + (1 - h^2) c = s (1 - h^2) + h^2,

    a mean of s and 1, hence positive. s is kept above the dtype's smallest normal number: log det is finite. A layer of
    small s is invertible on paper; in floating point its inverse loses about log10(1 / s) digits.

    Before layer k, w_k.z is w_k.z0 + sum_{j<k} (w_k.û_j) h_j. So the h of all layers solve one triangular system with
    the couplings w_k.û_j (TriangularTanh), and points and log-determinants follow from them in a few products. The
    inverse is a system of the same kind, with the layers in reverse order.

    Gradients are of first order only. Raises ValueError for fewer than one layer.
    """

    def __init__(self, num_layers: int = 32, dim: int = 2, base_std: float = 1.0) -> None:
        super().__init__(dim, base_std)
        if num_layers < 1:
            raise ValueError(f"`model.num_layers` is {num_layers}; allowed: whole numbers from 1 on")
        self.ode_block: ODEBlock | None = None
        self.num_layers = num_layers
        # The layers' bends, where w.z + b = 0, are to lie where base points do, in all directions. And c is to be 0,
        # or w.u = ln(e - 1), up to noise: around u = 0, c is softplus(0) - 1 = -0.31, every layer contracts, and a
        # long chain starts as one point.
        w = 2 * nn.functional.normalize(torch.randn(num_layers, dim))
        self.w = nn.Parameter(w)
        self.u = nn.Parameter(math.log(math.e - 1) * w / 4 + 0.1 * torch.randn(num_layers, dim))
        self.b = nn.Parameter(2 * base_std * torch.randn(num_layers))

    def push(self, z0: Tensor, fraction: float = 1.0) -> tuple[Tensor, Tensor]:
        self.check_points("z0", z0)
        u_hat, w, b, s = self._layers(fraction)
        h = _push_activations(z0, u_hat, w, b)
        return torch.addmm(z0, h.T, u_hat), _log_det(h, s)

    def pull(self, x: Tensor, fraction: float = 1.0) -> tuple[Tensor, Tensor]:
        self.check_points("x", x)
        u_hat, w, b, s = (of_layers.flip(0) for of_layers in self._layers(fraction))
        h = TriangularTanh.apply(torch.addmm(b[:, None], w, x.T), -torch.tril(w @ u_hat.T, -1), s)
        return torch.addmm(x, h.T, u_hat, alpha=-1), _log_det(h, s)

    def trajectory(self, z0: Tensor, fractions: Sequence[float]) -> Tensor:
        self.check_points("z0", z0)
        fractions = check_fractions(fractions)
        counts = [self._num_layers_at(fraction) for fraction in fractions]
        u_hat, w, b, _ = self._layers(fractions[-1])
        h = _push_activations(z0, u_hat, w, b)
        return torch.stack([torch.addmm(z0, h[:count].T, u_hat[:count]) for count in counts])

    def _num_layers_at(self, fraction: float) -> int:
        check_fraction(fraction)
        return round(fraction * self.num_layers)

    def _layers(self, fraction: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """û (K, D), w (K, D), b (K,) and s = 1 + w.û (K,) of the first layers."""
        count = self._num_layers_at(fraction)
        u, w, b = self.u[:count], self.w[:count], self.b[:count]
        tiny = torch.finfo(w.dtype).tiny
        norm2, wu = w.square().sum(1), (w * u).sum(1)
        is_shift = norm2 < tiny
        s = torch.logaddexp(wu, torch.zeros_like(wu)).clamp(min=tiny).masked_fill(is_shift, 1.0)
        along_w = ((s - 1 - wu) / norm2.masked_fill(is_shift, 1.0)).masked_fill(is_shift, 0.0)
        return torch.addcmul(u, along_w[:, None], w), w, b, s


def _push_activations(z0: Tensor, u_hat: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """h (K, N) of every layer on the way of base points (N, D)."""
    h: Tensor = TriangularTanh.apply(torch.addmm(b[:, None], w, z0.T), torch.tril(w @ u_hat.T, -1), None)
    return h


def _det(h: Tensor, s: Tensor) -> Tensor:
    """s (1 - h^2) + h^2 of every layer and point, (K, N); h (K, N), s (K,)."""
    return torch.lerp(s[:, None], torch.ones_like(s)[:, None], h.square())


def _log_det(h: Tensor, s: Tensor) -> Tensor:
    """The sum of log det over the layers, (N,)."""
    return _det(h, s).log().sum(0)


class TriangularTanh(torch.autograd.Function):
    """h (K, N) = tanh(v), where v_k + c_k h_k = p_k + sum_{j<k} M_kj h_j, for k = 1 ... K, with c = s - 1 > -1.

    p: (K, N); M: (K, K), zero on and above its diagonal; s: (K,), or None for c = 0. Solved row by row.

    The gradient is that of the implicit function theorem, so it does not depend on how the rows were solved: the
    equations' differential is dv_k = (dp_k + sum_{j<k} M_kj dh_j - h_k dc_k) / det_k, det_k = 1 + c_k (1 - h_k^2),
    with dh = (1 - h^2) dv. For a gradient g of h, that of p then solves a triangular system from the last row up,

        a_k = (g_k + sum_{j>k} M_jk a_j) (1 - h_k^2) / det_k,

    and those of M and s are a_k h_j and -a_k h_k, summed over points.
    """

    @staticmethod
    def forward(ctx: Any, p: Tensor, coupling: Tensor, s: Tensor | None) -> Tensor:
        h = torch.zeros_like(p)  # rows not yet solved count as 0 in the products
        rows = zip(p[:, None], coupling[:, None], h[:, None], strict=True)
        for k, (p_k, coupling_k, h_k) in enumerate(rows):
            v_k = torch.addmm(p_k, coupling_k, h)
            torch.tanh(v_k if s is None else _root(v_k, s[k]), out=h_k)
        ctx.save_for_backward(h, coupling, s)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_h: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        h, coupling, s = ctx.saved_tensors
        rate = 1 - h.square() if s is None else (1 - h.square()) / _det(h, s)
        grad_p = torch.zeros_like(h)
        rows = zip(grad_h[:, None], coupling.T[:, None], rate[:, None], grad_p[:, None], strict=True)
        for grad_h_k, coupling_k, rate_k, grad_p_k in reversed(list(rows)):
            torch.mul(torch.addmm(grad_h_k, coupling_k, grad_p), rate_k, out=grad_p_k)
        return grad_p, grad_p @ h.T, None if s is None else -(grad_p * h).sum(1)


def _root(p: Tensor, s: Tensor) -> Tensor:
    """The root v of v + c tanh(v) = p, for c = s - 1 and s > 0 (0-d); p and v of any one shape.

    The left side is odd and increasing, so let p >= 0; then v >= 0. There it is convex for c < 0 and concave for
    c > 0: Newton's method started above the root (c < 0) or below it (c > 0) comes nearer from that side and never
    passes it, so that it needs no bracket. p - c and p / s are such starts, as tanh v <= min(1, v); near c = -1,
    where p / s is far off, so is (3q)^(1/3) + 1.2 q with q = -p / c, as v - tanh v >= v^3 / (3 + 1.2 v^2).

    Only rounding turns a step back, and no such step is taken. The end is reached when no point moves by more than
    sqrt(eps), relatively: the step after that would be of order eps.
    """
    c = s.item() - 1
    target = p.abs()
    if c < 0:
        q = target / -c
        v = torch.minimum(torch.minimum(target - c, target / s), (3 * q).pow(1 / 3).add_(q, alpha=1.2))
    else:
        v = torch.maximum(target - c, target / s)
    onward = -1.0 if c < 0 else 1.0
    tolerance, one = math.sqrt(torch.finfo(p.dtype).eps), torch.ones_like(s)
    for _ in range(MAX_NEWTON_STEPS):
        h = v.tanh()
        step = (target - v).sub_(h, alpha=c).div_(torch.lerp(s, one, h * h)).mul_(onward).clamp_(min=0.0)
        v.add_(step, alpha=onward)
        if not (step > tolerance * v).any():
            break
    return v.copysign_(p)
