"""Rules of the eigenvalues and eigenvectors of Hermitian and of general matrices.

Where two eigenvalues coincide the vectors have no derivative and their cotangents give no finite result; the
eigenvalues alone have one (their sum and other symmetric functions do), and it is finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from functional_dl.rules.matrices import (
    adjoint,
    conj,
    exact,
    from_diagonal,
    hermitian_pullback,
    inverse_gaps,
    is_complex,
    solve_adjoint,
)
from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import Augmented, Call, structural, vjp

__all__: list[str] = []


@vjp("eigh")
@exact
def eigh(
    cts: Any, ys: Any, a: Any, *, lower: bool, sort_eigenvalues: bool, subset_by_index: Any, algorithm: Any
) -> Cts:
    """A V = V diag w with one triangle of A read.   W = V (F ∘ Vᴴ V̄ + diag w̄) Vᴴ with Fᵢⱼ = 1 / (wⱼ − wᵢ), Fᵢᵢ = 0;

    Ā = the part of W that this triangle has.  Vectors are known up to a phase; theirs is such that vᵢᴴ dvᵢ = 0.  If
    only some pairs are asked for, the first V in W is that of all vectors, and so are the rows of F.
    Giles 2008, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation".
    """
    v, w = ys
    v_bar, w_bar = cts
    first, last = subset_by_index or (0, a.shape[-1])
    inner: Any = 0 if w_bar is None else (v * w_bar[..., None, :])
    if v_bar is not None:
        whole = last - first == a.shape[-1]
        every, values = (v, w) if whole else lax.linalg.eigh(a, lower=lower, symmetrize_input=False)
        inner += every @ (inverse_gaps(values, w, first) * (adjoint(every) @ conj(v_bar)))
    return (conj(hermitian_pullback(inner @ adjoint(v), lower)),)


def _vectors_pullback(w: Array, v: Array, w_bar: Array | None, v_bar: Array | None) -> Array:
    """The cotangent of A in A V = V diag w, ‖vⱼ‖ = 1 and the largest entry of vⱼ, vₖⱼ, real.

    dvⱼ = uⱼ + cⱼ vⱼ with U = V (F ∘ V⁻¹ dA V), Fᵢⱼ = 1 / (wⱼ − wᵢ), cⱼ = −Re vⱼᴴuⱼ − i Im uₖⱼ / vₖⱼ, hence with
    gⱼ = vⱼᴴ v̄ⱼ: ūⱼ = v̄ⱼ − vⱼ Re gⱼ − i eₖ Im gⱼ / vₖⱼ and Ā = V⁻ᴴ (F* ∘ Vᴴ Ū + diag w̄) Vᴴ.
    """
    inner: Any = 0 if w_bar is None else from_diagonal(w_bar)
    if v_bar is not None:
        size = lax.abs(v)
        largest = lax.argmax(size, v.ndim - 2, jnp.int32)[..., None, :]
        chosen = lax.broadcasted_iota(jnp.int32, v.shape, v.ndim - 2) == largest
        pivot = jnp.where(chosen, v.real, 0).sum(-2, keepdims=True)
        g = (conj(v) * v_bar).sum(-2, keepdims=True)
        phase = jnp.where(chosen, g.imag / pivot, 0)
        u_bar = v_bar - v * g.real - lax.complex(jnp.zeros_like(phase), phase)
        inner += conj(inverse_gaps(w, w)) * (adjoint(v) @ u_bar)
    return solve_adjoint(v, inner @ adjoint(v))


@structural("eig")
def eig(call: Call, differentiate: Any) -> Augmented:
    """A V = V diag w, Aᴴ U = U diag w*, with vectors as LAPACK normalises them.   Ā: see `_vectors_pullback`.

    That normalisation has a derivative where the eigenvalues are distinct and no vector has two largest entries;
    JAX refuses the vectors, or takes the same, if asked with ``enable_eigvec_derivs``.
    """
    return _eig(call, **call.params)


def _eig(
    call: Call,
    *,
    compute_left_eigenvectors: bool,
    compute_right_eigenvectors: bool,
    enable_eigvec_derivs: bool,
    implementation: Any,
) -> Augmented:
    def forward(a: Array) -> tuple[Sequence[Array], Sequence[Array]]:
        *ys, right = call.primitive.bind(a, **{**call.params, "compute_right_eigenvectors": True})
        return ys, [right]

    @exact
    def backward(cts: Sequence[Any], ys: Sequence[Array], residuals: Sequence[Array], a: Array) -> Cts:
        w, w_bar, *bars = ys[0], *[None if ct is None else conj(ct) for ct in cts]
        right, right_bar = (ys[-1], bars[-1]) if compute_right_eigenvectors else (residuals[0], None)
        a_bar: Any = 0
        if w_bar is not None or right_bar is not None:
            a_bar += _vectors_pullback(w, right, w_bar, right_bar)
        if compute_left_eigenvectors and bars[0] is not None:
            a_bar += adjoint(_vectors_pullback(conj(w), ys[1], None, bars[0]))
        return (conj(a_bar) if is_complex(a) else a_bar.real,)

    return Augmented(None if compute_right_eigenvectors else forward, backward)
