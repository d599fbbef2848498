"""Rules of pooling: window sums go back as window sums, window maxima to the entry that won its window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import Array, lax
from jax.extend.core import primitives

from functional_dl.rules.convolutions import transposed_padding
from functional_dl.rules.shapes import reshape_as, scalar_zero
from functional_dl.rules.table import vjp

__all__: list[str] = []


# --- sums -------------------------------------------------------------------------------------------------------


@vjp("reduce_window_sum")
def reduce_window_sum(
    ct, y, x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation
):
    """y[t] = Σₖ x[s t + r k - lo].   x̄ = ȳ dilated by s and summed over the same windows, read backwards.

    Windows that tile x (stride = window, as in average pooling) need no sum: x̄ repeats each entry of ȳ.
    """
    if _tiles(x.shape, ct.shape, window_dimensions, window_strides, padding, base_dilation, window_dilation):
        return (_repeat(ct, x, window_dimensions),)
    pads = transposed_padding(
        x.shape, window_dimensions, ct.shape, window_strides, padding, base_dilation, window_dilation
    )
    # XLA has no fast path for windows over a dilated base, so the holes are made by a pad.
    holes = [(lo, hi, stride - 1) for (lo, hi), stride in zip(pads, window_strides, strict=True)]
    padded = lax.pad(ct, scalar_zero(ct), holes)
    return (
        primitives.reduce_window_sum_p.bind(
            padded,
            window_dimensions=window_dimensions,
            window_strides=base_dilation,
            padding=((0, 0),) * x.ndim,
            base_dilation=(1,) * x.ndim,
            window_dilation=window_dilation,
        ),
    )


def _tiles(
    sizes: Sequence[int],
    out: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    *dilations: Sequence[int],
) -> bool:
    """Whether the windows lie side by side, inside the operand, from its first entry on."""
    return (
        tuple(window) == tuple(strides)
        and all(d == 1 for dilation in dilations for d in dilation)
        and all(lo == 0 for lo, _ in padding)
        and all(o * k <= n for o, k, n in zip(out, window, sizes, strict=True))
    )


def _repeat(ct: Array, x: Array, window: Sequence[int]) -> Array:
    """Each entry of ``ct`` once for every entry of its window, 0 for entries of ``x`` behind the last window."""
    shape: list[int] = []
    places = []
    for o, k in zip(ct.shape, window, strict=True):
        places.append(len(shape))
        shape += [o] if k == 1 else [o, k]
    covered = tuple(o * k for o, k in zip(ct.shape, window, strict=True))
    if len(shape) > ct.ndim:
        ct = lax.reshape(lax.broadcast_in_dim(ct, shape, places), covered)
    if covered == x.shape:
        return ct
    return lax.pad(ct, scalar_zero(ct), [(0, n - m, 0) for n, m in zip(x.shape, covered, strict=True)])


# --- maxima -----------------------------------------------------------------------------------------------------


@vjp("reduce_window_max")
def reduce_window_max(
    ct, y, x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation
):
    """y[t] = max over the window at t.   x̄ = Σ ȳ[t] over the windows t that x won; the first of equals wins."""
    return (
        _to_winners(
            ct, x, primitives.ge_p, window_dimensions, window_strides, padding, base_dilation, window_dilation
        ),
    )


@vjp("reduce_window_min")
def reduce_window_min(
    ct, y, x, *, window_dimensions, window_strides, padding, base_dilation, window_dilation
):
    """y[t] = min over the window at t.   x̄ = Σ ȳ[t] over the windows t that x won; the first of equals wins."""
    return (
        _to_winners(
            ct, x, primitives.le_p, window_dimensions, window_strides, padding, base_dilation, window_dilation
        ),
    )


@vjp("select_and_scatter_add")
def select_and_scatter_add(ct, y, source, x, *, select_prim, window_dimensions, window_strides, padding):
    """y[p] = Σ source[t] over the windows t that x[p] won.   s̄[t] = ȳ at the winner of t; x only chooses."""
    ones = (1,) * x.ndim
    return _at_winners(ct, x, select_prim, window_dimensions, window_strides, padding, ones, ones), None


@vjp("select_and_gather_add")
def select_and_gather_add(
    ct, y, source, x, *, select_prim, window_dimensions, window_strides, padding, base_dilation, window_dilation
):
    """y[t] = source at the winner of x in window t.   s̄[p] = Σ ȳ[t] over the windows t that x[p] won."""
    return (
        _to_winners(
            ct, x, select_prim, window_dimensions, window_strides, padding, base_dilation, window_dilation
        ),
        None,
    )


def _worst(select: Any, dtype: Any) -> np.ndarray:
    """What every entry beats or equals."""
    return np.array(-np.inf if select is primitives.ge_p else np.inf, dtype)


def _to_winners(
    ct: Array,
    x: Array,
    select: Any,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Array:
    """Add each entry of ``ct`` to the winner of its window: select-and-scatter, which knows no dilations of its own."""
    if any(d != 1 for d in window_dilation):
        winners = _winners(x, select, window, strides, padding, base_dilation, window_dilation)
        flat = lax.full_like(x, 0, shape=(x.size,), dtype=ct.dtype)
        added = lax.scatter_add(flat, winners, lax.reshape(ct, (ct.size,)), _SCATTER, mode="drop")
        return reshape_as(added, x)
    holes = any(d != 1 for d in base_dilation)
    if holes:
        x = lax.pad(x, _worst(select, x.dtype), [(0, 0, d - 1) for d in base_dilation])
    added = primitives.select_and_scatter_add_p.bind(
        ct, x, select_prim=select, window_dimensions=window, window_strides=strides, padding=padding
    )
    return lax.slice(added, (0,) * x.ndim, x.shape, base_dilation) if holes else added


def _at_winners(
    source: Array,
    x: Array,
    select: Any,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Array:
    """The entries of ``source`` where ``x`` wins its windows."""
    if source.dtype.itemsize < 8:
        return primitives.select_and_gather_add_p.bind(
            source,
            x,
            select_prim=select,
            window_dimensions=window,
            window_strides=strides,
            padding=padding,
            base_dilation=base_dilation,
            window_dilation=window_dilation,
        )
    # That primitive packs value and source into one word of 64 bits on some platforms and versions (GPU, JAX 0.10),
    # which would round float64 to half its digits.
    winners = _winners(x, select, window, strides, padding, base_dilation, window_dilation)
    flat = lax.reshape(source, (source.size,))
    shape = _out_shape(x, window, strides, padding, base_dilation, window_dilation)
    taken = lax.gather(flat, winners, _GATHER, slice_sizes=(1,), mode="fill", fill_value=0)
    return lax.reshape(taken, shape)


_GATHER = lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))
_SCATTER = lax.ScatterDimensionNumbers(
    update_window_dims=(), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
)
