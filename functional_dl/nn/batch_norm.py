"""Batch normalisation, whose running statistics are the network's state."""

from __future__ import annotations

from math import prod
from typing import Any

import jax.numpy as jnp
from jax import lax

from functional_dl.nn.axes import along_channels, check_channels, wide
from functional_dl.nn.network import Mode, Network
from functional_dl.traced import is_traced

__all__ = ["batch_norm"]


def batch_norm(channels: int, momentum: float = 0.1, epsilon: float = 1e-5) -> Network:
    """(x − mean)/√(var + ε) · scale + bias for each channel (Ioffe & Szegedy 2015, algorithm 1): (…, channels).

    In training, mean and variance are those of the batch over all axes but the last, the variance divided by n. In
    evaluation they are the running ones, and the layer is one scale and one shift.

    The state is ``{"mean", "variance"}``, (channels,) each, float32, at first 0 and 1. After a batch,
    running ← (1 − momentum) · running + momentum · batch's, with the variance divided by n − 1: PyTorch's convention.
    Keras and Flax call 1 − momentum their momentum, and divide by n.

    Statistics are taken in float32 at least. No gradient goes into the state.

    Raises:
      ValueError: the last axis has another size; or a single entry per channel in training, which has no variance.

    Example:
      >>> import jax, jax.numpy as jnp, functional_dl.nn as nn
      >>> network = nn.batch_norm(1)
      >>> y, state = network.train(network.init(jax.random.key(0)), jnp.array([[1.0], [3.0]]))
      >>> print(y.round(3).ravel(), state["mean"], state["variance"])
      [-1.  1.] [0.2] [1.1]
    """
    if not is_traced(momentum) and not 0 <= momentum <= 1:
        raise ValueError(f"batch_norm: momentum = {momentum}; due is a share from 0 to 1.")

    def forward(params: Any, state: Any, x: Any, mode: Mode) -> tuple[Any, Any]:
        check_channels("batch_norm", x, channels)
        scale, bias, y = wide(params["scale"]), wide(params["bias"]), wide(x)
        if mode.training:
            n = prod(x.shape[:-1])
            if n < 2:
                raise ValueError(f"batch_norm got {x.shape} in training; due are two entries per channel at least.")
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(y, axes)
            y = y - along_channels(mean, x.ndim)
            variance = jnp.mean(jnp.square(y), axes)
            factor, shift = scale * lax.rsqrt(variance + epsilon), bias
            batch = {"mean": mean, "variance": variance * (n / (n - 1))}
            state = {name: _moved(state[name], batch[name], momentum) for name in ("mean", "variance")}
        else:
            factor = scale * lax.rsqrt(state["variance"] + epsilon)
            shift = bias - state["mean"] * factor
        y = y * along_channels(factor, x.ndim) + along_channels(shift, x.ndim)
        return y.astype(jnp.result_type(x, params["scale"])), state

    return Network(
        lambda key: {"scale": jnp.ones(channels), "bias": jnp.zeros(channels)},
        forward,
        lambda: {"mean": jnp.zeros(channels, jnp.float32), "variance": jnp.ones(channels, jnp.float32)},
    )


def _moved(running: Any, new: Any, momentum: float) -> Any:
    return ((1 - momentum) * running + momentum * lax.stop_gradient(new)).astype(running.dtype)
