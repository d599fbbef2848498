"""Rules of operations that move entries without changing them: their transposes move the cotangents back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

from functional_dl.rules.table import vjp

__all__: list[str] = []

Cts = Sequence[Any]


@vjp("broadcast_in_dim")
def broadcast_in_dim(
    ct: Any, y: Any, x: Any, *, shape: Sequence[int], broadcast_dimensions: Sequence[int], sharding: Any
) -> Cts:
    """y = x repeated along new and size-1 axes.   x̄ = Σ ȳ over them."""
    new = [i for i in range(len(shape)) if i not in broadcast_dimensions]
    grown = [i for i, n in zip(broadcast_dimensions, x.shape, strict=True) if shape[i] != n]
    summed = lax.reduce_sum(ct, tuple([*new, *grown])) if new or grown else ct
    return [lax.reshape(summed, x.shape) if grown else summed]


@vjp("reshape")
def reshape(ct: Any, y: Any, x: Any, *, new_sizes: Any, dimensions: None, sharding: Any) -> Cts:
    """y = x in another shape.   x̄ = ȳ in that of x."""
    return [lax.reshape(ct, x.shape)]


@vjp("squeeze")
def squeeze(ct: Any, y: Any, x: Any, *, dimensions: Any) -> Cts:
    """y = x without some size-1 axes.   x̄ = ȳ with them."""
    return [lax.reshape(ct, x.shape)]


@vjp("transpose")
def transpose(ct: Any, y: Any, x: Any, *, permutation: Sequence[int]) -> Cts:
    """y = x with axes permuted.   x̄ = ȳ with axes permuted back."""
    return [lax.transpose(ct, tuple(np.argsort(permutation).tolist()))]


@vjp("rev")
def rev(ct: Any, y: Any, x: Any, *, dimensions: Any) -> Cts:
    """y = x reversed.   x̄ = ȳ reversed."""
    return [lax.rev(ct, dimensions)]


@vjp("slice")
def slice_(ct: Any, y: Any, x: Any, *, start_indices: Any, limit_indices: Any, strides: Any) -> Cts:
    """y = x[start:limit:stride].   x̄ = ȳ there, zero elsewhere."""
    config = []
    for n, m, start, stride in zip(x.shape, ct.shape, start_indices, strides or (1,) * x.ndim, strict=True):
        reached = start + (m - 1) * stride + 1 if m else start
        config.append((start, n - reached, stride - 1))
    return [lax.pad(ct, np.zeros((), ct.dtype), config)]


@vjp("pad")
def pad(ct: Any, y: Any, x: Any, value: Any, *, padding_config: Any) -> Cts:
    """y = x with ``value`` before, after and between.   x̄ = ȳ where x went; v̄ = the sum of ȳ elsewhere."""
    zero = np.zeros((), ct.dtype)
    kept = ct
    if any(lo or hi for lo, hi, _ in padding_config):
        kept = lax.pad(ct, zero, [(-lo, -hi, 0) for lo, hi, _ in padding_config])
    if any(between for _, _, between in padding_config):
        kept = lax.slice(kept, (0,) * kept.ndim, kept.shape, tuple(between + 1 for _, _, between in padding_config))
    axes = tuple(range(ct.ndim))
    return [kept, lax.reduce_sum(ct, axes) - lax.reduce_sum(kept, axes)]


@vjp("concatenate")
def concatenate(ct: Any, y: Any, *xs: Any, dimension: int) -> Cts:
    """y = xs end to end.   Each gets its slice of ȳ."""
    ends = np.cumsum([0, *[x.shape[dimension] for x in xs]]).tolist()
    return [
        lax.slice_in_dim(ct, start, stop, axis=dimension) for start, stop in zip(ends[:-1], ends[1:], strict=True)
    ]


@vjp("split")
def split(ct: Sequence[Any], y: Sequence[Any], x: Any, *, sizes: Sequence[int], axis: int) -> Cts:
    """ys = x cut along an axis.   x̄ = ȳs end to end."""
    return [lax.concatenate([lax.full_like(v, 0) if c is None else c for c, v in zip(ct, y, strict=True)], axis)]


@vjp("stack")
def stack(ct: Any, y: Any, *xs: Any, axis: int) -> Cts:
    """y = xs along a new axis.   Each gets its slice of ȳ."""
    return list(lax.unstack(ct, axis))


@vjp("unstack")
def unstack(ct: Sequence[Any], y: Sequence[Any], x: Any, *, axis: int) -> Cts:
    """ys = the slices of x along an axis.   x̄ = ȳs along that axis."""
    return [lax.stack([lax.full_like(v, 0) if c is None else c for c, v in zip(ct, y, strict=True)], axis)]


@vjp("tile")
def tile(ct: Any, y: Any, x: Any, *, reps: Sequence[int]) -> Cts:
    """y = x repeated as a block.   x̄ = Σ ȳ over the repetitions."""
    parted = [n for r, m in zip(reps, x.shape, strict=True) for n in (r, m)]
    return [lax.reduce_sum(lax.reshape(ct, parted), tuple(range(0, 2 * x.ndim, 2)))]
