"""Networks of dense layers, which see an example as one row of numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.nn.activations import ACTIVATIONS
from functional_dl.nn.architectures.between import activated, dropped, normed, widened
from functional_dl.nn.dense import dense
from functional_dl.nn.initializers import INITIALIZERS
from functional_dl.nn.network import Network, flatten, layer, serial

__all__ = ["autoencoder", "mlp"]


def mlp(
    inputs: int,
    outputs: int,
    hidden: Sequence[int] = (128,),
    activation: str = "relu",
    init: str = "he_normal",
    dropout: float = 0.0,
    batch_norm: bool = False,
    pieces: int = 2,
) -> Network:
    """Dense layers: (N, …) with ``inputs`` entries each → (N, outputs).

    Args:
      inputs: entries of an example.
      outputs: entries of what is made of it, not activated.
      hidden: the widths of the layers between.
      activation: of hidden layers: a name in `ACTIVATIONS`, ``"parametric_relu"`` or ``"maxout"``.
      init: of the kernels, by its name in `INITIALIZERS`.
      dropout: the share of hidden units dropped in training (Srivastava et al. 2014).
      batch_norm: whether hidden layers are normalised over the batch before their activation (Ioffe & Szegedy 2015);
        they then have no bias of their own.
      pieces: of maxout, of which each hidden unit is the largest (Goodfellow et al. 2013).

    Raises:
      ValueError: an unknown activation.
    """
    sizes = [inputs, *hidden, outputs]
    parts = {"flatten": flatten()}
    for i, (n, m) in enumerate(itertools.pairwise(sizes)):
        last = i == len(hidden)
        made = m if last else widened(activation, m, pieces)
        parts[f"dense_{i}"] = dense(n, made, INITIALIZERS[init], bias=last or not batch_norm)
        if not last:
            parts |= normed(f"norm_{i}", made, batch_norm)
            parts |= activated(f"activation_{i}", activation, m, pieces)
            parts |= dropped(f"dropout_{i}", dropout)
    return serial(**parts)


def autoencoder(
    inputs: int, code: int = 16, activation: str = "tanh", hidden: Sequence[int] = (), tied: bool = True
) -> Network:
    """x → Φ(x W + b) = h → h Wᵀ + c, through as many layers as there are: (N, …) → (N, …).

    Tied, encoder and decoder share each W, whose gradient is the sum over both uses (Aggarwal 2018, §3.2.9; Vincent et
    al. 2010); untied, the decoder has kernels of its own.  Every layer is activated but the last of the decoder.

    Args:
      inputs: entries of an example.
      code: the width of the narrow middle.
      activation: Φ, by its name in `ACTIVATIONS`.
      hidden: the widths of layers between the inputs and the code, passed in the other order on the way back.
      tied: whether the decoder's kernels are the encoder's, transposed.

    Raises:
      ValueError: an unknown activation.

    Example:
      >>> import jax, functional_dl.nn as nn
      >>> from functional_dl.trees import name_leaves
      >>> list(name_leaves(nn.autoencoder(64, code=8).init(jax.random.key(0))))
      ['decoder_bias', 'encoder_bias', 'kernel']
    """
    sizes = list(itertools.pairwise([inputs, *hidden, code]))
    if activation not in ACTIVATIONS:
        raise ValueError(f"autoencoder: unknown activation {activation!r}; known: {', '.join(ACTIVATIONS)}.")
    phi, draw = ACTIVATIONS[activation], INITIALIZERS["glorot_uniform"]

    def init_layer(key: Any, n: int, m: int) -> Any:
        there, back = jax.random.split(key)
        params = {"kernel": draw(there, (n, m)), "encoder_bias": jnp.zeros(m), "decoder_bias": jnp.zeros(n)}
        return params if tied else {**params, "decoder_kernel": draw(back, (m, n))}

    def init(key: Any) -> Any:
        keys = jax.random.split(key, len(sizes))
        layers = [init_layer(k, n, m) for k, (n, m) in zip(keys, sizes, strict=True)]
        return {f"layer_{i}": p for i, p in enumerate(layers)} if hidden else layers[0]

    def apply(params: Any, x: Any) -> Any:
        layers = [params[f"layer_{i}"] for i in range(len(sizes))] if hidden else [params]
        h = x.reshape(x.shape[0], -1)
        for p in layers:
            h = phi(h @ p["kernel"] + p["encoder_bias"][None])
        for i, p in reversed(list(enumerate(layers))):
            a = h @ (p["kernel"].T if tied else p["decoder_kernel"]) + p["decoder_bias"][None]
            h = phi(a) if i else a
        return h.reshape(x.shape)

    return layer(init, apply)
