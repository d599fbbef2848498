"""Rules of the unitary reductions to Hessenberg and to tridiagonal form, by reflectors that stay packed with it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from functional_dl.rules.matrices import (
    adjoint,
    conj,
    exact,
    from_diagonal,
    hermitian_pullback,
    is_complex,
    skew,
    subdiagonal,
    tril,
    triu,
)
from functional_dl.rules.reflectors import reflectors_pullback
from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import vjp

__all__: list[str] = []


def _bordered(q: Array, corner: float) -> Array:
    """``q`` with a row and a column of zeros before it, and ``corner`` where they meet."""
    border = [(0, 0)] * (q.ndim - 2) + [(1, 0), (1, 0)]
    return jnp.pad(q, border) + jnp.zeros((q.shape[-1] + 1,) * 2, q.dtype).at[0, 0].set(corner)


def _below_pullback(h: Array, start: Array) -> Array:
    """Y, the multiplier of the condition that A stays reduced: 0 but below the subdiagonal, or imaginary on it.

    It makes K + HᴴM − M Hᴴ Hermitian in all rows and columns but the first, M = H̄ + Y; ``start`` is
    K + Hᴴ H̄ − H̄ Hᴴ less its adjoint, of which the lower triangle is read.  From the last column to the second,
    column j of that equation holds one new column of Y, j − 1, times hⱼ,ⱼ₋₁.
    """
    n = h.shape[-1]
    start = tril(start, -1) + triu(tril(start)) / 2
    rows = lax.broadcasted_iota(jnp.int32, (n, 1), 0)

    def column(y: Array, j: Array) -> tuple[Array, None]:
        row = lax.dynamic_index_in_dim(h, j, h.ndim - 2)
        due = lax.dynamic_index_in_dim(start, j, h.ndim - 1) - y @ adjoint(row)
        due += adjoint(h) @ lax.dynamic_index_in_dim(y, j, h.ndim - 1)
        kept = jnp.where(rows > j, due, 0)
        if is_complex(h):
            kept += jnp.where(rows == j, lax.complex(jnp.zeros_like(due.real), due.imag), 0)
        new = kept / conj(lax.dynamic_index_in_dim(row, j - 1, h.ndim - 1))
        return lax.dynamic_update_index_in_dim(y, new, j - 1, h.ndim - 1), None

    # The last subdiagonal of a real matrix needs no reflector.
    last = n - 1 if is_complex(h) else n - 2
    return lax.scan(column, jnp.zeros_like(start), jnp.arange(last, 0, -1))[0]


def _reduction_pullback(
    h: Array, packed: Array, taus: Array, h_bar: Array, packed_bar: Array | None, taus_bar: Array | None
) -> Array:
    """The cotangent of A = Q H Qᴴ, Q = 1 ⊕ Q' with the reflectors of Q' in ``packed`` below its first row.

    X = Qᴴ dQ is skew, its first column is 0, and dH = Qᴴ dA Q + H X − X H; if H is not to leave its form, that
    determines X.  Ā = Q (H̄ + Y) Qᴴ with Y as in `_below_pullback`, K = Qᴴ Q̄.
    """
    if h.shape[-1] == 1:
        return h_bar
    inner, inner_bar = packed[..., 1:, :-1], None if packed_bar is None else packed_bar[..., 1:, :-1]
    q = _bordered(lax.linalg.householder_product(inner, taus), 1)
    q_bar = reflectors_pullback(inner, taus, inner_bar, taus_bar)
    turn = adjoint(h) @ h_bar - h_bar @ adjoint(h)
    if q_bar is not None:
        turn += adjoint(q) @ _bordered(q_bar, 0)
    return q @ (h_bar + _below_pullback(h, skew(turn))) @ adjoint(q)


@vjp("hessenberg")
@exact
def hessenberg(cts: Any, ys: Any, a: Any) -> Cts:
    """A = Q H Qᴴ, H with one subdiagonal, which LAPACK makes real; reflectors below it, and τ.

    Ā: see `_reduction_pullback`.  Where H has a 0 on its subdiagonal but the last, Q has no derivative, and where a
    column of A had nothing to annihilate the sign of a column is discontinuous (see `reflectors_pullback`).
    """
    packed, taus = ys
    packed_bar, taus_bar = [None if ct is None else conj(ct) for ct in cts]
    h_bar = jnp.zeros_like(packed) if packed_bar is None else triu(packed_bar, -1)
    return (conj(_reduction_pullback(triu(packed, -1), packed, taus, h_bar, packed_bar, taus_bar)),)


@vjp("tridiagonal")
@exact
def tridiagonal(cts: Any, ys: Any, a: Any, *, lower: bool) -> Cts:
    """A = Q H Qᴴ, A Hermitian with one triangle read, H real with diagonal d and subdiagonal e; reflectors and τ.

    This is the reduction of a Hermitian matrix to Hessenberg form; Ā = the part of that cotangent that the triangle
    has.  With the upper triangle everything is in reverse order.
    """
    packed, d, e, taus = ys if lower else [_reversed(y, a.ndim) for y in ys]
    bars = [None if ct is None else conj(ct) for ct in cts]
    if not lower:
        bars = [None if bar is None else _reversed(bar, a.ndim) for bar in bars]
    packed_bar, d_bar, e_bar, taus_bar = bars
    sub = subdiagonal(e)
    h = (from_diagonal(d) + sub + adjoint(sub)).astype(a.dtype)
    h_bar = jnp.zeros_like(a) if packed_bar is None else tril(triu(packed_bar, -1))
    if d_bar is not None:
        h_bar += from_diagonal(d_bar)
    if e_bar is not None:
        h_bar += subdiagonal(e_bar)
    a_bar = hermitian_pullback(_reduction_pullback(h, packed, taus, h_bar, packed_bar, taus_bar))
    return (conj(a_bar if lower else _reversed(a_bar, a.ndim)),)


def _reversed(x: Array, ndim: int) -> Array:
    """``x`` in reverse order along the axes of the matrix, or of the vector of a batch of matrices of ``ndim`` axes."""
    return lax.rev(x, tuple(range(ndim - 2, x.ndim)))
