"""Rules of the solution of triangular and tridiagonal systems."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from functional_dl.rules.matrices import conj, exact, transpose, tril, triu
from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import vjp

__all__: list[str] = []


@vjp("triangular_solve")
@exact
def triangular_solve(
    ct: Any,
    y: Any,
    a: Any,
    b: Any,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> Cts:
    """op(A) Y = B, or Y op(A) = B, with op one of A, Aᵀ, A*, Aᴴ.   op(A)ᵀ B̄ = Ȳ and op̄ = −B̄ Yᵀ, or

    B̄ op(A)ᵀ = Ȳ and op̄ = −Yᵀ B̄;  Ā is the triangle of op̄, transposed and conjugated as A was.
    """
    how = {"left_side": left_side, "lower": lower, "conjugate_a": conjugate_a, "unit_diagonal": unit_diagonal}
    b_bar = lax.linalg.triangular_solve(a, ct, transpose_a=not transpose_a, **how)
    # (−B̄ Yᵀ)ᵀ = −Y B̄ᵀ: transposing op̄ only swaps the factors.
    left, right = (b_bar, transpose(y)) if left_side else (transpose(y), b_bar)
    op_bar = -(transpose(right) @ transpose(left) if transpose_a else left @ right)
    op_bar = conj(op_bar) if conjugate_a else op_bar
    k = 1 if unit_diagonal else 0
    return tril(op_bar, -k) if lower else triu(op_bar, k), b_bar


def _shifted(x: Array, by: int) -> Array:
    """x with its entries moved ``by`` places (±1) down the last axis; 0 where none came."""
    zero = jnp.zeros_like(x[..., :1])
    parts = [zero, x[..., :-1]] if by > 0 else [x[..., 1:], zero]
    return jnp.concatenate(parts, -1)


@vjp("tridiagonal_solve")
def tridiagonal_solve(
    ct: Any, y: Any, low: Any, middle: Any, up: Any, b: Any, *, perturb_singular: bool = False
) -> Cts:
    """A Y = B, where row i of A is lᵢ, mᵢ, uᵢ in the columns i−1, i, i+1.   Aᵀ B̄ = Ȳ;

    l̄ᵢ = −Σ B̄ᵢ Yᵢ₋₁,  m̄ᵢ = −Σ B̄ᵢ Yᵢ,  ūᵢ = −Σ B̄ᵢ Yᵢ₊₁, the sums over the columns of B.
    """
    transposed = _shifted(up, 1), middle, _shifted(low, -1)
    b_bar = lax.linalg.tridiagonal_solve(*transposed, ct, perturb_singular=perturb_singular)
    rows, neighbours = transpose(b_bar), transpose(y)
    return *[-(rows * x).sum(-2) for x in (_shifted(neighbours, 1), neighbours, _shifted(neighbours, -1))], b_bar
