"""Fields and losses of workloads in JAX: they compute what ours do, our parameters handed in. This imports JAX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nodebench.benchmark.problems import Twin

Array = Any  # jax.Array; JAX need not be there where types are checked


def van_der_pol(mu: float) -> Twin:
    """VanDerPol of the workload vdp; it has no parameters."""

    def field(t: Array, y: Array, params: Sequence[Array]) -> Array:
        x, v = y[:, 0], y[:, 1]
        return jnp.stack([v, mu * (1 - x * x) * v - x], axis=1)

    return Twin(field)


def mixed_van_der_pol() -> Twin:
    """MixedVanDerPol of the workload mixed; it has no parameters."""

    def field(t: Array, y: Array, params: Sequence[Array]) -> Array:
        x, v, log_mu = y[:, 0], y[:, 1], y[:, 2]
        return jnp.stack([v, jnp.exp(log_mu) * (1 - x * x) * v - x, jnp.zeros_like(x)], axis=1)

    return Twin(field)


def perceptron() -> Twin:
    """MLPField of the workload mlp."""

    def field(t: Array, y: Array, params: Sequence[Array]) -> Array:
        w1, b1, w2, b2 = params
        return jnp.tanh(y @ w1.T + b1) @ w2.T + b2 - y

    return Twin(field)


def latent_field() -> Twin:
    """LatentField with one hidden layer, and the loss of the workload latent."""

    def field(t: Array, y: Array, params: Sequence[Array]) -> Array:
        w1, b1, w2, b2 = params
        return jnp.tanh(y @ w1.T + b1) @ w2.T + b2

    def loss(ys: Array) -> Array:
        return 0.5 * jnp.square(ys).sum() / ys.shape[1]

    return Twin(field, loss)


def planar_flow(width: int, dim: int, base_std: float) -> Twin:
    """PlanarField of variant `example`, and the negative log-likelihood of the workload cnf.

    The trace is in closed form, as ours is. The hypernetwork is evaluated in every evaluation: diffrax has no front
    door for all the times of a step.
    """
    block = width * dim

    def field(t: Array, y: Array, params: Sequence[Array]) -> Array:
        w1, b1, w2, b2, w3, b3 = params
        hidden = jnp.tanh(w2 @ jnp.tanh(w1[:, 0] * t + b1) + b2)
        w, u, b, gates = jnp.split(w3 @ hidden + b3, (block, 2 * block, 2 * block + width))
        w = w.reshape(width, dim)
        u = u.reshape(dim, width) * jax.nn.sigmoid(gates.reshape(dim, width)) / width
        h = jnp.tanh(w @ y[:-1] + b[:, None])
        traces = (u * w.T).sum(0)  # of each unit at tanh' = 1
        trace = traces.sum() - traces @ (h * h)
        return jnp.concatenate([u @ h, trace[None]])

    def loss(ys: Array) -> Array:
        y1 = ys[-1]
        log_normaliser = dim * (math.log(base_std) + 0.5 * math.log(2 * math.pi))
        base_log_prob = -0.5 * jnp.square(y1[:-1] / base_std).sum(0) - log_normaliser
        return -(base_log_prob + y1[-1]).mean()

    return Twin(field, loss)
