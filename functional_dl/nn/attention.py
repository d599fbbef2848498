"""Self-attention (Vaswani et al. 2017), rotary positions, and the transformer block made of them."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from functional_dl.nn.dense import dense
from functional_dl.nn.dropout import dropout as drop
from functional_dl.nn.initializers import glorot_uniform
from functional_dl.nn.network import Network, function, layer, residual, serial
from functional_dl.nn.normalization import layer_norm, rms_norm
from functional_dl.traced import is_zero

__all__ = ["NORMS", "block", "rotate", "self_attention", "swiglu"]

NORMS = {"layer": layer_norm, "rms": rms_norm}
Implementation = Literal["xla", "cudnn"]


def rotate(x_BTNH: Any, base: float = 10_000.0) -> Any:
    """Rotary positions (RoFormer, Su et al. 2021, eq. 34): turn pairs of entries by angles that grow with the position.

    At position t the pair (x_i, x_{i+H/2}), i < H/2, is turned by t · base^(−2i/H), so that the product of a query and
    a key depends on how far apart they are and on no position itself.  Pairs are taken from the two halves
    ("rotate-half", as in GPT-NeoX and Llama), not from neighbours as in the paper: a permutation of the entries that
    turns one into the other.

    Raises:
      ValueError: H is odd.
    """
    positions, half = x_BTNH.shape[1], x_BTNH.shape[3] // 2
    if x_BTNH.shape[3] % 2:
        raise ValueError(f"rotary positions turn pairs of entries: a head of width {x_BTNH.shape[3]} is odd.")
    # In float32 whatever x is: bfloat16 has no numbers between 256 and 258.
    frequency_H = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle_TH = jnp.arange(positions, dtype=jnp.float32)[:, None] * frequency_H[None]
    cos, sin = jnp.cos(angle_TH)[None, :, None], jnp.sin(angle_TH)[None, :, None]
    a, b = x_BTNH[..., :half], x_BTNH[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x_BTNH.dtype)


def self_attention(
    width: int,
    heads: int,
    causal: bool = True,
    kv_heads: int | None = None,
    rotary: bool = False,
    implementation: Implementation | None = None,
) -> Network:
    """softmax(Q Kᵀ/√H) V in ``heads`` heads of width H = D/heads: (B, T, D) → (B, T, D).

    Args:
      width: D.
      heads: of queries.
      causal: whether a position sees only itself and what is before it.
      kv_heads: heads of keys and values, each shared by heads/kv_heads heads of queries that follow one another
        (grouped-query attention, Ainslie et al. 2023); 1 is multi-query attention, None as many as there are queries.
      rotary: whether queries and keys are turned by their positions, as in `rotate`.
      implementation: of `jax.nn.dot_product_attention`; ``"cudnn"`` is the fused kernel of NVIDIA's GPUs, in float16
        and bfloat16, and None what JAX takes.

    Raises:
      ValueError: heads do not divide the width, or kv_heads the heads; rotary and H is odd.
    """
    pairs = heads if kv_heads is None else kv_heads
    if width % heads:
        raise ValueError(f"self_attention: width {width} is not divisible by {heads} heads.")
    if heads % pairs:
        raise ValueError(f"self_attention: {heads} heads of queries are not divisible by {pairs} of keys and values.")
    size = width // heads
    if rotary and size % 2:
        raise ValueError(f"self_attention: rotary positions need heads of even width; {width}/{heads} is {size}.")
    ends = (width, width + pairs * size)

    def init(key: Any) -> Any:
        a, b = jax.random.split(key)
        qkv = glorot_uniform(a, (width, width + 2 * pairs * size))
        return {"qkv": qkv, "out": glorot_uniform(b, (width, width))}

    def apply(params: Any, x_BTD: Any) -> Any:
        b, t, _ = x_BTD.shape
        q, k, v = (part.reshape(b, t, -1, size) for part in jnp.split(x_BTD @ params["qkv"], ends, axis=-1))
        if rotary:
            q, k = rotate(q), rotate(k)
        y_BTNH = jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation=implementation)
        return y_BTNH.reshape(b, t, width) @ params["out"]

    return layer(init, apply)


def swiglu(width: int, hidden: int) -> Network:
    """(SiLU(x W_gate) ⊙ x W_up) W_down, without biases (Shazeer 2020, eq. 6): (…, width) → (…, width)."""

    def init(key: Any) -> Any:
        shapes = {"gate": (width, hidden), "up": (width, hidden), "down": (hidden, width)}
        keys = jax.random.split(key, len(shapes))
        return {name: glorot_uniform(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}

    def apply(params: Any, x: Any) -> Any:
        return (jax.nn.silu(x @ params["gate"]) * (x @ params["up"])) @ params["down"]

    return layer(init, apply)


def block(
    width: int,
    heads: int,
    causal: bool = True,
    kv_heads: int | None = None,
    rotary: bool = False,
    norm: Literal["layer", "rms"] = "layer",
    feedforward: Literal["gelu", "swiglu"] = "gelu",
    dropout: float = 0.0,
    implementation: Implementation | None = None,
) -> Network:
    """A pre-norm transformer block (Xiong et al. 2020), (B, T, D) → (B, T, D): attention, then a feed-forward layer.

    Each reads its input normalised and is added to it.

    Args:
      width: D.
      heads: of queries.
      causal: as in `self_attention`, as are ``kv_heads``, ``rotary`` and ``implementation``.
      norm: layer norm or RMS norm.
      feedforward: ``"gelu"``, dense to 4 D and back; or ``"swiglu"``, whose three kernels of 8/3 D, rounded up to a
        multiple of 8, have as many entries.
      dropout: the share of entries dropped in training from what each of the two adds.

    Raises:
      ValueError: as `self_attention`, or an unknown norm or feed-forward layer.
    """
    if norm not in NORMS:
        raise ValueError(f"block: unknown norm {norm!r}; known: {', '.join(NORMS)}.")
    if feedforward == "gelu":
        parts = {"up": dense(width, 4 * width), "gelu": function(jax.nn.gelu), "down": dense(4 * width, width)}
    elif feedforward == "swiglu":
        parts = {"swiglu": swiglu(width, 8 * -(-width // 3))}
    else:
        raise ValueError(f"block: unknown feedforward {feedforward!r}; known: gelu, swiglu.")
    # No part at all where nothing is dropped: the keys of the parts, and so their weights, are those without dropout.
    last = {} if is_zero(dropout) else {"dropout": drop(dropout)}
    mix = self_attention(width, heads, causal, kv_heads, rotary, implementation)
    return serial(
        attention=residual(serial(norm=NORMS[norm](width), mix=mix, **last)),
        feedforward=residual(serial(norm=NORMS[norm](width), **parts, **last)),
    )
