"""The rule of the Schur decomposition, of complex and of real matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax
from jax.lax.linalg import triangular_solve

from functional_dl.rules.matrices import (
    adjoint,
    conj,
    diagonal,
    exact,
    eye,
    from_diagonal,
    is_complex,
    skew,
    subdiagonal,
    transpose,
)
from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import Augmented, Call, structural

__all__: list[str] = []


def _sylvester(t: Array, due: Array, free: Array) -> Array:
    """Y, 0 but where ``free``, with Tᴴ Y − Y Tᴴ = ``due`` there; T is upper triangular, ``free`` below its diagonal.

    From the last column but one to the first, each column is one triangular solve with Tᴴ − tⱼⱼ*.
    """
    t_adjoint, one = adjoint(t), eye(t, t.shape[-1])

    def column(y: Array, j: Array) -> tuple[Array, None]:
        row = lax.dynamic_index_in_dim(t, j, t.ndim - 2)
        here = lax.dynamic_index_in_dim(free, j, free.ndim - 1)
        rest = lax.dynamic_index_in_dim(due, j, due.ndim - 1) + y @ adjoint(row)
        system = t_adjoint - conj(lax.dynamic_index_in_dim(row, j, row.ndim - 1)) * one
        system = jnp.where(here & transpose(here), system, one)
        new = triangular_solve(system, jnp.where(here, rest, 0), left_side=True, lower=True)
        return lax.dynamic_update_index_in_dim(y, new, j, y.ndim - 1), None

    return lax.scan(column, jnp.zeros_like(due), jnp.arange(t.shape[-1] - 2, -1, -1))[0]


def _blocks(t: Array) -> tuple[Array, Array, Array]:
    """Where 2×2 blocks [a b; c a], b c < 0, begin in a real Schur form; b and c there, 1 and −1 elsewhere."""
    b, c = diagonal(t[..., :-1, 1:]), diagonal(t[..., 1:, :-1])
    begins = c != 0
    return begins, jnp.where(begins, b, 1), jnp.where(begins, c, -1)


def _spread(first: Array, second: Array) -> Array:
    """``first`` in the places of a vector where blocks begin, plus ``second`` one place further."""
    before = [(0, 0)] * (first.ndim - 1)
    return jnp.pad(first, [*before, (0, 1)]) + jnp.pad(second, [*before, (1, 0)])


def _triangulation(begins: Array, b: Array, c: Array) -> Array:
    """The unitary W, with blocks [cos φ, i sin φ; i sin φ, cos φ], that makes a real Schur form triangular.

    The first column of a block is the eigenvector (b, i √(−b c)) of [a b; c a].
    """
    less = jnp.where(begins, jnp.sqrt(b / (b - c)) - 1, 0)
    sine = subdiagonal(jnp.where(begins, jnp.sign(b) * jnp.sqrt(-c / (b - c)), 0))
    return lax.complex(from_diagonal(1 + _spread(less, less)), sine + transpose(sine))


def _pullback(t: Array, z: Array, t_bar: Array | None, z_bar: Array | None) -> Array:
    """The cotangent of A = Z T Zᴴ.

    With E = Zᴴ dA Z and X = Zᴴ dZ, which is skew: dT = E + T X − X T, and X below the blocks of the diagonal is such
    that dT is 0 there.  Let R = Zᴴ Z̄ + Tᴴ T̄ − T̄ Tᴴ less its adjoint: Ā = Z (T̄ − Y) Zᴴ with Y below the blocks and
    there Tᴴ Y − Y Tᴴ = R.

    A complex Z is known up to the phases of its columns; theirs is such that Xⱼⱼ = 0.  A real Z is known up to signs
    and quarter turns: LAPACK turns the two columns of a block until it is [a b; c a], which in a block that E and the
    rest of X would take out of that form adds the angle δ = −(dT₁₁ − dT₂₂) / 2(b + c) to X.  Where b + c = 0, as in
    every block of a normal matrix, no angle is better than another, and δ is taken as 0.
    """
    corner = eye(t, t.shape[-1])
    begins, b, c = _blocks(t)
    within = jnp.broadcast_to(corner, t.shape) if is_complex(t) else subdiagonal(begins.astype(t.dtype)) + corner
    inside = (within + transpose(within)) != 0
    low = jnp.tril(jnp.ones(t.shape, bool), -1)
    free = low & ~inside
    direct: Any = jnp.zeros_like(t) if t_bar is None else jnp.where(free, 0, t_bar)
    turn: Any = 0 if z_bar is None else adjoint(z) @ z_bar

    def remaining(kept: Array) -> Array:
        return skew(turn + adjoint(t) @ kept - kept @ adjoint(t))

    if is_complex(t):
        y = _sylvester(t, jnp.where(free, remaining(direct), 0), free)
    else:
        known = begins & (jnp.abs(b + c) > 100 * jnp.finfo(t.dtype).eps * (jnp.abs(b) + jnp.abs(c)))
        angle = jnp.where(known, diagonal(remaining(direct)[..., 1:, :-1]) / jnp.where(known, 2 * (b + c), 1), 0)
        direct += from_diagonal(_spread(-angle, angle))
        w = _triangulation(begins, b, c)
        y = _sylvester(adjoint(w) @ t @ w, adjoint(w) @ jnp.where(free, remaining(direct), 0) @ w, free)
        y = (w @ y @ adjoint(w)).real
    return z @ (direct - y) @ adjoint(z)


@structural("schur")
def schur(call: Call, differentiate: Any) -> Augmented:
    """A = Z T Zᴴ, T triangular but for the 2×2 blocks of a real matrix.   Ā: see `_pullback`.

    Where two eigenvalues coincide, T and Z have no derivative and the cotangent is not finite.
    """
    return _schur(call, **call.params)


def _schur(call: Call, *, compute_schur_vectors: bool, sort_eig_vals: bool, select_callable: Any) -> Augmented:
    def forward(a: Array) -> tuple[Sequence[Array], Sequence[Array]]:
        t, z = call.primitive.bind(a, **{**call.params, "compute_schur_vectors": True})
        return [t], [z]

    @exact
    def backward(cts: Sequence[Any], ys: Sequence[Array], residuals: Sequence[Array], a: Array) -> Cts:
        t_bar, z_bar = [None if ct is None else conj(ct) for ct in [*cts, None][:2]]
        t, z = [*ys, *residuals]
        return (conj(_pullback(t, z, t_bar, z_bar)),)

    return Augmented(None if compute_schur_vectors else forward, backward)
