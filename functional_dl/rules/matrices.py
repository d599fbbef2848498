"""The words in which the rules of linear algebra are written: adjoints, triangles, diagonals, full precision.

These rules work with conjugated cotangents, x̄ of ⟨x̄, dx⟩ = Re tr(x̄ᴴ dx), because that is the inner product in which
the literature writes them; JAX's convention has no conjugate, so each rule conjugates what comes and what it gives.
All matrices may have leading batch axes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.dtypes import issubdtype

__all__ = [
    "adjoint", "conj", "diagonal", "exact", "eye", "from_diagonal", "hermitian", "hermitian_pullback", "inverse_gaps",
    "is_complex", "skew", "solve_adjoint", "subdiagonal", "transpose", "tril", "triu", "unpermuted",
]  # fmt: skip


def exact(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Trace ``fun`` with products in full precision, and with NumPy's promotion whatever the user has set."""

    @wraps(fun)
    def run(*args: Any, **params: Any) -> Any:
        with (
            jax.default_matmul_precision("highest"),
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
        ):
            return fun(*args, **params)

    return run


def is_complex(x: Array) -> bool:
    """Whether ``x`` holds complex numbers."""
    return bool(issubdtype(x.dtype, jnp.complexfloating))


def conj(x: Array) -> Array:
    """x*; real arrays stay as they are."""
    return lax.conj(x) if is_complex(x) else x


def transpose(x: Array) -> Array:
    """xᵀ."""
    return lax.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def adjoint(x: Array) -> Array:
    """xᴴ."""
    return conj(transpose(x))


def skew(x: Array) -> Array:
    """x − xᴴ."""
    return x - adjoint(x)


def _masked(x: Array, keep: Array) -> Array:
    return lax.select(lax.broadcast(keep, x.shape[:-2]), x, lax.full_like(x, 0))


def _below(x: Array, k: int) -> Array:
    shape = x.shape[-2:]
    return lax.broadcasted_iota("int32", shape, 0) + k >= lax.broadcasted_iota("int32", shape, 1)


def tril(x: Array, k: int = 0) -> Array:
    """The entries of ``x`` on and below diagonal ``k``, 0 above."""
    return _masked(x, _below(x, k))


def triu(x: Array, k: int = 0) -> Array:
    """The entries of ``x`` on and above diagonal ``k``, 0 below."""
    return _masked(x, lax.bitwise_not(_below(x, k - 1)))


def eye(x: Array, rows: int, columns: int | None = None) -> Array:
    """The first columns of an identity matrix, in the dtype of ``x`` and without its batch axes."""
    return jnp.eye(rows, columns, dtype=x.dtype)


def diagonal(x: Array) -> Array:
    """The diagonal of a square matrix."""
    return lax.reduce_sum(triu(tril(x)), (x.ndim - 1,))


def from_diagonal(d: Array) -> Array:
    """The matrix with diagonal ``d``."""
    return triu(tril(jnp.broadcast_to(d[..., None], (*d.shape, d.shape[-1]))))


def subdiagonal(e: Array) -> Array:
    """The matrix with ``e`` below its diagonal."""
    return jnp.pad(from_diagonal(e), [(0, 0)] * (e.ndim - 1) + [(1, 0), (0, 1)])


def hermitian(x: Array, lower: bool = True) -> Array:
    """The Hermitian matrix that has the lower (or upper) triangle of ``x``."""
    part, middle = tril(x, -1) if lower else triu(x, 1), triu(tril(x))
    return part + adjoint(part) + (middle + conj(middle)) / 2


def hermitian_pullback(w: Array, lower: bool = True) -> Array:
    """The cotangent of the triangle of a Hermitian matrix that is read, from the cotangent of the whole matrix."""
    both = w + adjoint(w)
    return (tril(both, -1) if lower else triu(both, 1)) + triu(tril(both)) / 2


def inverse_gaps(rows: Array, columns: Array, first: int = 0) -> Array:
    """1 / (columnsⱼ − rowsᵢ), 0 where i = first + j: the same value is in both."""
    n, d = rows.shape[-1], columns.shape[-1]
    same = jnp.eye(n, d, -first, dtype=rows.dtype)
    return 1 / (columns[..., None, :] - rows[..., :, None] + same) - same


def unpermuted(x: Array, permutation: Array, axis: int) -> Array:
    """The array whose entries in the order ``permutation`` along ``axis`` (−1 or −2) are ``x``."""
    places = jnp.expand_dims(jnp.argsort(permutation, axis=-1), -3 - axis)
    return jnp.take_along_axis(x, places, axis=axis, mode="promise_in_bounds")


def solve_adjoint(a: Array, b: Array) -> Array:
    """a⁻ᴴ b, by an LU factorisation of a."""
    packed, _, permutation = lax.linalg.lu(a)
    how: dict[str, bool] = {"left_side": True, "transpose_a": True, "conjugate_a": True}
    half = lax.linalg.triangular_solve(packed, b, lower=False, **how)
    return unpermuted(lax.linalg.triangular_solve(packed, half, lower=True, unit_diagonal=True, **how), permutation, -2)
