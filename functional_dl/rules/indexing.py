"""Rules of indexing: what is gathered is scattered back, what is scattered is gathered."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import primitives

from functional_dl.rules.table import RuleError, vjp

__all__: list[str] = []

Cts = Sequence[Any]


@vjp("gather")
def gather(
    ct: Any,
    y: Any,
    x: Any,
    indices: Any,
    *,
    dimension_numbers: Any,
    slice_sizes: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
    fill_value: Any,
) -> Cts:
    """y = slices of x.   x̄ = ȳ added up where the slices were; what was filled or dropped adds nothing."""
    d = dimension_numbers
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=d.offset_dims,
        inserted_window_dims=d.collapsed_slice_dims,
        scatter_dims_to_operand_dims=d.start_index_map,
        operand_batching_dims=d.operand_batching_dims,
        scatter_indices_batching_dims=d.start_indices_batching_dims,
    )
    zeros = lax.full_like(x, 0)
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices, "mode": mode}
    return [lax.scatter_add(zeros, indices, ct, numbers, **options), None]


def _gather_back(ct: Any, indices: Any, updates: Any, numbers: Any, sorted_: bool, unique: bool, mode: Any) -> Any:
    """The entries of ``ct`` where a scatter put its updates; zero for updates that fell outside."""
    d = numbers
    back = lax.GatherDimensionNumbers(
        offset_dims=d.update_window_dims,
        collapsed_slice_dims=d.inserted_window_dims,
        start_index_map=d.scatter_dims_to_operand_dims,
        operand_batching_dims=d.operand_batching_dims,
        start_indices_batching_dims=d.scatter_indices_batching_dims,
    )
    window = iter([updates.shape[i] for i in d.update_window_dims])
    alone = {*d.inserted_window_dims, *d.operand_batching_dims}
    sizes = tuple(1 if i in alone else next(window) for i in range(ct.ndim))
    return lax.gather(
        ct, indices, back, sizes, indices_are_sorted=sorted_, unique_indices=unique, mode=mode, fill_value=0
    )


@vjp("scatter-add")
def scatter_add(
    ct: Any,
    y: Any,
    x: Any,
    indices: Any,
    updates: Any,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
    update_jaxpr: Any,
    update_consts: Any,
) -> Cts:
    """y = x with updates added.   x̄ = ȳ, ū = ȳ gathered."""
    options = (dimension_numbers, indices_are_sorted, unique_indices, mode)
    return [ct, None, _gather_back(ct, indices, updates, *options)]


@vjp("scatter-sub")
def scatter_sub(
    ct: Any,
    y: Any,
    x: Any,
    indices: Any,
    updates: Any,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
    update_jaxpr: Any,
    update_consts: Any,
) -> Cts:
    """y = x with updates taken off.   x̄ = ȳ, ū = −ȳ gathered."""
    options = (dimension_numbers, indices_are_sorted, unique_indices, mode)
    return [ct, None, lax.neg(_gather_back(ct, indices, updates, *options))]


@vjp("scatter-mul")
def scatter_mul(
    ct: Any,
    y: Any,
    x: Any,
    indices: Any,
    updates: Any,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
    update_jaxpr: Any,
    update_consts: Any,
) -> Cts:
    """y = x with entries multiplied.   x̄ = ȳ multiplied likewise, ū = (ȳ x) gathered."""
    if not unique_indices:
        raise RuleError("The rule for scatter-mul needs unique_indices=True: with repeats, each needs the others.")
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": True, "mode": mode}
    return [
        lax.scatter_mul(ct, indices, updates, dimension_numbers, **options),
        None,
        _gather_back(ct * x, indices, updates, dimension_numbers, indices_are_sorted, True, mode),
    ]


@vjp("scatter")
def scatter(
    ct: Any,
    y: Any,
    x: Any,
    indices: Any,
    updates: Any,
    *,
    dimension_numbers: Any,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
    update_jaxpr: Any,
    update_consts: Any,
) -> Cts:
    """y = x with entries replaced.   x̄ = ȳ with zeros there, ū = ȳ gathered, for the update that won the place.

    Which of several updates of one entry wins is not defined, but the same program decides alike for the numbers
    of the updates as for the updates: an update has won where its own number can be read back.
    """
    options = {"indices_are_sorted": indices_are_sorted, "unique_indices": unique_indices, "mode": mode}
    rest = (dimension_numbers, indices_are_sorted, unique_indices, mode)
    zeros = lax.full_like(updates, 0)
    x_bar = lax.scatter(ct, indices, zeros, dimension_numbers, **options)
    u_bar = _gather_back(ct, indices, updates, *rest)
    if not unique_indices:
        dtype = np.int64 if jax.config.jax_enable_x64 else np.int32
        numbers = lax.reshape(lax.iota(dtype, prod(updates.shape)) + 1, updates.shape)
        places = lax.scatter(lax.full(x.shape, 0, dtype), indices, numbers, dimension_numbers, **options)
        u_bar = lax.select(_gather_back(places, indices, updates, *rest) == numbers, u_bar, zeros)
    return [x_bar, None, u_bar]


@vjp("dynamic_slice")
def dynamic_slice(ct: Any, y: Any, x: Any, *starts: Any, slice_sizes: Any) -> Cts:
    """y = x[start : start + size].   x̄ = ȳ there, zero elsewhere."""
    return [primitives.dynamic_update_slice_p.bind(lax.full_like(x, 0), ct, *starts), *[None] * len(starts)]


@vjp("dynamic_update_slice")
def dynamic_update_slice(ct: Any, y: Any, x: Any, update: Any, *starts: Any) -> Cts:
    """y = x with a block replaced.   x̄ = ȳ with zeros there, ū = ȳ there."""
    return [
        primitives.dynamic_update_slice_p.bind(ct, lax.full_like(update, 0), *starts),
        primitives.dynamic_slice_p.bind(ct, *starts, slice_sizes=update.shape),
        *[None] * len(starts),
    ]
