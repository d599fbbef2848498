"""Dense layers and embeddings."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from functional_dl.nn.initializers import Initializer, glorot_uniform, small_normal
from functional_dl.nn.network import Network, layer

__all__ = ["dense", "embedding"]


def dense(inputs: int, outputs: int, init: Initializer = glorot_uniform, bias: bool = True) -> Network:
    """y = x W + b over the last axis; ``kernel`` is (inputs, outputs), ``bias`` (outputs,)."""

    def make(key: Any) -> Any:
        params = {"kernel": init(key, (inputs, outputs))}
        return {**params, "bias": jnp.zeros(outputs)} if bias else params

    def apply(params: Any, x: Any) -> Any:
        if x.shape[-1] != inputs:
            raise ValueError(f"dense got {x.shape[-1]} features in {x.shape}; its kernel takes {inputs}.")
        y = jnp.einsum("...i,io->...o", x, params["kernel"])
        # The bias gets its axes explicitly: rank promotion is an error in our tests.
        return y + params["bias"].reshape((1,) * (y.ndim - 1) + (outputs,)) if bias else y

    return layer(make, apply)


def embedding(entries: int, width: int) -> Network:
    """A table row per integer: (…) → (…, width)."""
    return layer(lambda key: {"table": small_normal(key, (entries, width))}, lambda params, ids: params["table"][ids])
