"""Initial weights: functions ``(key, shape, dtype) -> array``; a kernel's last axis is its fan-out."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["INITIALIZERS", "glorot_normal", "glorot_uniform", "he_normal", "lecun_normal", "small_normal", "zeros"]

Initializer = Callable[..., jax.Array]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out of a dense kernel (in, out) or a convolution's (…, in, out)."""
    window = prod(shape[:-2])
    return (shape[-2] * window if len(shape) > 1 else shape[0]), shape[-1] * window


def zeros(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Zeros, as biases are."""
    return jnp.zeros(shape, dtype)


def small_normal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal with σ = 10⁻²."""
    return 0.01 * jax.random.normal(key, shape, dtype)


def lecun_normal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal with σ = √(1/fan-in) (LeCun et al. 1998)."""
    return sqrt(1 / _fans(shape)[0]) * jax.random.normal(key, shape, dtype)


def glorot_normal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal with σ = √(2/(fan-in + fan-out)) (Glorot & Bengio 2010)."""
    return sqrt(2 / sum(_fans(shape))) * jax.random.normal(key, shape, dtype)


def glorot_uniform(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform within ±√(6/(fan-in + fan-out)) (Glorot & Bengio 2010, eq. 16)."""
    bound = sqrt(6 / sum(_fans(shape)))
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def he_normal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal with σ = √(2/fan-in) (He et al. 2015)."""
    return sqrt(2 / _fans(shape)[0]) * jax.random.normal(key, shape, dtype)


INITIALIZERS: dict[str, Initializer] = {
    f.__name__: f for f in (zeros, small_normal, lecun_normal, glorot_normal, glorot_uniform, he_normal)
}
