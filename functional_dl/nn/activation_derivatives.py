"""The derivatives of activations by name, as functions of the pre-activation, written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["DERIVATIVES"]


def _sigmoid(a: Any) -> Any:
    """σ' = σ (1 − σ), at most 0.25, where σ = 0.5; 1 − σ(a) = σ(−a) keeps its digits where σ is near one."""
    return jax.nn.sigmoid(a) * jax.nn.sigmoid(-a)


def _tanh(a: Any) -> Any:
    """1 − tanh², at most 1."""
    return 1 - jnp.square(jnp.tanh(a))


def _relu(a: Any) -> Any:
    """1 above zero, else 0: a unit that is never above zero never learns."""
    return (a > 0).astype(a.dtype)


def _hard_tanh(a: Any) -> Any:
    """1 in [−1, 1], the ends included, else 0."""
    return ((a >= -1) & (a <= 1)).astype(a.dtype)


def _leaky_relu(a: Any) -> Any:
    """1 from zero on, 0.01 below."""
    return jnp.where(a >= 0, 1, jnp.asarray(0.01, a.dtype))


def _elu(a: Any) -> Any:
    """1 above zero, e^a from zero down."""
    return jnp.exp(jnp.minimum(a, 0))


def _gelu(a: Any) -> Any:
    """Of a/2 (1 + tanh u) with u = √(2/π) (a + 0.044715 a³):   (1 + tanh u)/2 + a/2 (1 − tanh² u) u'."""
    c = np.sqrt(2 / np.pi).astype(a.dtype)
    t = jnp.tanh(c * (a + 0.044715 * a**3))
    return (1 + t) / 2 + a / 2 * (1 - t**2) * c * (1 + 3 * 0.044715 * a**2)


def _silu(a: Any) -> Any:
    """Of a σ(a):   σ (1 + a (1 − σ))."""
    return jax.nn.sigmoid(a) * (1 + a * jax.nn.sigmoid(-a))


DERIVATIVES: dict[str, Callable[[Any], Any]] = {
    "identity": jnp.ones_like,
    "sign": jnp.zeros_like,
    "sigmoid": _sigmoid,
    "tanh": _tanh,
    "relu": _relu,
    "hard_tanh": _hard_tanh,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "silu": _silu,
    "softplus": jax.nn.sigmoid,
}
"""Φ'(a) of each Φ in `functional_dl.nn.activations.ACTIVATIONS`; at kinks what JAX takes for it, as stated with each.

Example:
  >>> import jax.numpy as jnp
  >>> print(DERIVATIVES["relu"](jnp.array([-1.0, 0.0, 2.0])), DERIVATIVES["hard_tanh"](jnp.array([-1.0, 0.5, 2.0])))
  [0. 0. 1.] [1. 1. 0.]
"""
