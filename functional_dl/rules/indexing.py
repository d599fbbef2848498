"""Rules of gather, scatter and dynamic slices: what was read at indices is added there, what was written is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array, lax
from jax.extend.core import primitives

from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import Augmented, Call, RuleError, structural, vjp

__all__: list[str] = []


class _Scatter(NamedTuple):
    """The parameters of a scatter; one that JAX adds does not fit in and is an error."""

    update_jaxpr: Any
    update_consts: Any
    dimension_numbers: Any
    indices_are_sorted: bool
    unique_indices: bool
    mode: Any

    @property
    def how(self) -> dict[str, Any]:
        """What the public functions that scatter and gather take by these names."""
        return {
            "indices_are_sorted": self.indices_are_sorted,
            "unique_indices": self.unique_indices,
            "mode": self.mode,
        }


def _read(x: Array, indices: Array, updates: Array, params: _Scatter, fill: float | None = 0) -> Array:
    """The entries of ``x`` where ``updates`` are written; ``fill`` (``None``: NaN) for updates that are dropped."""
    numbers = params.dimension_numbers
    single = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    windows = iter(numbers.update_window_dims)
    return lax.gather(
        x,
        indices,
        lax.GatherDimensionNumbers(
            offset_dims=numbers.update_window_dims,
            collapsed_slice_dims=numbers.inserted_window_dims,
            start_index_map=numbers.scatter_dims_to_operand_dims,
            operand_batching_dims=numbers.operand_batching_dims,
            start_indices_batching_dims=numbers.scatter_indices_batching_dims,
        ),
        slice_sizes=tuple(1 if d in single else updates.shape[next(windows)] for d in range(x.ndim)),
        fill_value=fill,
        **params.how,
    )


# --- gather and slices ------------------------------------------------------------------------------------------


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


# --- scatters: structural, because what they answer depends on the active operands or serves two primitives -----


@structural("scatter-add", "scatter-sub")
def scatter_add(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = x, and y[indices[i]] ±= u[i].   x̄ = ȳ, ū[i] = ±ȳ[indices[i]], 0 for updates out of bounds."""
    params = _Scatter(**call.params)
    minus = call.primitive.name == "scatter-sub"

    def backward(cts: Any, ys: Any, residuals: Any, x: Array, indices: Array, updates: Array) -> Cts:
        read = _read(cts[0], indices, updates, params)
        return cts[0], None, lax.neg(read) if minus else read

    return Augmented(None, backward)


@structural("scatter-mul")
def scatter_mul(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = x, and y[indices[i]] *= u[i].   x̄ = ȳ multiplied there as well, ū[i] = (ȳ x)[indices[i]].

    The latter holds if no two updates meet; otherwise ū[i] is a product over all the others that met it.
    """
    params = _Scatter(**call.params)
    if call.active[2] and not params.unique_indices:
        raise RuleError(
            "scatter-mul has a derivative in its updates only where no two of them meet: pass unique_indices=True "
            "if that is so, or stop the gradient before the updates."
        )

    def backward(cts: Any, ys: Any, residuals: Any, x: Array, indices: Array, updates: Array) -> Cts:
        (ct,) = cts
        x_ct = lax.scatter_mul(ct, indices, updates, params.dimension_numbers, **params.how)
        return x_ct, None, _read(ct * x, indices, updates, params) if call.active[2] else None

    return Augmented(None, backward)


@structural("scatter")
def scatter(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = x, and y[indices[i]] = u[i].   x̄ = ȳ with zeros written there, ū[i] = ȳ[indices[i]] if u[i] was the last.

    Of several updates of one entry any may be the last.  Where that matters, updates are numbered and the numbers
    scattered first; the forward then writes, by adding, just those updates whose number came through.
    """
    params = _Scatter(**call.params)
    if params.update_jaxpr is not None:
        raise RuleError("x.at[…].apply(f) has no derivative (in JAX neither): write x.at[…].set(f(x[…])) instead.")
    numbers = params.dimension_numbers

    def x_cotangent(ct: Array, indices: Array, updates: Array) -> Array:
        return lax.scatter(ct, indices, lax.full_like(updates, 0), numbers, **params.how)

    if params.unique_indices or not call.active[2]:

        def plain(cts: Any, ys: Any, residuals: Any, x: Array, indices: Array, updates: Array) -> Cts:
            return x_cotangent(cts[0], indices, updates), None, _read(cts[0], indices, updates, params)

        return Augmented(None, plain)

    def forward(x: Array, indices: Array, updates: Array) -> tuple[list[Any], list[Any]]:
        axes = [d for d in range(updates.ndim) if d not in numbers.update_window_dims]
        sizes = [updates.shape[d] for d in axes]
        count = lax.reshape(lax.iota(np.dtype(np.int32), int(np.prod(sizes))), sizes)
        ids = lax.broadcast_in_dim(count, updates.shape, axes)
        written = lax.scatter(lax.full(x.shape, -1, np.int32), indices, ids, numbers, **params.how)
        last = lax.eq(ids, _read(written, indices, updates, params, fill=-1))
        untouched = lax.lt(written, np.int32(0))
        base = lax.select(untouched, x, lax.full_like(x, 0))
        terms = lax.select(last, updates, lax.full_like(updates, 0))
        return [lax.scatter_add(base, indices, terms, numbers, **params.how)], [last]

    def backward(cts: Any, ys: Any, residuals: Any, x: Array, indices: Array, updates: Array) -> Cts:
        (ct,), (last,) = cts, residuals
        read = lax.select(last, _read(ct, indices, updates, params), lax.full_like(updates, 0))
        return x_cotangent(ct, indices, updates), None, read

    return Augmented(forward, backward)


@structural("scatter-max", "scatter-min")
def scatter_extremum(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = x, and y[j] = max(y[j], u[i]) with j = indices[i], or min.   All that attain y[j] share ȳ[j] evenly."""
    params = _Scatter(**call.params)
    beaten_by = lax.lt if call.primitive.name == "scatter-max" else lax.gt

    def backward(cts: Any, ys: Any, residuals: Any, x: Array, indices: Array, updates: Array) -> Cts:
        (ct,), (y,) = cts, ys
        beaten = beaten_by(x, y)
        # An update out of bounds reads NaN here, which it does not equal.
        attains = lax.eq(updates, _read(y, indices, updates, params, fill=None))
        one, zero, no = lax.full_like(x, 1), lax.full_like(x, 0), lax.full_like(updates, 0)
        count = lax.scatter_add(
            lax.select(beaten, zero, one),
            indices,
            lax.convert_element_type(attains, x.dtype),
            params.dimension_numbers,
            **params.how,
        )
        share = ct / count
        update_ct = lax.select(attains, _read(share, indices, updates, params), no)
        return lax.select(beaten, zero, share), None, update_ct

    return Augmented(None, backward)
