"""Dense layers and embeddings."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from functional_dl.nn.axes import along_channels
from functional_dl.nn.initializers import Initializer, glorot_uniform, small_normal
from functional_dl.nn.network import Network, layer

__all__ = ["dense", "embedding"]


def dense(inputs: int, outputs: int, init: Initializer = glorot_uniform, bias: bool = True) -> Network:
    """y = x W + b over the last axis: (…, inputs) → (…, outputs); ``kernel`` is (inputs, outputs), ``bias`` (outputs,).

    Raises:
      ValueError: the last axis has another size than ``inputs``.
    """

    def make(key: Any) -> Any:
        params = {"kernel": init(key, (inputs, outputs))}
        return {**params, "bias": jnp.zeros(outputs)} if bias else params

    def apply(params: Any, x: Any) -> Any:
        if not x.ndim or x.shape[-1] != inputs:
            features = x.shape[-1] if x.ndim else "no"
            raise ValueError(f"dense got {features} features in {x.shape}; its kernel takes {inputs}.")
        y = jnp.einsum("...i,io->...o", x, params["kernel"])
        return y + along_channels(params["bias"], y.ndim) if bias else y

    return layer(make, apply)


def embedding(entries: int, width: int, init: Initializer = small_normal) -> Network:
    """A table row per integer: (…) → (…, width); ``table`` is (entries, width).

    Integers are taken as JAX takes indices: negative ones count from the end, those beyond it give the last row.

    Raises:
      ValueError: the input is not of integers.
    """

    def apply(params: Any, ids: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(ids), jnp.integer):
            raise ValueError(f"embedding got {jnp.result_type(ids).name}{list(jnp.shape(ids))}; due are integers.")
        return params["table"][ids]

    return layer(lambda key: {"table": init(key, (entries, width))}, apply)
