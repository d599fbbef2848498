"""The rule of the singular value decomposition, with and without its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from functional_dl.rules.matrices import adjoint, conj, exact, from_diagonal, inverse_gaps, is_complex, skew, transpose
from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import Augmented, Call, structural

__all__: list[str] = []


def _without_complement(vectors: Array, bar: Array | None, k: int) -> tuple[Array, Array | None]:
    """The first k of ``vectors`` and their cotangent, that of the others brought to them.

    The others, U₀, are known up to a rotation among themselves; theirs is such that U₀ᴴ dU₀ = 0.  They stay normal to
    the first: dU₀ = −U dUᴴ U₀, hence Ū −= U₀ Ū₀ᴴ U.
    """
    first, others = vectors[..., :k], vectors[..., k:]
    if bar is None:
        return first, None
    return first, bar[..., :k] - others @ (adjoint(bar[..., k:]) @ first)


def _outside(vectors: Array, bar: Array, s: Array) -> Array:
    """(1 − U Uᴴ) Ū diag s⁻¹: what moves the vectors out of the space that they span."""
    return (bar - vectors @ (adjoint(vectors) @ bar)) / s[..., None, :]


def _pullback(u: Array, s: Array, v: Array, u_bar: Array | None, s_bar: Array | None, v_bar: Array | None) -> Array:
    """The cotangent of A = U diag s Vᴴ.   With K = Uᴴ Ū − (Uᴴ Ū)ᴴ, and L so of V, and for i ≠ j

    Eᵢⱼ = (K + L)ᵢⱼ / 2(sⱼ − sᵢ) + (K − L)ᵢⱼ / 2(sⱼ + sᵢ),  Eᵢᵢ = s̄ᵢ + Kᵢᵢ / 2sᵢ:
    Ā = U E Vᴴ + (1 − U Uᴴ) Ū diag s⁻¹ Vᴴ + U diag s⁻¹ V̄ᴴ (1 − V Vᴴ).
    A pair of singular vectors is known up to a common phase; theirs is such that vᵢᴴ dvᵢ = 0, as JAX has it.
    Giles 2008, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation".
    """
    k = s.shape[-1]
    inner: Any = 0 if s_bar is None else from_diagonal(s_bar)
    turn_u: Any = 0 if u_bar is None else skew(adjoint(u) @ u_bar)
    turn_v: Any = 0 if v_bar is None else skew(adjoint(v) @ v_bar)
    if u_bar is not None or v_bar is not None:
        inverse_sums = (1 - jnp.eye(k, dtype=s.dtype)) / (s[..., None, :] + s[..., :, None])
        inner += ((turn_u + turn_v) * inverse_gaps(s, s) + (turn_u - turn_v) * inverse_sums) / 2
    if u_bar is not None and is_complex(u):
        inner += turn_u * from_diagonal(jnp.where(s == 0, 0, 0.5 / jnp.where(s == 0, 1, s)))
    left = u @ inner
    if u_bar is not None and u.shape[-2] > k:
        left += _outside(u, u_bar, s)
    a_bar = left @ adjoint(v)
    if v_bar is not None and v.shape[-2] > k:
        a_bar += u @ adjoint(_outside(v, v_bar, s))
    return a_bar


def _among(bar: Array | None, first: int, last: int, k: int) -> Array | None:
    """The cotangent of all k columns, from that of the columns from ``first`` to ``last``."""
    return None if bar is None else jnp.pad(bar, [(0, 0)] * (bar.ndim - 1) + [(first, k - last)])


@structural("svd")
def svd(call: Call, differentiate: Any) -> Augmented:
    """A = U diag s Vᴴ.   Ā: see `_pullback`.

    If the values alone are asked for, the forward computes the vectors too, which then are residuals.  If only some
    triplets are, their cotangents are placed among those of all.
    """
    return _svd(call, **call.params)


def _svd(call: Call, *, full_matrices: bool, compute_uv: bool, subset_by_index: Any, algorithm: Any) -> Augmented:
    k = min(call.in_avals[0].shape[-2:])
    first, last = subset_by_index or (0, k)

    def forward(a: Array) -> tuple[Sequence[Array], Sequence[Array]]:
        s, u, vh = call.primitive.bind(a, **{**call.params, "compute_uv": True, "full_matrices": False})
        return [s], [u, vh]

    @exact
    def backward(cts: Sequence[Any], ys: Sequence[Array], residuals: Sequence[Array], a: Array) -> Cts:
        s, u, vh = [*ys, *residuals]
        s_bar, u_bar, v_bar = [*cts, None, None][:3]
        u_bar = None if u_bar is None else conj(u_bar)
        v, v_bar = adjoint(vh), None if v_bar is None else transpose(v_bar)
        if compute_uv and last - first < k:
            u, s, vh = lax.linalg.svd(a, full_matrices=False, algorithm=algorithm)
            v = adjoint(vh)
            s_bar, u_bar, v_bar = [_among(bar, first, last, k) for bar in (s_bar, u_bar, v_bar)]
        if u.shape[-1] > s.shape[-1]:
            u, u_bar = _without_complement(u, u_bar, k)
        if v.shape[-1] > s.shape[-1]:
            v, v_bar = _without_complement(v, v_bar, k)
        return (conj(_pullback(u, s, v, u_bar, s_bar, v_bar)),)

    return Augmented(None if compute_uv else forward, backward)
