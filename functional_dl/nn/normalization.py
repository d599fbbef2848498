"""Normalisation of each example by itself: layer, RMS and group norm, in float32 at least and rounded once."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from functional_dl.nn.axes import along_channels, check_channels, wide
from functional_dl.nn.network import Network, layer

__all__ = ["group_norm", "layer_norm", "rms_norm"]


def layer_norm(width: int, epsilon: float = 1e-5) -> Network:
    """(x − mean)/√(var + ε) · scale + bias over the last axis (Ba, Kiros & Hinton 2016, eq. 4): (…, width), as it came.

    Raises:
      ValueError: the last axis has another size.
    """

    def apply(params: Any, x: Any) -> Any:
        check_channels("layer_norm", x, width)
        return _affine(params, _normed(wide(x), -1, epsilon), x)

    return layer(lambda key: {"scale": jnp.ones(width), "bias": jnp.zeros(width)}, apply)


def rms_norm(width: int, epsilon: float = 1e-5) -> Network:
    """x/√(mean x² + ε) · scale over the last axis (Zhang & Sennrich 2019, eq. 4): (…, width), as it came.

    Raises:
      ValueError: the last axis has another size.
    """

    def apply(params: Any, x: Any) -> Any:
        check_channels("rms_norm", x, width)
        y = wide(x)
        return _affine(params, y * lax.rsqrt(jnp.mean(jnp.square(y), -1, keepdims=True) + epsilon), x)

    return layer(lambda key: {"scale": jnp.ones(width)}, apply)


def group_norm(channels: int, groups: int, epsilon: float = 1e-5) -> Network:
    """Layer norm over space and each of ``groups`` of channels (Wu & He 2018, eqs. 1–7): (N, …, channels), as it came.

    One group is layer norm over all but N; as many groups as channels is instance norm.

    Raises:
      ValueError: groups do not divide the channels, or the last axis has another size.
    """
    if groups < 1 or channels % groups:
        raise ValueError(f"group_norm: {channels} channels are not divisible into {groups} groups.")

    def apply(params: Any, x: Any) -> Any:
        check_channels("group_norm", x, channels)
        if x.ndim < 2:
            raise ValueError(f"group_norm got {x.shape}; due is (N, …, {channels}).")
        grouped = wide(x).reshape(x.shape[0], -1, groups, channels // groups)
        return _affine(params, _normed(grouped, (1, 3), epsilon).reshape(x.shape), x)

    return layer(lambda key: {"scale": jnp.ones(channels), "bias": jnp.zeros(channels)}, apply)


def _normed(x: Any, axes: Any, epsilon: float) -> Any:
    centred = x - jnp.mean(x, axes, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(jnp.square(centred), axes, keepdims=True) + epsilon)


def _affine(params: Any, normed: Any, x: Any) -> Any:
    """Scale and bias; in the dtype that ``x`` and the parameters have together."""
    y = normed * along_channels(params["scale"], x.ndim)
    if "bias" in params:
        y = y + along_channels(params["bias"], x.ndim)
    return y.astype(jnp.result_type(x, params["scale"]))
