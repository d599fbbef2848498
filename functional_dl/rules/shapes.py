"""Rules of primitives that move, repeat, cut or join entries: each transpose is a sum, a copy or a zero elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax.sharding import NamedSharding

from functional_dl.avals import has_explicit_sharding
from functional_dl.rules.table import vjp

__all__ = ["Cts", "explicit_sharding", "reshape_as", "scalar_zero", "transposed"]

Cts = Sequence[Any]  # one cotangent per operand, None where an operand takes none


def explicit_sharding(x: Array, order: Sequence[int] | None = None) -> NamedSharding | None:
    """The sharding in the type of the cotangent of ``x``, its axes in ``order``; ``None`` unless the mesh is explicit.

    With explicit meshes JAX cannot always infer the sharding of a cotangent; it is that of the operand.
    """
    aval = jax.typeof(x)
    if not has_explicit_sharding(aval):
        return None
    sharding = aval.to_ct_aval().sharding
    if order is None:
        return sharding
    return sharding.update(spec=sharding.spec.update(partitions=[sharding.spec.partitions[i] for i in order]))


def scalar_zero(x: Array) -> Any:
    """The scalar 0 of the dtype of ``x``, a literal inside a jaxpr."""
    return x.dtype.type(0)


def reshape_as(ct: Array, x: Array) -> Array:
    """``ct`` in the shape of ``x``; no equation if it has that shape."""
    return ct if ct.shape == x.shape else lax.reshape(ct, x.shape, out_sharding=explicit_sharding(x))


def transposed(x: Array, permutation: Iterable[int]) -> Array:
    """``x`` with its axes permuted; no equation if they stay where they are."""
    order = tuple(int(i) for i in permutation)
    return x if order == tuple(range(x.ndim)) else lax.transpose(x, order)


@vjp("broadcast_in_dim")
def broadcast_in_dim(ct: Any, y: Any, x: Any, *, shape: Any, broadcast_dimensions: Any, sharding: Any) -> Cts:
    """y[i] = x[the axes of i that come from x, 0 on axes of size 1].   x̄ = Σ ȳ over the axes that were repeated."""
    own = {d for d, n in zip(broadcast_dimensions, x.shape, strict=True) if n == shape[d]}
    axes = tuple(d for d in range(ct.ndim) if d not in own and shape[d] != 1)
    return (reshape_as(lax.reduce_sum(ct, axes) if axes else ct, x),)


@vjp("reshape")
def reshape(ct: Any, y: Any, x: Any, *, new_sizes: Any, dimensions: Any, sharding: Any) -> Cts:
    """y = the entries of x (its axes first put in the order ``dimensions``) in another shape.   x̄ = ȳ reshaped back."""
    if dimensions is None:
        return (reshape_as(ct, x),)
    sizes = tuple(x.shape[d] for d in dimensions)
    back = lax.reshape(ct, sizes, out_sharding=explicit_sharding(x, dimensions))
    return (transposed(back, np.argsort(dimensions)),)


@vjp("squeeze")
def squeeze(ct: Any, y: Any, x: Any, *, dimensions: Any) -> Cts:
    """y = x without axes of size 1.   x̄ = ȳ with them."""
    return (reshape_as(ct, x),)


@vjp("transpose")
def transpose(ct: Any, y: Any, x: Any, *, permutation: Any) -> Cts:
    """y[i_p(0), i_p(1), …] = x[i₀, i₁, …].   x̄ = ȳ under the inverse permutation."""
    return (transposed(ct, np.argsort(permutation)),)


@vjp("rev")
def rev(ct: Any, y: Any, x: Any, *, dimensions: Any) -> Cts:
    """y = x read backwards along ``dimensions``.   x̄ = ȳ read backwards."""
    return (lax.rev(ct, dimensions),)


@vjp("slice")
def slice_(ct: Any, y: Any, x: Any, *, start_indices: Any, limit_indices: Any, strides: Any) -> Cts:
    """y[i] = x[start + stride i].   x̄[start + stride i] = ȳ[i], 0 elsewhere."""
    config = []
    for n, m, start, stride in zip(x.shape, ct.shape, start_indices, strides or (1,) * x.ndim, strict=True):
        reach = (m - 1) * stride + 1 if m else 0
        config.append((start, n - start - reach, stride - 1))
    return (lax.pad(ct, scalar_zero(ct), config),)


@vjp("pad")
def pad(ct: Any, y: Any, x: Any, padding_value: Any, *, padding_config: Any) -> Cts:
    """y[lo + (1 + interior) i] = x[i], v elsewhere.   x̄[i] = ȳ[lo + (1 + interior) i] (0 where cut off), v̄ = Σ ȳ - Σ x̄.

    Negative edges cut entries of x off: those are filled in with zeros before the strided slice.
    """
    back = ct
    if any(lo < 0 or hi < 0 for lo, hi, _ in padding_config):
        back = lax.pad(back, scalar_zero(ct), [(max(-lo, 0), max(-hi, 0), 0) for lo, hi, _ in padding_config])
    if any(lo > 0 or hi > 0 or interior for lo, hi, interior in padding_config):
        starts = [max(lo, 0) for lo, _, _ in padding_config]
        limits = [n - max(hi, 0) for n, (_, hi, _) in zip(back.shape, padding_config, strict=True)]
        back = lax.slice(back, starts, limits, [1 + interior for _, _, interior in padding_config])
    axes = tuple(range(ct.ndim))
    return back, lax.reduce_sum(ct, axes) - lax.reduce_sum(back, axes)


@vjp("concatenate")
def concatenate(ct: Any, y: Any, *xs: Any, dimension: int) -> Cts:
    """y = x₀, x₁, … one after the other along ``dimension``.   x̄ₖ = the part of ȳ where xₖ lies."""
    return tuple(lax.split(ct, [x.shape[dimension] for x in xs], dimension))


@vjp("split")
def split(cts: Any, ys: Any, x: Any, *, sizes: Any, axis: int) -> Cts:
    """y₀, y₁, … = x cut along ``axis``.   x̄ = ȳ₀, ȳ₁, … joined, 0 for parts that nobody read."""
    read = [i for i, ct in enumerate(cts) if ct is not None]
    first, last = read[0], read[-1]
    parts = [lax.full_like(y, 0) if ct is None else ct for ct, y in zip(cts, ys, strict=True)][first : last + 1]
    back = lax.concatenate(parts, axis) if len(parts) > 1 else parts[0]
    before, after = sum(sizes[:first]), sum(sizes[last + 1 :])
    if before or after:
        config = [(before, after, 0) if d == axis else (0, 0, 0) for d in range(x.ndim)]
        back = lax.pad(back, scalar_zero(back), config)
    return (back,)


@vjp("stack")
def stack(ct: Any, y: Any, *xs: Any, axis: int) -> Cts:
    """y = x₀, x₁, … side by side along the new ``axis``.   x̄ₖ = ȳ at k along it."""
    return tuple(lax.unstack(ct, axis))


@vjp("unstack")
def unstack(cts: Any, ys: Any, x: Any, *, axis: int) -> Cts:
    """yₖ = x at k along ``axis``.   x̄ = ȳ₀, ȳ₁, … side by side, 0 for parts that nobody read."""
    if any(ct is None for ct in cts):
        nothing = lax.full_like(ys[0], 0)
        cts = [nothing if ct is None else ct for ct in cts]
    return (lax.stack(cts, axis),)


@vjp("tile")
def tile(ct: Any, y: Any, x: Any, *, reps: Any) -> Cts:
    """y = x repeated rₖ times along axis k.   x̄ = the sum of the tiles of ȳ."""
    shape: list[int] = []
    axes = []
    for n, r in zip(x.shape, reps, strict=True):
        if r != 1:
            axes.append(len(shape))
            shape.append(r)
        shape.append(n)
    if not axes:
        return (ct,)
    return (lax.reduce_sum(lax.reshape(ct, shape), axes),)
