"""Recurrent cells, and the loop over time that runs one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from functional_dl.nn.initializers import glorot_uniform
from functional_dl.nn.network import Network, layer

__all__ = ["CELLS", "Cell", "gru_cell", "recurrent", "vanilla_cell"]


class Cell(NamedTuple):
    """A recurrent cell: ``init(key) -> params``, ``step(params, h_NH, x_NI) -> h_NH``, and its width H."""

    init: Callable[[Any], Any]
    step: Callable[[Any, Any, Any], Any]
    width: int


def _init(inputs: int, width: int, gates: int) -> Callable[[Any], Any]:
    def init(key: Any) -> Any:
        a, b = jax.random.split(key)
        return {
            "input_kernel": glorot_uniform(a, (inputs, gates * width)),
            "recurrent_kernel": glorot_uniform(b, (width, gates * width)),
            "bias": jnp.zeros(gates * width),
        }

    return init


def vanilla_cell(inputs: int, width: int) -> Cell:
    """h' = tanh(x U + h W + b) (Elman 1990)."""

    def step(params: Any, h: Any, x: Any) -> Any:
        return jnp.tanh(x @ params["input_kernel"] + h @ params["recurrent_kernel"] + params["bias"][None])

    return Cell(_init(inputs, width, 1), step, width)


def gru_cell(inputs: int, width: int) -> Cell:
    """Gated recurrent unit, h' = (1 − z) n + z h with reset r inside n (Cho et al. 2014, as PyTorch has it)."""

    def step(params: Any, h: Any, x: Any) -> Any:
        a = x @ params["input_kernel"] + params["bias"][None]
        b = h @ params["recurrent_kernel"]
        (ra, za, na), (rb, zb, nb) = jnp.split(a, 3, axis=-1), jnp.split(b, 3, axis=-1)
        r, z = jax.nn.sigmoid(ra + rb), jax.nn.sigmoid(za + zb)
        return (1 - z) * jnp.tanh(na + r * nb) + z * h

    return Cell(_init(inputs, width, 3), step, width)


CELLS = {"vanilla": vanilla_cell, "gru": gru_cell}


def recurrent(cell: Cell) -> Network:
    """Run ``cell`` over x_NTI from h = 0; the last state, (N, H)."""

    def apply(params: Any, x_NTI: Any) -> Any:
        h = jnp.zeros((x_NTI.shape[0], cell.width), x_NTI.dtype)
        return lax.scan(lambda h, x: (cell.step(params, h, x), None), h, jnp.swapaxes(x_NTI, 0, 1))[0]

    return layer(cell.init, apply)
