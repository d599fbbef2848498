"""Rules of sort and top-k: the cotangent of every entry goes back to where the entry came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array, lax
from jax.dtypes import issubdtype

from functional_dl.rules.shapes import Cts, explicit_sharding
from functional_dl.rules.table import Augmented, Call, structural, vjp

__all__: list[str] = []


def _send_back(ct: Array, places: Array, x: Array, axis: int, unique: bool = True) -> Array:
    """Zeros like ``x``, with ``ct`` added at ``places`` along ``axis``."""
    others = tuple(d for d in range(x.ndim) if d != axis)
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(),
        inserted_window_dims=(axis,),
        scatter_dims_to_operand_dims=(axis,),
        operand_batching_dims=others,
        scatter_indices_batching_dims=others,
    )
    return lax.scatter_add(
        lax.full_like(x, 0),
        lax.expand_dims(places, (x.ndim,)),
        ct,
        numbers,
        unique_indices=unique,
        mode="promise_in_bounds",
    )


@structural("sort")
def sort(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = x in the order π of the keys.   x̄[π(i)] = ȳ[i].

    The forward sorts the places along with the operands, so that π costs no second sort.
    """
    axis = call.params["dimension"]
    shape = call.in_avals[0].shape
    wanted = [a and issubdtype(aval.dtype, np.inexact) for a, aval in zip(call.active, call.in_avals, strict=True)]

    def forward(*xs: Array) -> tuple[list[Any], list[Any]]:
        places = lax.broadcasted_iota(np.dtype(np.int32), shape, axis, out_sharding=explicit_sharding(xs[0]))
        *ys, order = call.primitive.bind(*xs, places, **call.params)
        return ys, [order]

    def backward(cts: Any, ys: Any, residuals: Any, *xs: Array) -> Cts:
        (order,) = residuals
        return [
            _send_back(ct, order, x, axis) if want and ct is not None else None
            for ct, x, want in zip(cts, xs, wanted, strict=True)
        ]

    return Augmented(forward, backward)


@vjp("top_k")
def top_k(cts: Any, ys: Any, x: Any, *, k: int, axis: int, is_stable: bool = True) -> Cts:
    """y = the k largest entries of x along ``axis``, and their places.   x̄[places] = ȳ, 0 elsewhere."""
    return (_send_back(cts[0], ys[1], x, axis),)


@vjp("approx_top_k")
def approx_top_k(
    cts: Any,
    ys: Any,
    x: Any,
    *,
    k: int,
    reduction_dimension: int,
    recall_target: float,
    is_max_k: bool,
    reduction_input_size_override: int,
    aggregate_to_topk: bool,
) -> Cts:
    """y = about the k largest (or smallest) entries of x, and their places.   x̄[places] = ȳ, 0 elsewhere."""
    return (_send_back(cts[0], ys[1], x, reduction_dimension % x.ndim, unique=False),)
