"""Undo the implicit broadcasting of binary primitives: sum a cotangent over what was broadcast."""

from __future__ import annotations

from jax import Array, lax

__all__ = ["unbroadcast"]


def unbroadcast(ct: Array, operand: Array) -> Array:
    """Sum ``ct`` down to the shape of ``operand``, which is that of ``ct``, a scalar, or has axes of size 1.

    Inside a jaxpr the operands of a binary primitive may be scalar literals or have size-1 axes against full
    ones; the transpose of that broadcast is a sum.
    """
    if ct.shape == operand.shape:
        return ct
    if operand.ndim == 0:
        return lax.reduce_sum(ct, tuple(range(ct.ndim)))
    axes = tuple(i for i, (n, m) in enumerate(zip(ct.shape, operand.shape, strict=True)) if n != m)
    return lax.reshape(lax.reduce_sum(ct, axes), operand.shape)
