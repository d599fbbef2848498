"""Rules of gather and dynamic slices: what was read at indices is added there, what was written is read."""

from __future__ import annotations

from typing import Any

from jax import lax
from jax.extend.core import primitives

from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import vjp

__all__: list[str] = []


@vjp("gather")
def gather(
    ct: Any,
    y: Any,
    x: Any,
    indices: Any,
    *,
    dimension_numbers: Any,
    slice_sizes: Any,
    unique_indices: bool,
    indices_are_sorted: bool,
    mode: Any,
    fill_value: Any,
) -> Cts:
    """y[i] = x[indices[i]].   x̄[j] = Σ ȳ[i] over the i that read j: one scatter-add into zeros."""
    back = lax.scatter_add(
        lax.full_like(x, 0),
        indices,
        ct,
        lax.ScatterDimensionNumbers(
            update_window_dims=dimension_numbers.offset_dims,
            inserted_window_dims=dimension_numbers.collapsed_slice_dims,
            scatter_dims_to_operand_dims=dimension_numbers.start_index_map,
            operand_batching_dims=dimension_numbers.operand_batching_dims,
            scatter_indices_batching_dims=dimension_numbers.start_indices_batching_dims,
        ),
        indices_are_sorted=indices_are_sorted,
        unique_indices=unique_indices,
        mode=mode,
    )
    return back, None


@vjp("dynamic_slice")
def dynamic_slice(ct: Any, y: Any, x: Any, *starts: Any, slice_sizes: Any) -> Cts:
    """y[i] = x[start + i].   x̄[start + i] = ȳ[i], 0 elsewhere."""
    # Not lax.dynamic_update_slice, which would add code for negative starts: JAX has done that already.
    back = primitives.dynamic_update_slice_p.bind(lax.full_like(x, 0), ct, *starts)
    return (back, *[None] * len(starts))


@vjp("dynamic_update_slice")
def dynamic_update_slice(ct: Any, y: Any, x: Any, update: Any, *starts: Any) -> Cts:
    """y = x, and y[start + i] = u[i].   x̄ = ȳ with zeros written there, ū[i] = ȳ[start + i]."""
    x_ct = primitives.dynamic_update_slice_p.bind(ct, lax.full_like(update, 0), *starts)
    update_ct = primitives.dynamic_slice_p.bind(ct, *starts, slice_sizes=update.shape)
    return (x_ct, update_ct, *[None] * len(starts))
