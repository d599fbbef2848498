"""Rules of reductions over axes: sum, product, maximum, minimum."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from jax import lax

from functional_dl.rules.table import vjp

__all__: list[str] = []

Cts = tuple[Any, ...]


def _spread(value: Any, shape: Sequence[int], axes: Sequence[int]) -> Any:
    """Put back the axes that a reduction took away."""
    return lax.broadcast_in_dim(value, shape, tuple(i for i in range(len(shape)) if i not in axes))


@vjp("reduce_sum")
def reduce_sum(ct: Any, y: Any, x: Any, *, axes: tuple[int, ...], out_sharding: Any = None) -> Cts:
    """y = Σ x.   x̄ = ȳ everywhere."""
    return (_spread(ct, x.shape, axes),)


@vjp("reduce_max", "reduce_min")
def reduce_extremum(ct: Any, y: Any, x: Any, *, axes: tuple[int, ...], out_sharding: Any = None) -> Cts:
    """y = max x or min x.   ȳ is shared equally among the entries that are y."""
    chosen = lax.convert_element_type(lax.eq(x, _spread(y, x.shape, axes)), x.dtype)
    return (_spread(ct / lax.reduce_sum(chosen, axes), x.shape, axes) * chosen,)


@vjp("reduce_prod")
def reduce_prod(ct: Any, y: Any, x: Any, *, axes: tuple[int, ...]) -> Cts:
    """y = Π x.   x̄ᵢ = ȳ Π_{j≠i} xⱼ, the products before and after i, so that zeros are as good as any number."""
    kept = tuple(i for i in range(x.ndim) if i not in axes)
    order = (*kept, *axes)
    shape = tuple(x.shape[i] for i in order)
    n = prod(x.shape[i] for i in axes)
    flat = lax.reshape(lax.transpose(x, order), (*[x.shape[i] for i in kept], n))
    last = flat.ndim - 1
    one = lax.full_like(flat, 1, shape=(*flat.shape[:-1], min(n, 1)))
    if n == 0:
        others = flat
    else:
        before = lax.cumprod(lax.slice_in_dim(flat, 0, n - 1, axis=last), last)
        after = lax.cumprod(lax.slice_in_dim(flat, 1, n, axis=last), last, reverse=True)
        others = lax.concatenate([one, before], last) * lax.concatenate([after, one], last)
    inverse = tuple(order.index(i) for i in range(x.ndim))
    return (_spread(ct, x.shape, axes) * lax.transpose(lax.reshape(others, shape), inverse),)
