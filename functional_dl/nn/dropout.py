"""Dropout."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.nn.network import Mode, Network
from functional_dl.traced import is_traced, is_zero

__all__ = ["dropout"]


def dropout(rate: float) -> Network:
    """In training each entry is zeroed with probability ``rate`` and the others are divided by 1 − rate.

    Srivastava et al. 2014, section 10 (the inverted form, whose mean is the input): evaluation changes nothing, and a
    rate of 0 needs no key, unless it is traced.

    The share that stays is a float32 whatever the activations are: a number and a traced float32 zero the same entries.

    Raises:
      ValueError: ``rate`` is not in [0, 1).
    """
    if not is_traced(rate) and not 0 <= rate < 1:
        raise ValueError(f"dropout: rate = {rate}; due is a share from 0 to below 1.")

    def forward(params: Any, state: Any, x: Any, mode: Mode) -> tuple[Any, Any]:
        if not mode.training or is_zero(rate):
            return x, state
        if mode.key is None:
            raise ValueError("dropout needs a key in training; the mode has none.")
        share = 1 - jnp.asarray(rate, jnp.float32)
        kept = jax.random.bernoulli(mode.key, share, x.shape)
        return jnp.where(kept, x / share.astype(x.dtype), 0), state

    return Network(lambda key: {}, forward, random=not is_zero(rate))
