"""Rules of the triangular factorisations: Cholesky, its rank-one update and its inverse, LU and QR."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.lax.linalg import triangular_solve

from functional_dl.rules.matrices import (
    adjoint,
    conj,
    exact,
    eye,
    hermitian,
    hermitian_pullback,
    solve_adjoint,
    tril,
    triu,
    unpermuted,
)  # fmt: skip
from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import vjp

__all__ = ["lu_pullback", "qr_pullback"]


def _after_inverse_adjoint(x: Array, u: Array, **how: bool) -> Array:
    """x u⁻ᴴ."""
    return triangular_solve(u, x, left_side=False, transpose_a=True, conjugate_a=True, **how)


def _inverse_adjoint_before(x: Array, low: Array, **how: bool) -> Array:
    """low⁻ᴴ x."""
    return triangular_solve(low, x, left_side=True, lower=True, transpose_a=True, conjugate_a=True, **how)


def _cholesky_pullback(low: Array, low_bar: Array) -> Array:
    """S = L⁻ᴴ Φ(Lᴴ L̄) L⁻¹ of A = L Lᴴ, so that Ā = (S + Sᴴ) / 2; Φ takes the lower triangle, the diagonal half.

    Murray 2016, "Differentiation of the Cholesky decomposition", arXiv:1602.07527.
    """
    product = adjoint(low) @ tril(low_bar)
    half = (tril(product) + tril(product, -1)) / 2
    return triangular_solve(low, _inverse_adjoint_before(half, low), left_side=False, lower=True)


@vjp("cholesky")
@exact
def cholesky(ct: Any, y: Any, a: Any) -> Cts:
    """L Lᴴ = A, of which the lower triangle is read.   Ā = the part of S that this triangle has, see above."""
    return (conj(hermitian_pullback(_cholesky_pullback(tril(y), conj(ct)))),)


@vjp("cholesky_update")
@exact
def cholesky_update(ct: Any, y: Any, r: Any, w: Any) -> Cts:
    """YᵀY = RᵀR + w wᵀ, all triangles upper.   With S as for Cholesky: R̄ = R (S + Sᵀ), w̄ = (S + Sᵀ) w."""
    s = _cholesky_pullback(adjoint(triu(y)), adjoint(triu(ct)))
    both = s + adjoint(s)
    return triu(triu(r) @ both), both @ w


@vjp("symmetric_product")
@exact
def symmetric_product(ct: Any, y: Any, a: Any, c: Any, *, alpha: Any, beta: Any) -> Cts:
    """Y = α A Aᵀ + β C.   Ā = α (Ȳ + Ȳᵀ) A, C̄ = β Ȳ."""
    return alpha * ((ct + adjoint(ct)) @ a), beta * ct


def lu_pullback(packed: Array, packed_bar: Array) -> Array:
    """The cotangent of A in A = L U, L with unit diagonal, both in one array, A of any shape.

    With A = [L₁; L₂] [U₁ U₂] and G the cotangent of the array, L₂ or U₂ being empty:
    C = tril(L₁ᴴG₁₁ − G₁₂U₂ᴴ, −1) + triu(G₁₁U₁ᴴ − L₂ᴴG₂₁),  Ā = [L₁⁻ᴴ C U₁⁻ᴴ, L₁⁻ᴴ G₁₂; G₂₁ U₁⁻ᴴ].
    The forward mode is in de Hoog, Anderssen & Lukas 2011, "Differentiation of matrix functionals using triangular
    factorization".
    """
    m, n = packed.shape[-2:]
    k = min(m, n)
    square, g = packed[..., :k, :k], packed_bar[..., :k, :k]
    low, up = tril(square, -1) + eye(packed, k), triu(square)
    left, right = adjoint(low) @ g, g @ adjoint(up)
    if m > k:
        rest = packed_bar[..., k:, :]
        right -= adjoint(packed[..., k:, :]) @ rest
        rest = _after_inverse_adjoint(rest, up)
    elif n > k:
        rest = packed_bar[..., :, k:]
        left -= rest @ adjoint(packed[..., :, k:])
        rest = _inverse_adjoint_before(rest, low, unit_diagonal=True)
    core = _inverse_adjoint_before(tril(left, -1) + triu(right), low, unit_diagonal=True)
    a_bar = _after_inverse_adjoint(core, up)
    return a_bar if m == n else jnp.concatenate([a_bar, rest], -2 if m > k else -1)


@vjp("lu")
@exact
def lu(cts: Any, ys: Any, a: Any) -> Cts:
    """A[π] = L U.   Ā[π] = the cotangent of L U, see `lu_pullback`."""
    packed, _, permutation = ys
    return (conj(unpermuted(lu_pullback(packed, conj(cts[0])), permutation, -2)),)


def _square_qr_pullback(q: Array, r: Array, q_bar: Array | None, r_bar: Array | None) -> Array:
    """The cotangent of A in A = Q R, R square with a real diagonal.

    M = R̄ Rᴴ − Qᴴ Q̄,  Ā = (Q̄ + Q H) R⁻ᴴ, where H is Hermitian and has the upper triangle of M.
    Walter & Lehmann 2018, "Algorithmic differentiation of linear algebra functions with application in optimum
    experimental design", arXiv:1001.1654; here also for complex matrices.
    """
    m: Any = 0 if r_bar is None else triu(r_bar) @ adjoint(r)
    m = m if q_bar is None else m - adjoint(q) @ q_bar
    inner = q @ hermitian(m, lower=False)
    return _after_inverse_adjoint(inner if q_bar is None else q_bar + inner, r)


def _complement_pullback(q: Array, n: int, q_bar: Array) -> Array:
    """The cotangent of the first n columns of a product of n reflectors, from that of all its columns.

    A product Q = I − V T Vᴴ of n reflectors is determined by its first columns Q₁: with Z = V₂ V₁⁻¹, that is
    Z (Q₁₁ − I) = Q₂₁, the others obey dQ₂ = dQ₁ Zᴴ − (Q₁ + Q₂ Z) (dQ₂₁ − Z dQ₁₁)ᴴ (Seeger et al. and
    arXiv:2409.13374, eq. 32), hence Q̄₁ += Q̄₂ Z + [Zᴴ; −I] Q̄₂ᴴ (Q₁ + Q₂ Z).
    """
    first, others, others_bar = q[..., :n], q[..., n:], q_bar[..., n:]
    z_adjoint = solve_adjoint(first[..., :n, :] - eye(q, n), adjoint(first[..., n:, :]))
    z = adjoint(z_adjoint)
    below = adjoint(others_bar) @ (first + others @ z)
    return q_bar[..., :n] + others_bar @ z + jnp.concatenate([z_adjoint @ below, -below], -2)


def qr_pullback(q: Array, r: Array, q_bar: Array | None, r_bar: Array | None) -> Array:
    """The cotangent of A in A = Q R, for A of any shape and Q either square or as wide as R is high.

    Tall A: that of the square R, with the cotangent of the complement brought to Q₁.  Wide A = Q [R₁ R₂]:
    R₂ = Qᴴ A₂, hence Q̄ += A₂ R̄₂ᴴ = Q R₂ R̄₂ᴴ and Ā₂ = Q R̄₂.
    """
    m, n = q.shape[-2], r.shape[-1]
    if m < n:
        if r_bar is None:
            rest = jnp.zeros_like(r[..., m:])
        else:
            rest = q @ r_bar[..., m:]
            q_bar = q @ (r[..., m:] @ adjoint(r_bar[..., m:])) + (0 if q_bar is None else q_bar)
            r_bar = r_bar[..., :m]
        return jnp.concatenate([_square_qr_pullback(q, r[..., :m], q_bar, r_bar), rest], -1)
    if q.shape[-1] > n and q_bar is not None:
        q_bar = _complement_pullback(q, n, q_bar)
    r_bar = None if r_bar is None else r_bar[..., :n, :]
    return _square_qr_pullback(q[..., :n], r[..., :n, :], q_bar, r_bar)


@vjp("qr")
@exact
def qr(cts: Any, ys: Any, a: Any, *, pivoting: bool, full_matrices: bool, use_magma: Any) -> Cts:
    """A[:, π] = Q R.   Ā[:, π] = the cotangent of Q R, see `qr_pullback`."""
    q_bar, r_bar = [None if ct is None else conj(ct) for ct in cts[:2]]
    a_bar = conj(qr_pullback(ys[0], ys[1], q_bar, r_bar))
    return (unpermuted(a_bar, ys[2], -1) if pivoting else a_bar,)
