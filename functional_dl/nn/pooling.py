"""Maxima and means over windows of one to three axes; channels last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from functional_dl.nn.axes import PerAxis, check_space, fit, per_axis, wide
from functional_dl.nn.network import Network, function

__all__ = ["average_pool", "global_average_pool", "max_pool"]


def max_pool(
    window: PerAxis = 2, dimensions: int = 2, stride: PerAxis | None = None, padding: str = "VALID"
) -> Network:
    """The largest entry of each window: (N, …, C) → (N, …', C); the derivative goes to the first of those that tie.

    Args:
      window, stride: a number, or one for each axis; the stride is the window's if none is given.
      dimensions: axes of space, 1 to 3.
      padding: ``"VALID"`` drops a rest at the edge, ``"SAME"`` has windows beyond it, of which only what is there
        counts.

    Raises:
      ValueError: a setting out of range, an input of another rank or too small for one window.
    """

    def largest(x: Any, sizes: Sequence[int], strides: Sequence[int], pads: list[tuple[int, int]]) -> Any:
        # As arrays of NumPy: `lax` then sees that it may take the primitive for maxima.
        least = -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else np.iinfo(x.dtype).min
        return _windows(x, np.asarray(least, x.dtype), lax.max, sizes, strides, pads)

    return _pool("max_pool", largest, window, dimensions, stride, padding)


def average_pool(
    window: PerAxis = 2, dimensions: int = 2, stride: PerAxis | None = None, padding: str = "VALID"
) -> Network:
    """The mean of each window's entries, padding not counted: (N, …, C) → (N, …', C). Settings as `max_pool`'s.

    Added up in float32 at least.

    Example:
      >>> import jax.numpy as jnp, functional_dl.nn as nn
      >>> x = jnp.arange(1.0, 8.0).reshape(1, 7, 1)
      >>> nn.average_pool(3, dimensions=1, stride=2).apply({}, x).ravel().tolist()
      [2.0, 4.0, 6.0]
      >>> nn.average_pool(3, dimensions=1, stride=2, padding="SAME").apply({}, x).ravel().tolist()
      [1.5, 3.0, 5.0, 6.5]
    """

    def mean(x: Any, sizes: Sequence[int], strides: Sequence[int], pads: list[tuple[int, int]]) -> Any:
        y = _windows(wide(x), np.float32(0), lax.add, sizes, strides, pads)
        dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else y.dtype
        return (y / _counts(x.shape[1:-1], y.shape[1:-1], sizes, strides, pads).astype(y.dtype)).astype(dtype)

    return _pool("average_pool", mean, window, dimensions, stride, padding)


def global_average_pool() -> Network:
    """The mean over all of space: (N, …, C) → (N, C) (Lin, Chen & Yan 2014, section 3.2)."""
    return function(lambda x: jnp.mean(x, axis=tuple(range(1, x.ndim - 1))))


def _pool(
    who: str, over: Callable[..., Any], window: PerAxis, dimensions: int, stride: PerAxis | None, padding: str
) -> Network:
    sizes = per_axis(who, "window", window, dimensions)
    strides = per_axis(who, "stride", window if stride is None else stride, dimensions)
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"{who}: padding = {padding!r}; due is 'SAME' or 'VALID'.")

    def apply(x: Any) -> Any:
        check_space(who, x, dimensions)
        return over(x, sizes, strides, fit(who, padding, x.shape[1:-1], sizes, strides))

    return function(apply)


def _windows(
    x: Any, start: Any, add: Any, sizes: Sequence[int], strides: Sequence[int], pads: list[tuple[int, int]]
) -> Any:
    return lax.reduce_window(x, start, add, (1, *sizes, 1), (1, *strides, 1), [(0, 0), *pads, (0, 0)])


def _counts(
    inputs: Sequence[int],
    outputs: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    pads: list[tuple[int, int]],
) -> np.ndarray:
    """Entries of each window that are no padding, (1, …outputs, 1); (1, …, 1) where all windows have as many."""
    axes = []
    for n, m, k, s, (before, _) in zip(inputs, outputs, sizes, strides, pads, strict=True):
        starts = np.arange(m) * s - before
        axes.append(np.minimum(starts + k, n) - np.maximum(starts, 0))
    counts = reduce(np.multiply.outer, axes)[None, ..., None]
    return counts if any(a + b for a, b in pads) else counts[(slice(1),) * counts.ndim]
