"""Rules of pooling: window sums go back as window sums, window maxima to the entry that won its window."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jax import Array, lax
from jax.extend.core import primitives

from functional_dl.rules.convolutions import transposed_padding
from functional_dl.rules.shapes import Cts, explicit_sharding, reshape_as, scalar_zero
from functional_dl.rules.table import vjp

__all__: list[str] = []


class _Windows(NamedTuple):
    """How windows lie over an operand, under the names of the primitives' parameters."""

    window_dimensions: tuple[int, ...]
    window_strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    base_dilation: tuple[int, ...]
    window_dilation: tuple[int, ...]


# --- sums -------------------------------------------------------------------------------------------------------


@vjp("reduce_window_sum")
def reduce_window_sum(
    ct: Any,
    y: Any,
    x: Any,
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> Cts:
    """y[t] = Σₖ x[s t + r k - lo].   x̄ = ȳ dilated by s and summed over the same windows, read backwards.

    Windows that tile x (stride = window, as in average pooling) need no sum: x̄ repeats each entry of ȳ.
    """
    windows = _Windows(window_dimensions, window_strides, padding, base_dilation, window_dilation)
    if _tile(windows, x, ct):
        return (_repeat(ct, x, window_dimensions),)
    pads = transposed_padding(
        x.shape, window_dimensions, ct.shape, window_strides, padding, base_dilation, window_dilation
    )
    # The holes are made by a pad: backends are slow, or fail, at windows over a dilated base.
    holes = [(lo, hi, stride - 1) for (lo, hi), stride in zip(pads, window_strides, strict=True)]
    ones = (1,) * x.ndim
    back = _Windows(window_dimensions, base_dilation, ((0, 0),) * x.ndim, ones, window_dilation)
    return (primitives.reduce_window_sum_p.bind(lax.pad(ct, scalar_zero(ct), holes), **back._asdict()),)


def _tile(windows: _Windows, x: Array, ct: Array) -> bool:
    """Whether the windows lie side by side, inside the operand, from its first entry on."""
    return (
        tuple(windows.window_dimensions) == tuple(windows.window_strides)
        and all(d == 1 for d in (*windows.base_dilation, *windows.window_dilation))
        and all(lo == 0 for lo, _ in windows.padding)
        and all(o * k <= n for o, k, n in zip(ct.shape, windows.window_dimensions, x.shape, strict=True))
    )


def _repeat(ct: Array, x: Array, window: tuple[int, ...]) -> Array:
    """Each entry of ``ct`` once for every entry of its window, 0 for entries of ``x`` behind the last window."""
    shape: list[int] = []
    places = []
    for o, k in zip(ct.shape, window, strict=True):
        places.append(len(shape))
        shape += [o] if k == 1 else [o, k]
    covered = tuple(o * k for o, k in zip(ct.shape, window, strict=True))
    if len(shape) > ct.ndim:
        ct = lax.reshape(lax.broadcast_in_dim(ct, shape, places), covered, out_sharding=explicit_sharding(x))
    if covered == x.shape:
        return ct
    return lax.pad(ct, scalar_zero(ct), [(0, n - m, 0) for n, m in zip(x.shape, covered, strict=True)])


# --- maxima -----------------------------------------------------------------------------------------------------


@vjp("reduce_window_max")
def reduce_window_max(
    ct: Any,
    y: Any,
    x: Any,
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> Cts:
    """y[t] = max over the window at t.   x̄[p] = Σ ȳ[t] over the windows t that x[p] won; the first of equals wins."""
    windows = _Windows(window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return (_to_winners(ct, x, primitives.ge_p, windows),)


@vjp("reduce_window_min")
def reduce_window_min(
    ct: Any,
    y: Any,
    x: Any,
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> Cts:
    """y[t] = min over the window at t.   x̄[p] = Σ ȳ[t] over the windows t that x[p] won; the first of equals wins."""
    windows = _Windows(window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return (_to_winners(ct, x, primitives.le_p, windows),)


@vjp("select_and_scatter_add")
def select_and_scatter_add(
    ct: Any,
    y: Any,
    source: Any,
    x: Any,
    *,
    select_prim: Any,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
) -> Cts:
    """y[p] = Σ source[t] over the windows t that x[p] won.   s̄[t] = ȳ at the winner of t; x only chooses."""
    ones = (1,) * x.ndim
    return _at_winners(ct, x, select_prim, _Windows(window_dimensions, window_strides, padding, ones, ones)), None


@vjp("select_and_gather_add")
def select_and_gather_add(
    ct: Any,
    y: Any,
    source: Any,
    x: Any,
    *,
    select_prim: Any,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> Cts:
    """y[t] = source at the winner of x in window t.   s̄[p] = Σ ȳ[t] over the windows t that x[p] won."""
    windows = _Windows(window_dimensions, window_strides, padding, base_dilation, window_dilation)
    return _to_winners(ct, x, select_prim, windows), None


def _to_winners(ct: Array, x: Array, select: Any, windows: _Windows) -> Array:
    """Add each entry of ``ct`` to the winner of its window in ``x``.

    The primitive for it, select-and-scatter, knows no dilations: holes in x are filled with what never wins; for
    holes in the window the winners are computed, and scattered to.
    """
    if any(d != 1 for d in windows.window_dilation):
        flat = lax.full_like(x, 0, shape=(x.size,))
        return reshape_as(lax.scatter_add(flat, _winners(x, select, windows), ct, _SCATTER, mode="drop"), x)
    holes = any(d != 1 for d in windows.base_dilation)
    dilated = lax.pad(x, _worst(x, select), [(0, 0, d - 1) for d in windows.base_dilation]) if holes else x
    added = primitives.select_and_scatter_add_p.bind(
        ct,
        dilated,
        select_prim=select,
        window_dimensions=windows.window_dimensions,
        window_strides=windows.window_strides,
        padding=windows.padding,
    )
    return lax.slice(added, (0,) * x.ndim, added.shape, windows.base_dilation) if holes else added


def _at_winners(source: Array, x: Array, select: Any, windows: _Windows) -> Array:
    """The entries of ``source`` where ``x`` wins its windows.

    Where it must, the primitive for it packs value and source into one word of 64 bits (GPU, JAX 0.10), which would
    round float64 to half its digits; for float64 the winners are computed, and gathered from.
    """
    if source.dtype.itemsize < 8:
        return primitives.select_and_gather_add_p.bind(source, x, select_prim=select, **windows._asdict())
    flat = lax.reshape(source, (source.size,))
    return lax.gather(flat, _winners(x, select, windows), _GATHER, slice_sizes=(1,), mode="fill", fill_value=0)


_GATHER = lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))
_SCATTER = lax.ScatterDimensionNumbers(
    update_window_dims=(), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
)


def _worst(x: Array, select: Any) -> np.ndarray:
    """What every entry of ``x`` beats or equals."""
    return np.array(-np.inf if select is primitives.ge_p else np.inf, x.dtype)


def _winners(x: Array, select: Any, windows: _Windows) -> Array:
    """Per window, the index of its winner in the flattened ``x``, with a last axis of size 1; x.size if it has none.

    The reduction visits a window in order and keeps what it has when ``select`` (≥ or ≤) allows: the first of equals,
    as select-and-scatter chooses.
    """
    index_dtype = np.dtype(np.int32 if x.size < 2**31 else np.int64)
    indices = lax.reshape(lax.iota(index_dtype, x.size), x.shape)

    def better(kept: tuple[Array, Array], new: tuple[Array, Array]) -> tuple[Array, Array]:
        keep = select.bind(kept[0], new[0])
        return lax.select(keep, kept[0], new[0]), lax.select(keep, kept[1], new[1])

    _, winners = lax.reduce_window((x, indices), (_worst(x, select), index_dtype.type(x.size)), better, *windows)
    return lax.expand_dims(winners, (winners.ndim,))
