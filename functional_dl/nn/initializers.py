"""Initial weights: functions ``(key, shape, dtype) -> array``; a kernel is (…window, in, out).

Fan-in is in × window: what one output reads. Fan-out is out × window. A grouped convolution draws its groups apart,
each a kernel of (…window, in/groups, out/groups), so that both are right there as well. Draws are made in float32 at
least and rounded once. Biases start at zero.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import jax
import jax.numpy as jnp

__all__ = [
    "INITIALIZERS", "Initializer", "constant", "fans", "glorot_normal", "glorot_truncated", "glorot_uniform",
    "he_normal", "he_truncated", "he_uniform", "lecun_normal", "lecun_truncated", "lecun_uniform", "ones", "orthogonal",
    "small_normal", "zeros",
]  # fmt: skip

Initializer = Callable[..., jax.Array]

# The deviation of a standard normal truncated at ±2: √(1 − 4 φ(2)/(2 Φ(2) − 1)).
TRUNCATED_DEVIATION = 0.8796256610342398


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Fan-in and fan-out of a dense kernel (in, out), of a convolution's (…window, in, out), or of a vector.

    Raises:
      ValueError: the shape has no axis.

    Example:
      >>> from functional_dl.nn import initializers
      >>> initializers.fans((3, 3, 16, 32))
      (144, 288)
    """
    if not shape:
        raise ValueError("an initializer got the shape (); fan-in and fan-out need an axis at least.")
    window = prod(shape[:-2])
    # One at least, so that an empty kernel is no division by zero.
    return max(1, shape[-2 if len(shape) > 1 else 0] * window), max(1, shape[-1] * window)


def _drawn_in(dtype: Any) -> Any:
    return jnp.promote_types(dtype, jnp.float32)


def _normal(key: Any, shape: tuple[int, ...], dtype: Any, deviation: float) -> jax.Array:
    return (deviation * jax.random.normal(key, shape, _drawn_in(dtype))).astype(dtype)


def _uniform(key: Any, shape: tuple[int, ...], dtype: Any, deviation: float) -> jax.Array:
    """Uniform within ±√3 σ, whose deviation is σ."""
    bound = sqrt(3) * deviation
    return jax.random.uniform(key, shape, _drawn_in(dtype), -bound, bound).astype(dtype)


def _truncated(key: Any, shape: tuple[int, ...], dtype: Any, deviation: float) -> jax.Array:
    """Normal, cut at two deviations and widened again so that its deviation is σ: within ±2.27 σ."""
    drawn = jax.random.truncated_normal(key, -2, 2, shape, _drawn_in(dtype))
    return (deviation / TRUNCATED_DEVIATION * drawn).astype(dtype)


def _lecun(shape: tuple[int, ...]) -> float:
    return sqrt(1 / fans(shape)[0])


def _glorot(shape: tuple[int, ...]) -> float:
    return sqrt(2 / sum(fans(shape)))


def _he(shape: tuple[int, ...], slope: float) -> float:
    return sqrt(2 / ((1 + slope**2) * fans(shape)[0]))


def constant(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32, value: float = 0.0) -> jax.Array:
    """``value`` everywhere. Units that start equal stay equal: for biases and scales, not for kernels."""
    return jnp.full(shape, value, dtype)


def zeros(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Zeros, as biases are."""
    return constant(key, shape, dtype, 0.0)


def ones(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Ones, as the scales of normalisation are."""
    return constant(key, shape, dtype, 1.0)


def small_normal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32, deviation: float = 1e-2) -> jax.Array:
    """Normal with σ = 10⁻², whatever the fan-in."""
    return _normal(key, shape, dtype, deviation)


def lecun_normal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal with σ = √(1/fan-in) (LeCun et al. 1998, "Efficient BackProp", eq. 16)."""
    return _normal(key, shape, dtype, _lecun(shape))


def lecun_uniform(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform within ±√(3/fan-in), so that σ = √(1/fan-in) (LeCun et al. 1998, eq. 16)."""
    return _uniform(key, shape, dtype, _lecun(shape))


def lecun_truncated(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal cut at two deviations with σ = √(1/fan-in) after the cut; `jax.nn.initializers.lecun_normal`."""
    return _truncated(key, shape, dtype, _lecun(shape))


def glorot_normal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal with σ = √(2/(fan-in + fan-out)) (Glorot & Bengio 2010, eq. 12)."""
    return _normal(key, shape, dtype, _glorot(shape))


def glorot_uniform(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Uniform within ±√(6/(fan-in + fan-out)) (Glorot & Bengio 2010, eq. 16)."""
    return _uniform(key, shape, dtype, _glorot(shape))


def glorot_truncated(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Normal cut at two deviations with σ = √(2/(fan-in + fan-out)) after the cut."""
    return _truncated(key, shape, dtype, _glorot(shape))


def he_normal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32, slope: float = 0.0) -> jax.Array:
    """Normal with σ = √(2/((1 + a²) fan-in)), a the slope of a leaky ReLU below zero (He et al. 2015, eqs. 10, 15)."""
    return _normal(key, shape, dtype, _he(shape, slope))


def he_uniform(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32, slope: float = 0.0) -> jax.Array:
    """Uniform within ±√(6/((1 + a²) fan-in)): the deviation of `he_normal` (He et al. 2015)."""
    return _uniform(key, shape, dtype, _he(shape, slope))


def he_truncated(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32, slope: float = 0.0) -> jax.Array:
    """Normal cut at two deviations, with the deviation of `he_normal` after the cut."""
    return _truncated(key, shape, dtype, _he(shape, slope))


def orthogonal(key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32, gain: float = 1.0) -> jax.Array:
    """Orthonormal columns (or rows, if those are fewer) times ``gain``, of the kernel as (…window × in) × out.

    Saxe, McClelland & Ganguli 2014, section 3. Every orthogonal matrix is equally likely: the signs of R's diagonal are
    taken out of Q (Mezzadri 2007, section 5).

    Raises:
      ValueError: the shape has fewer than two axes.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from functional_dl.nn import initializers
      >>> kernel = initializers.orthogonal(jax.random.key(0), (3, 3, 4, 8), gain=2.0).reshape(36, 8)
      >>> bool(jnp.allclose(kernel.T @ kernel, 4 * jnp.eye(8), atol=1e-5))
      True
    """
    if len(shape) < 2:
        raise ValueError(f"orthogonal got the shape {shape}; it needs (…, in, out).")
    rows, columns = prod(shape[:-1]), shape[-1]
    drawn = jax.random.normal(key, (max(rows, columns), min(rows, columns)), _drawn_in(dtype))
    q, r = jnp.linalg.qr(drawn)
    q = q * jnp.where(jnp.diagonal(r) < 0, -1, 1)[None].astype(q.dtype)
    return (gain * (q if rows >= columns else q.T)).reshape(shape).astype(dtype)


INITIALIZERS: dict[str, Initializer] = {
    f.__name__: f
    for f in (
        zeros, ones, small_normal, lecun_normal, lecun_uniform, lecun_truncated, glorot_normal, glorot_uniform,
        glorot_truncated, he_normal, he_uniform, he_truncated, orthogonal,
    )
}  # fmt: skip
