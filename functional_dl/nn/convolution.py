"""Convolution and pooling of images, channels last."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from functional_dl.nn.initializers import Initializer, he_normal
from functional_dl.nn.network import Network, function, layer

__all__ = ["average_pool", "convolution", "max_pool"]


def convolution(
    inputs: int,
    outputs: int,
    window: int = 3,
    stride: int = 1,
    padding: str = "SAME",
    groups: int = 1,
    dilation: int = 1,
    init: Initializer = he_normal,
) -> Network:
    """Two-dimensional convolution (N, H, W, inputs) → (N, H', W', outputs)."""

    def make(key: Any) -> Any:
        return {"kernel": init(key, (window, window, inputs // groups, outputs)), "bias": jnp.zeros(outputs)}

    def apply(params: Any, x_NHWC: Any) -> Any:
        y = lax.conv_general_dilated(
            x_NHWC,
            params["kernel"],
            (stride, stride),
            padding,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        return y + params["bias"].reshape(1, 1, 1, outputs)

    return layer(make, apply)


def max_pool(window: int = 2) -> Network:
    """Maxima over disjoint windows; a rest at the edge is dropped."""
    size = (1, window, window, 1)
    return function(lambda x: lax.reduce_window(x, -jnp.inf, lax.max, size, size, "VALID"))


def average_pool(window: int = 2) -> Network:
    """Means over disjoint windows; a rest at the edge is dropped."""
    size = (1, window, window, 1)
    return function(lambda x: lax.reduce_window(x, 0.0, lax.add, size, size, "VALID") / window**2)
