"""Rules of sorting and of choosing the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

from functional_dl.jaxprs import is_float
from functional_dl.rules.table import vjp

__all__: list[str] = []


@vjp("sort")
def sort(
    ct: Sequence[Any], y: Sequence[Any], *xs: Any, dimension: int, is_stable: bool, num_keys: int
) -> Sequence[Any]:
    """ys = xs in the order of the keys.   x̄s = ȳs put back: sorted by where each entry came from."""
    places = lax.broadcasted_iota(np.int32, xs[0].shape, dimension)
    *_, origin = lax.sort((*xs, places), dimension=dimension, is_stable=is_stable, num_keys=num_keys)
    arriving = [c for c in ct if c is not None]
    _, *restored = lax.sort((origin, *arriving), dimension=dimension, is_stable=False, num_keys=1)
    back = iter(restored)
    return [None if c is None or not is_float(x) else next(back) for c, x in zip(ct, xs, strict=True)]


@vjp("top_k")
def top_k(
    ct: Sequence[Any], y: Sequence[Any], x: Any, *, k: int, axis: int, is_stable: bool = True
) -> Sequence[Any]:
    """y, i = the k largest and where they are.   x̄ = ȳ at i, zero elsewhere."""
    others = tuple(d for d in range(x.ndim) if d != axis)
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(),
        inserted_window_dims=(axis,),
        scatter_dims_to_operand_dims=(axis,),
        operand_batching_dims=others,
        scatter_indices_batching_dims=others,
    )
    indices = lax.reshape(y[1], (*y[1].shape, 1))
    return [lax.scatter_add(lax.full_like(x, 0), indices, ct[0], numbers, unique_indices=True)]
