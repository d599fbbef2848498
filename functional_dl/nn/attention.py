"""Self-attention (Vaswani et al. 2017) and the transformer block made of it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.nn.dense import dense
from functional_dl.nn.initializers import glorot_uniform
from functional_dl.nn.network import Network, function, layer, residual, serial
from functional_dl.nn.normalization import layer_norm

__all__ = ["block", "self_attention"]


def self_attention(width: int, heads: int, causal: bool = True) -> Network:
    """softmax(Q Kᵀ/√(D/H)) V in ``heads`` heads: (B, T, D) → (B, T, D); a position sees itself and what is before."""
    if width % heads:
        raise ValueError(f"self_attention: width {width} is not divisible by {heads} heads.")

    def init(key: Any) -> Any:
        a, b = jax.random.split(key)
        return {"qkv": glorot_uniform(a, (width, 3 * width)), "out": glorot_uniform(b, (width, width))}

    def apply(params: Any, x_BTD: Any) -> Any:
        b, t, d = x_BTD.shape
        q, k, v = (part.reshape(b, t, heads, d // heads) for part in jnp.split(x_BTD @ params["qkv"], 3, axis=-1))
        y_BTNH = jax.nn.dot_product_attention(q, k, v, is_causal=causal)
        return y_BTNH.reshape(b, t, d) @ params["out"]

    return layer(init, apply)


def block(width: int, heads: int, causal: bool = True) -> Network:
    """A pre-norm transformer block: attention, then a GELU layer of four times the width, each on a residual."""
    return serial(
        attention=residual(serial(norm=layer_norm(width), mix=self_attention(width, heads, causal))),
        feedforward=residual(
            serial(
                norm=layer_norm(width),
                up=dense(width, 4 * width),
                gelu=function(jax.nn.gelu),
                down=dense(4 * width, width),
            )
        ),
    )
