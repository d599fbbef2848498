"""Rules of Householder reflectors: their product, its application, and the QR factorisation that keeps them packed.

LAPACK's reflectors are Hᵢ = 1 − τᵢ vᵢ vᵢᴴ, with vᵢ in column i of an array: 0 above the diagonal, 1 on it.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.lax.linalg import triangular_solve

from functional_dl.rules.factorizations import lu_pullback, qr_pullback
from functional_dl.rules.matrices import (
    adjoint,
    conj,
    diagonal,
    exact,
    eye,
    from_diagonal,
    is_complex,
    tril,
    triu,
    unpermuted,
)
from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import vjp

__all__ = ["reflectors_pullback"]


def _columns(x: Array, k: int) -> Array:
    """The first k columns of ``x``, with zeros for those that are missing."""
    n = x.shape[-1]
    return x[..., :k] if k <= n else jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, k - n)])


def _compact(packed: Array, taus: Array) -> tuple[Array, Array, Array, Array]:
    """V, T, M, S of H₁ … H_k = 1 − V T Vᴴ:  T = M⁻¹ D with D = diag τ, M = 1 + D S, S = Vᴴ V above its diagonal.

    The UT transform of Joffrain et al. 2006, "Accumulating Householder transformations, revisited", without dividing
    by τ, which may be 0.
    """
    m, k = packed.shape[-2], taus.shape[-1]
    v = tril(packed[..., :k], -1) + eye(packed, m, k)
    s = triu(adjoint(v) @ v, 1)
    upper = eye(packed, k) + taus[..., None] * s
    t = triangular_solve(upper, from_diagonal(taus), left_side=True, unit_diagonal=True)
    return v, t, upper, s


def _product_pullback(packed: Array, taus: Array, left: Array, right: Array) -> tuple[Array, Array]:
    """The cotangents of the reflectors, in the columns of ``packed``, and of τ from Q̄ = ``left`` ``right``ᴴ = L Rᴴ.

    T̄ = −Vᴴ L (Vᴴ R)ᴴ,  M̄ = −M⁻ᴴ T̄ Tᴴ,  S̄ = Dᴴ M̄ above its diagonal,  τ̄ = diag(M⁻ᴴ T̄ + M̄ Sᴴ),
    V̄ = −L (Vᴴ R)ᴴ Tᴴ − R (Vᴴ L)ᴴ T + V (S̄ + S̄ᴴ).
    """
    v, t, upper, s = _compact(packed, taus)
    v_left, v_right = adjoint(v) @ left, adjoint(v) @ right
    solved = triangular_solve(
        upper, -v_left @ adjoint(v_right), left_side=True, transpose_a=True, conjugate_a=True, unit_diagonal=True
    )
    upper_bar = -solved @ adjoint(t)
    s_bar = triu(conj(taus)[..., None] * upper_bar, 1)
    v_bar = v @ (s_bar + adjoint(s_bar)) - left @ (adjoint(v_right) @ adjoint(t)) - right @ (adjoint(v_left) @ t)
    return _columns(tril(v_bar, -1), packed.shape[-1]), diagonal(solved + upper_bar @ adjoint(s))


@vjp("householder_product")
@exact
def householder_product(ct: Any, y: Any, a: Any, taus: Any) -> Cts:
    """Y = the first columns, E, of H₁ … H_k.   Ā, τ̄: those of the reflectors for Q̄ = Ȳ Eᴴ."""
    first = jnp.broadcast_to(eye(a, *a.shape[-2:]), a.shape)
    a_bar, taus_bar = _product_pullback(a, taus, conj(ct), first)
    return conj(a_bar), conj(taus_bar)


@vjp("ormqr")
@exact
def ormqr(ct: Any, y: Any, a: Any, taus: Any, c: Any, *, left: bool, transpose: bool) -> Cts:
    """Y = Q C, Qᴴ C, C Q or C Qᴴ with Q = H₁ … H_k.   C̄ = Qᴴ Ȳ, Q Ȳ, Ȳ Qᴴ or Ȳ Q;

    Ā, τ̄: those of the reflectors for Q̄ = Ȳ Cᴴ, C Ȳᴴ, Cᴴ Ȳ or Ȳᴴ C.
    """
    y_bar = conj(ct)
    c_bar = lax.linalg.ormqr(a, taus, y_bar, left=left, transpose=not transpose)
    factors = (y_bar, c) if left else (adjoint(c), adjoint(y_bar))
    a_bar, taus_bar = _product_pullback(a, taus, *(factors[::-1] if transpose else factors))
    return conj(a_bar), conj(taus_bar), conj(c_bar)


def reflectors_pullback(packed: Array, taus: Array, packed_bar: Array | None, taus_bar: Array | None) -> Array | None:
    """The cotangent of the orthogonal Q that determines its reflectors, from theirs; Q has the shape of ``packed``.

    Since 1 − Q = V (T V₁ᴴ) is the LU factorisation of 1 − Q, with diag τ on the diagonal of its second factor, this
    is the cotangent of an LU factorisation without pivoting (Ballard et al. 2014, "Reconstructing Householder vectors
    from tall-skinny QR").  A τ that is 0, where LAPACK found nothing to annihilate, is a discontinuity: a little more
    and the sign of a column would change.  Only the last τ of a real square Q is always 0.
    """
    m, k = packed.shape[-2:]
    count = k if is_complex(packed) else min(k, m - 1)
    if count == 0 or (packed_bar is None and taus_bar is None):
        return None
    v, t, _, _ = _compact(packed[..., :count], taus[..., :count])
    factors_bar: Any = 0 if packed_bar is None else tril(packed_bar[..., :count], -1)
    if taus_bar is not None:
        factors_bar += eye(packed, m, count) * taus_bar[..., None, :count]
    return _columns(-lu_pullback(tril(v, -1) + _placed(t @ adjoint(v[..., :count, :]), m), factors_bar), k)


def _placed(square: Array, rows: int) -> Array:
    """The upper triangle of ``square``, over rows of zeros."""
    return jnp.pad(triu(square), [(0, 0)] * (square.ndim - 2) + [(0, rows - square.shape[-2]), (0, 0)])


def _geqrf_pullback(packed: Array, taus: Array, packed_bar: Array | None, taus_bar: Array | None) -> Array:
    """The cotangent of A = H₁ … H_k R: that of Q, by the reflectors, and of R, which is above them, give that of A."""
    k = taus.shape[-1]
    first, first_bar = packed[..., :k], None if packed_bar is None else packed_bar[..., :k]
    q_bar = reflectors_pullback(first, taus, first_bar, taus_bar)
    r_bar = None if packed_bar is None else triu(packed_bar)[..., :k, :]
    q = lax.linalg.householder_product(first, taus)
    return qr_pullback(q, triu(packed)[..., :k, :], q_bar, r_bar)


@vjp("geqrf")
@exact
def geqrf(cts: Any, ys: Any, a: Any) -> Cts:
    """A = H₁ … H_k R, packed into one array, and τ.   Ā: see `_geqrf_pullback`."""
    return (conj(_geqrf_pullback(*ys, *[None if ct is None else conj(ct) for ct in cts])),)


@vjp("geqp3")
@exact
def geqp3(cts: Any, ys: Any, a: Any, pivots: Any, *, use_magma: Any) -> Cts:
    """A[:, π − 1] = H₁ … H_k R, packed, π and τ.   Ā[:, π − 1]: see `_geqrf_pullback`."""
    packed, order, taus = ys
    packed_bar, _, taus_bar = [None if ct is None else conj(ct) for ct in cts]
    return conj(unpermuted(_geqrf_pullback(packed, taus, packed_bar, taus_bar), order - 1, -1)), None
