"""Dropout."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.nn.network import Mode, Network

__all__ = ["dropout"]


def dropout(rate: float) -> Network:
    """In training each entry is zeroed with probability ``rate`` and the others are divided by 1 − rate.

    Srivastava et al. 2014, section 10 (the inverted form, whose mean is the input): evaluation changes nothing, and a
    rate of 0 needs no key.

    Raises:
      ValueError: ``rate`` is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate = {rate}; due is a share from 0 to below 1.")

    def forward(params: Any, state: Any, x: Any, mode: Mode) -> tuple[Any, Any]:
        if not mode.training or rate == 0:
            return x, state
        if mode.key is None:
            raise ValueError("dropout needs a key in training; the mode has none.")
        kept = jax.random.bernoulli(mode.key, 1 - rate, x.shape)
        return jnp.where(kept, x / (1 - rate), 0), state

    return Network(lambda key: {}, forward, random=rate > 0)
