"""What layers share: vectors along the channels, a number for each axis, windows that fit, dtypes that suffice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["Padding", "PerAxis", "along_channels", "check_channels", "check_space", "fit", "per_axis", "wide"]

PerAxis = int | Sequence[int]
Padding = str | int | Sequence[tuple[int, int]]


def wide(x: Any) -> jax.Array:
    """``x`` in float32, or in its own dtype where that holds more."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def along_channels(vector: Any, ndim: int) -> Any:
    """(C,) as (1, …, 1, C): broadcasting is explicit, because rank promotion is an error in our tests."""
    return vector.reshape((1,) * (ndim - 1) + (-1,))


def check_channels(who: str, x: Any, channels: int) -> None:
    """Raise unless the last axis of ``x`` has ``channels`` entries."""
    if not x.ndim or x.shape[-1] != channels:
        raise ValueError(f"{who} got {x.shape}; due is (…, {channels}), channels last.")


def check_space(who: str, x: Any, dimensions: int, channels: int | None = None) -> None:
    """Raise unless ``x`` is (N, one axis for each dimension, channels)."""
    if x.ndim != dimensions + 2 or channels not in (None, x.shape[-1]):
        due = ", ".join(("N", *"DHW"[3 - dimensions :], "C" if channels is None else str(channels)))
        raise ValueError(f"{who} got {x.shape}; due is ({due}), channels last.")


def per_axis(who: str, what: str, value: PerAxis, dimensions: int) -> tuple[int, ...]:
    """``value`` for each of the 1 to 3 axes of space: itself, or itself over and over if it is one number."""
    if dimensions not in (1, 2, 3):
        raise ValueError(f"{who}: dimensions = {dimensions}; due is 1, 2 or 3.")
    values = (value,) * dimensions if isinstance(value, int) else tuple(value)
    if len(values) != dimensions or min(values) < 1:
        raise ValueError(f"{who}: {what} = {value}; due is a positive number, or {dimensions} of them.")
    return values


def fit(
    who: str, padding: Padding, sizes: Sequence[int], window: Sequence[int], stride: Sequence[int]
) -> list[tuple[int, int]]:
    """What is added before and after each axis.

    Args:
      padding: ``"SAME"`` (⌈size/stride⌉ outputs, the odd one added after), ``"VALID"`` (nothing), a number for both
        ends of every axis, or a pair for each axis.
      window: with its holes, where it is dilated.

    Raises:
      ValueError: an unknown padding, or a window that does not fit once.
    """
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"{who}: padding = {padding!r}; due is 'SAME', 'VALID', a number or pairs of numbers.")
        pads = list(lax.padtype_to_pads(sizes, window, stride, padding))
    else:
        pads = [(padding, padding)] * len(sizes) if isinstance(padding, int) else [(a, b) for a, b in padding]
    if len(pads) != len(sizes):
        raise ValueError(f"{who}: padding = {padding!r}; due are {len(sizes)} pairs.")
    if any(n + a + b < w for n, (a, b), w in zip(sizes, pads, window, strict=True)):
        raise ValueError(f"{who}: a window of {tuple(window)} does not fit into {tuple(sizes)} padded by {pads}.")
    return pads
