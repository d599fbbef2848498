"""Activations by name, those of `jax.nn` where it has them; and the two with more to them, parametric ReLU and maxout.

Derivatives at the kinks are JAX's: ReLU 0 at 0; hard tanh 1 at ±1; leaky and parametric ReLU and ELU 1 at 0; sign 0
everywhere; maxout shares the derivative equally among pieces that tie. Sigmoid's derivative f(1 − f) is 0.25 at most,
where f = 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.nn.axes import along_channels, check_channels
from functional_dl.nn.network import Network, function, layer

__all__ = ["ACTIVATIONS", "maxout", "parametric_relu"]


def _identity(x: Any) -> Any:
    return x


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": _identity,
    "sign": jnp.sign,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "hard_tanh": jax.nn.hard_tanh,
    "leaky_relu": jax.nn.leaky_relu,  # slope 0.01 below zero (Maas et al. 2013)
    "elu": jax.nn.elu,  # α = 1 (Clevert et al. 2016, eq. 15)
    "gelu": jax.nn.gelu,  # the approximation by tanh (Hendrycks & Gimpel 2016, section 2)
    "silu": jax.nn.silu,  # x σ(x), also "swish" (Elfwing et al. 2018)
    "softplus": jax.nn.softplus,
}


def parametric_relu(channels: int, slope: float = 0.25) -> Network:
    """x above zero, a x below, with a learnt ``slope`` for each channel (He et al. 2015, eq. 1; a = 0.25 at first).

    (…, channels) → (…, channels). Weight decay on the slope pulls it to ReLU's; the paper uses none.

    Raises:
      ValueError: the last axis has another size.
    """

    def apply(params: Any, x: Any) -> Any:
        check_channels("parametric_relu", x, channels)
        return jnp.where(x >= 0, x, along_channels(params["slope"], x.ndim) * x)

    return layer(lambda key: {"slope": jnp.full(channels, slope)}, apply)


def maxout(pieces: int) -> Network:
    """The largest of every ``pieces`` features that follow each other: (…, m · pieces) → (…, m).

    Goodfellow et al. 2013, section 3: hᵢ = maxⱼ zᵢⱼ, where a dense layer before it makes the z.

    Raises:
      ValueError: ``pieces`` is no positive number, or the last axis is not divisible by it.

    Example:
      >>> import jax.numpy as jnp, functional_dl.nn as nn
      >>> nn.maxout(2).apply({}, jnp.array([[1.0, 3.0, -5.0, -4.0]])).tolist()
      [[3.0, -4.0]]
    """
    if pieces < 1:
        raise ValueError(f"maxout: pieces = {pieces}; due is a positive number.")

    def apply(x: Any) -> Any:
        if not x.ndim or x.shape[-1] % pieces:
            raise ValueError(f"maxout got {x.shape}; due is a last axis divisible by its {pieces} pieces.")
        return jnp.max(x.reshape(*x.shape[:-1], x.shape[-1] // pieces, pieces), axis=-1)

    return function(apply)
