"""Normalisation over features."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from functional_dl.nn.network import Network, layer

__all__ = ["layer_norm"]


def layer_norm(width: int, epsilon: float = 1e-5) -> Network:
    """(x − mean)/√(var + ε) · scale + bias over the last axis (Ba, Kiros & Hinton 2016), in float32 at least."""

    def apply(params: Any, x: Any) -> Any:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        centred = wide - jnp.mean(wide, -1, keepdims=True)
        normed = (centred * lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + epsilon)).astype(x.dtype)
        shape = (1,) * (x.ndim - 1) + (width,)
        return normed * params["scale"].reshape(shape) + params["bias"].reshape(shape)

    return layer(lambda key: {"scale": jnp.ones(width), "bias": jnp.zeros(width)}, apply)
