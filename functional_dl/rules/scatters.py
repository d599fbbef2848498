"""Rules of scatters: what was written at indices is read there; and what comes of updates that meet.

They are structural, because what they answer depends on the active operands or serves two primitives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from jax import Array, lax

from functional_dl.jaxprs import open_jaxpr
from functional_dl.rules.equivalents import as_program, elementwise
from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import Augmented, Call, structural

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
    """y = x, and y[indices[i]] *= u[i].   x̄ = ȳ multiplied there as well, ū[i] = (ȳ x)[indices[i]] Π the others.

    The others are the updates that met u[i] at its entry: none, if it is promised that no two meet.
    """
    params = _Scatter(**call.params)

    def backward(cts: Any, ys: Any, residuals: Any, x: Array, indices: Array, updates: Array) -> Cts:
        (ct,) = cts
        x_ct = lax.scatter_mul(ct, indices, updates, params.dimension_numbers, **params.how)
        if not call.active[2]:
            return x_ct, None, None
        update_ct = _read(ct * x, indices, updates, params)
        if not (params.unique_indices or updates.size == 0):
            update_ct = update_ct * _others(x, indices, updates, params)
        return x_ct, None, update_ct

    return Augmented(None, backward)


def _others(x: Array, indices: Array, updates: Array, params: _Scatter) -> Array:
    """Per update, the product of the other updates of the same entry.

    Updates are sorted by the entry that they go to; within each run of equals the products before and after are
    segmented scans (Blelloch 1990, "Prefix sums and their applications"), so that no quotient is formed, zeros are
    as good as any number, and the derivative of it all is right too.
    """
    integer = np.dtype(np.int32 if max(x.size, updates.size) < 2**31 else np.int64)
    places = lax.reshape(lax.iota(integer, x.size), x.shape)
    goals = lax.reshape(_read(places, indices, updates, params, fill=-1), (updates.size,))
    goals, order = lax.sort((goals, lax.iota(integer, updates.size)), num_keys=1)
    order = lax.expand_dims(order, (1,))
    flat = lax.gather(
        lax.reshape(updates, (updates.size,)), order, _FROM_FLAT, (1,), unique_indices=True, mode="promise_in_bounds"
    )
    fresh = lax.ne(goals[1:], goals[:-1])
    edge, one = lax.full((1,), True), lax.full_like(flat, 1, shape=(1,))

    def follow(first: Any, second: Any) -> Any:
        (a, p), (b, q) = first, second
        return a | b, lax.select(b, q, p * q)

    def products(starts: Array, factors: Array, reverse: bool) -> Array:
        factors = lax.select(starts, lax.full_like(factors, 1), factors)
        return lax.associative_scan(follow, (starts, factors), reverse=reverse)[1]

    before = products(lax.concatenate([edge, fresh], 0), lax.concatenate([one, flat[:-1]], 0), reverse=False)
    after = products(lax.concatenate([fresh, edge], 0), lax.concatenate([flat[1:], one], 0), reverse=True)
    back = lax.scatter(
        lax.full_like(flat, 0), order, before * after, _INTO_FLAT, unique_indices=True, mode="promise_in_bounds"
    )
    return lax.reshape(back, updates.shape)


_FROM_FLAT = lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))
_INTO_FLAT = lax.ScatterDimensionNumbers(
    update_window_dims=(), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
)


@structural("scatter")
def scatter(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = x, and y[indices[i]] = u[i].   x̄ = ȳ with zeros written there, ū[i] = ȳ[indices[i]] if u[i] was the last.

    Of several updates of one entry any may be the last.  Where that matters, updates are numbered and the numbers
    scattered first; the forward then writes, by adding, just those updates whose number came through.
    """
    params = _Scatter(**call.params)
    if params.update_jaxpr is not None:
        return _scatter_apply(call, differentiate, params)
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


def _scatter_apply(call: Call, differentiate: Callable[..., Any], params: _Scatter) -> Augmented:
    """y = x, and y[indices[i]] = f(y[indices[i]]), in turn.   The reverse of reading, applying f and writing.

    All at once where no two indices meet, which is seen at run time; one after the other where they do.
    """
    numbers = params.dimension_numbers
    applied = open_jaxpr(params.update_jaxpr)
    applied.consts = list(params.update_consts)

    def once(x: Array, indices: Array, updates: Array) -> Array:
        (values,) = elementwise(applied, _read(x, indices, updates, params), updates)
        return lax.scatter(x, indices, values, numbers, **{**params.how, "unique_indices": True})

    def in_turn(x: Array, indices: Array, updates: Array) -> Array:
        batch = numbers.scatter_indices_batching_dims
        turns = [d for d in range(indices.ndim - 1) if d not in batch]
        rest = [d for d in range(indices.ndim) if d not in turns]
        count = prod(indices.shape[d] for d in turns)
        row_shape = [1 if d in turns else n for d, n in enumerate(indices.shape)]
        scattered = [d for d in range(updates.ndim) if d not in numbers.update_window_dims]
        part = [1 if d in scattered and scattered.index(d) in turns else n for d, n in enumerate(updates.shape)]
        first = lax.slice(updates, [0] * updates.ndim, part)  # only its shape is read
        rows = lax.reshape(lax.transpose(indices, (*turns, *rest)), (count, *[indices.shape[d] for d in rest]))
        return lax.scan(lambda x, row: (once(x, lax.reshape(row, row_shape), first), None), x, rows)[0]

    def program(x: Array, indices: Array, updates: Array) -> Sequence[Array]:
        if params.unique_indices or updates.size == 0 or prod(indices.shape[:-1]) == 1:
            return [once(x, indices, updates)]
        ones = lax.full(updates.shape, 1, np.int32)
        counts = lax.scatter_add(lax.full(x.shape, 0, np.int32), indices, ones, numbers, **params.how)
        meet = lax.reduce_max(counts, tuple(range(x.ndim))) > 1
        return [lax.cond(meet, in_turn, once, x, indices, updates)]

    return as_program(call, differentiate, program)


@structural("scatter-max", "scatter-min")
def scatter_extremum(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = x, and y[j] = max(y[j], u[i]) with j = indices[i], or min.   All that attain y[j] share ȳ[j] evenly."""
    params = _Scatter(**call.params)

    def backward(cts: Any, ys: Any, residuals: Any, x: Array, indices: Array, updates: Array) -> Cts:
        (ct,), (y,) = cts, ys
        best = _read(y, indices, updates, params, fill=None)  # NaN for an update out of bounds
        attains = lax.eq(updates, best)
        zero, no = lax.full_like(x, 0), lax.full_like(updates, 0)
        hits = lax.scatter_add(
            zero,
            indices,
            lax.convert_element_type(attains | lax.ne(best, best), x.dtype),  # nothing attains NaN, but it was hit
            params.dimension_numbers,
            **params.how,
        )
        stays = lax.eq(x, y) | lax.eq(hits, zero)
        share = ct / (hits + lax.convert_element_type(stays, x.dtype))
        update_ct = lax.select(attains, _read(share, indices, updates, params), no)
        return lax.select(stays, share, zero), None, update_ct

    return Augmented(None, backward)
