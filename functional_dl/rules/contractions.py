"""The rule of dot_general: a contraction is bilinear, and so is each of its two transposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import Array, lax
from jax.dtypes import issubdtype

from functional_dl.rules.shapes import Cts, explicit_sharding, transposed
from functional_dl.rules.table import vjp

__all__ = ["cast_cotangent", "dot_general", "kept_axes"]


def cast_cotangent(ct: Array, x: Array) -> Array | None:
    """``ct`` in the dtype of ``x``: where dtypes were mixed, the forward converted x; a real x has no imaginary part.

    ``None`` if x takes no cotangent because it holds integers.
    """
    if not issubdtype(x.dtype, np.inexact):
        return None
    if issubdtype(ct.dtype, np.complexfloating) and not issubdtype(x.dtype, np.complexfloating):
        ct = lax.real(ct)
    return ct if ct.dtype == x.dtype else lax.convert_element_type(ct, x.dtype)


def kept_axes(ndim: int, *gone: Sequence[int]) -> list[int]:
    """The axes that are neither contracted nor batched, in order."""
    out = {i for axes in gone for i in axes}
    return [i for i in range(ndim) if i not in out]


def _contract(x: Array, first: bool, ct: Array, other: Array, dims: Any, precision: Any, **how: Any) -> Array | None:
    """The cotangent of ``x`` in y = x · other (``first``) or y = other · x: ȳ contracted with ``other``.

    The free axes of ``other`` are contracted; what remains are the axes of x, as x_batch, x_kept and x_contract, or
    as x_batch, x_contract and x_kept if the operands are swapped.  We take the order that is already that of x;
    a transpose follows only where neither is.  Each operand keeps its precision, and ȳ takes that of x.
    """
    ((x_contract, x_batch), (other_contract, other_batch)) = dims
    if not issubdtype(x.dtype, np.inexact):
        return None
    x_kept = kept_axes(x.ndim, x_contract, x_batch)
    other_kept = kept_axes(other.ndim, other_contract, other_batch)
    batch = range(len(x_batch))
    begin = len(x_batch) if not first else len(x_batch) + len(x_kept)
    ct_kept = range(begin, begin + len(other_kept))
    contracted = [x_contract[i] for i in np.argsort(other_contract)]
    orders = {True: [*x_batch, *x_kept, *contracted], False: [*x_batch, *contracted, *x_kept]}
    ct_left, order = first, orders[first]
    # An algorithm may name different types for its two operands: those stay in their places.
    if order != sorted(order) == orders[not first] and not isinstance(precision, lax.DotAlgorithm):
        ct_left, order = not first, orders[not first]
        precision = precision[::-1] if isinstance(precision, tuple) else precision
    how["out_sharding"] = explicit_sharding(x, order)
    if ct_left:
        out = lax.dot_general(ct, other, ((ct_kept, other_kept), (batch, other_batch)), precision, **how)
    else:
        out = lax.dot_general(other, ct, ((other_kept, ct_kept), (other_batch, batch)), precision, **how)
    return cast_cotangent(transposed(out, np.argsort(order)), x)


@vjp("dot_general")
def dot_general(
    ct: Any,
    y: Any,
    a: Any,
    b: Any,
    *,
    dimension_numbers: Any,
    precision: Any,
    preferred_element_type: Any,
    out_sharding: Any,
) -> Cts:
    """y[n,i,j] = Σₖ a[n,i,k] b[n,j,k].   ā[n,i,k] = Σⱼ ȳ[n,i,j] b[n,j,k],  b̄[n,j,k] = Σᵢ ȳ[n,i,j] a[n,i,k]."""
    (a_contract, b_contract), (a_batch, b_batch) = dimension_numbers
    dims_a, dims_b = (a_contract, a_batch), (b_contract, b_batch)
    return (
        _contract(a, True, ct, b, (dims_a, dims_b), precision, preferred_element_type=preferred_element_type),
        _contract(b, False, ct, a, (dims_b, dims_a), precision, preferred_element_type=preferred_element_type),
    )
