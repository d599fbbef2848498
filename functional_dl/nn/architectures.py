"""Whole networks by name, as configs ask for them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from functional_dl.nn.activations import ACTIVATIONS
from functional_dl.nn.attention import block
from functional_dl.nn.convolution import convolution, max_pool
from functional_dl.nn.dense import dense, embedding
from functional_dl.nn.initializers import INITIALIZERS
from functional_dl.nn.network import Network, flatten, function, layer, serial
from functional_dl.nn.normalization import layer_norm
from functional_dl.nn.recurrent import CELLS, recurrent

__all__ = ["ARCHITECTURES", "autoencoder", "cnn", "mlp", "rnn", "transformer"]


def mlp(
    inputs: int, outputs: int, hidden: Sequence[int] = (128,), activation: str = "relu", init: str = "he_normal"
) -> Network:
    """Dense layers: (N, …) with ``inputs`` entries each → (N, outputs)."""
    sizes = [inputs, *hidden, outputs]
    parts = {"flatten": flatten()}
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        parts[f"dense_{i}"] = dense(n, m, INITIALIZERS[init])
        if i < len(hidden):
            parts[f"activation_{i}"] = function(ACTIVATIONS[activation])
    return serial(**parts)


def cnn(
    shape: Sequence[int], outputs: int, channels: Sequence[int] = (16, 32), hidden: int = 64, activation: str = "relu"
) -> Network:
    """Convolutions 3×3, each followed by pooling 2×2, then two dense layers: (N, H, W[, C]) → (N, outputs)."""
    height, width, depth = (*shape, 1)[:3]
    parts = {"image": function(lambda x: x if x.ndim == 4 else x[..., None])}
    for i, m in enumerate(channels):
        parts[f"convolution_{i}"] = convolution(depth, m)
        parts[f"activation_{i}"] = function(ACTIVATIONS[activation])
        parts[f"pool_{i}"] = max_pool(2)
        height, width, depth = height // 2, width // 2, m
    return serial(
        **parts,
        flatten=flatten(),
        dense=dense(height * width * depth, hidden),
        activation=function(ACTIVATIONS[activation]),
        head=dense(hidden, outputs),
    )


def rnn(inputs: int, outputs: int, width: int = 64, cell: str = "gru") -> Network:
    """A recurrent cell over (N, T, inputs), and a dense layer on its last state → (N, outputs)."""
    return serial(recurrent=recurrent(CELLS[cell](inputs, width)), head=dense(width, outputs))


def autoencoder(inputs: int, code: int = 16, activation: str = "tanh") -> Network:
    """Tied autoencoder x → Φ(x W + b) Wᵀ + c: encoder and decoder share W, whose gradient is the sum over both uses."""

    def init(key: Any) -> Any:
        kernel = INITIALIZERS["glorot_uniform"](key, (inputs, code))
        return {"kernel": kernel, "encoder_bias": jnp.zeros(code), "decoder_bias": jnp.zeros(inputs)}

    def apply(params: Any, x: Any) -> Any:
        flat = x.reshape(x.shape[0], -1)
        h = ACTIVATIONS[activation](flat @ params["kernel"] + params["encoder_bias"][None])
        return (h @ params["kernel"].T + params["decoder_bias"][None]).reshape(x.shape)

    return layer(init, apply)


def transformer(
    vocabulary: int, context: int, width: int = 128, heads: int = 4, depth: int = 4, scanned: bool = False
) -> Network:
    """A GPT (Radford et al. 2019): ids (B, T ≤ context) → logits (B, T, vocabulary); the embedding is also the head.

    With ``scanned`` the blocks' parameters are stacked and run by `lax.scan`: one block to compile.
    """
    one, norm, tokens = block(width, heads), layer_norm(width), embedding(vocabulary, width)

    def init(key: Any) -> Any:
        first, second, *rest = jax.random.split(key, 2 + depth)
        made = [one.init(k) for k in rest]
        blocks = jax.tree.map(lambda *xs: jnp.stack(xs), *made) if scanned else {f"{i}": p for i, p in enumerate(made)}
        return {
            "tokens": tokens.init(first),
            "positions": embedding(context, width).init(second),
            "blocks": blocks,
            "norm": norm.init(key),
        }

    def apply(params: Any, ids_BT: Any) -> Any:
        if ids_BT.shape[1] > context:
            raise ValueError(f"transformer got {ids_BT.shape[1]} tokens; its context is {context}.")
        x_BTD = tokens.apply(params["tokens"], ids_BT) + params["positions"]["table"][None, : ids_BT.shape[1]]
        if scanned:
            x_BTD, _ = lax.scan(lambda x, p: (one.apply(p, x), None), x_BTD, params["blocks"])
        else:
            for i in range(depth):
                x_BTD = one.apply(params["blocks"][f"{i}"], x_BTD)
        return norm.apply(params["norm"], x_BTD) @ params["tokens"]["table"].T

    return layer(init, apply)


ARCHITECTURES: dict[str, Callable[..., Network]] = {f.__name__: f for f in (mlp, cnn, rnn, autoencoder, transformer)}
