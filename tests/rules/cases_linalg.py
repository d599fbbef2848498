"""Cases of linear algebra: factorisations and solves, real and complex, batched, wide and tall.

Second derivatives are long programs here and take seconds to compile: where one rule has several cases that differ
in what is read of it, the second order is checked in some of them.
"""

from __future__ import annotations

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import linalg

from tests.oracles import complex_normal, normal
from tests.rules.contract import Case, case

__all__ = ["CASES", "KINKS"]

SQUARE, BATCH = normal(4, 4), normal(2, 3, 3)
TALL, WIDE = normal(4, 3), normal(3, 5)
C_SQUARE, C_BATCH, C_TALL, C_WIDE = (
    complex_normal(3, 3),
    complex_normal(2, 3, 3),
    complex_normal(4, 3),
    complex_normal(3, 5),
)


def _adjoint(x):
    return jnp.swapaxes(x, -1, -2).conj()


def _positive(x):
    """x xᴴ + 1, positive definite."""
    y = x @ _adjoint(x)
    return y + jnp.broadcast_to(np.eye(y.shape[-1]), y.shape)


CHOLESKY = [
    case("cholesky", lambda x: jnp.linalg.cholesky(_positive(x)), TALL),
    case("cholesky", lambda x: jnp.linalg.cholesky(_positive(x)), C_BATCH, label="complex, batched"),
    case(
        "cholesky_update",
        lambda r, w: linalg.cholesky_update(jnp.triu(r), w),
        SQUARE + 3 * np.eye(4),
        normal(4),
        refused=1,
    ),
    case(
        "symmetric_product",
        lambda a, c: linalg.symmetric_product(a, c, alpha=0.7, beta=-1.3, symmetrize_output=True),
        normal(2, 3, 4),
        BATCH,
        refused=1,
    ),
]

LU = [
    case("lu", lambda x: linalg.lu(x)[0], SQUARE),
    case("lu", lambda x: linalg.lu(x)[0], normal(2, 5, 3), label="tall, batched"),
    case("lu", lambda x: linalg.lu(x)[0], C_WIDE, label="wide, complex"),
    case("lu", jnp.linalg.slogdet, C_BATCH, label="slogdet"),
]


def _qr(**how):
    return lambda x: linalg.qr(x, **how)[:2]


QR = [
    case("qr", _qr(full_matrices=False), TALL),
    case("qr", _qr(full_matrices=False), complex_normal(2, 4, 3), label="complex, batched"),
    case("qr", lambda x: jnp.linalg.qr(x, mode="r"), TALL, label="R alone"),
    case("qr", lambda x: linalg.qr(x, full_matrices=False)[0], C_TALL, label="Q alone"),
    case("qr", _qr(full_matrices=False), WIDE, label="wide"),
    case("qr", lambda x: linalg.qr(x)[0], normal(2, 2, 3), label="wide, Q alone", order=1),
    case("qr", _qr(), complex_normal(2, 2, 3), label="wide, complex, batched"),
    case("qr", _qr(), normal(5, 2), label="full", order=1),
    case("qr", _qr(), complex_normal(2, 4, 2), label="full, complex, batched"),
    case("qr", _qr(pivoting=True, full_matrices=False), TALL, label="pivoting"),
    case("qr", _qr(pivoting=True), complex_normal(2, 4, 2), label="pivoting, full, complex, batched", refused=1),
    case("qr", _qr(pivoting=True), WIDE, label="pivoting, wide"),
]

# Every side, triangle and transpose, each with and without the conjugate of some others.
FLAGS = [(*flags, flags[0] != flags[1]) for flags in itertools.product([False, True], repeat=3)]

SOLVES = [
    *[
        case(
            "triangular_solve",
            partial(linalg.triangular_solve, left_side=left, lower=lower, transpose_a=transpose, conjugate_a=conjugate),
            C_SQUARE + 2 * np.eye(3),
            complex_normal(3, 2) if left else complex_normal(2, 3),
            label=f"{'left' if left else 'right'} {'lower' if lower else 'upper'} {'Aᵀ' * transpose}{'A*' * conjugate}",
        )
        for left, lower, transpose, conjugate in FLAGS
    ],
    case(
        "triangular_solve",
        partial(linalg.triangular_solve, left_side=True, unit_diagonal=True, transpose_a=True),
        normal(2, 4, 4),
        normal(2, 4, 3),
        label="unit diagonal, batched",
    ),
    case(
        "triangular_solve",
        partial(linalg.triangular_solve, lower=True, unit_diagonal=True),
        normal(3, 3),
        normal(2, 3),
        label="unit diagonal, right",
    ),
    case("tridiagonal_solve", linalg.tridiagonal_solve, *normal(3, 4), normal(4, 2)),
    case(
        "tridiagonal_solve",
        linalg.tridiagonal_solve,
        *complex_normal(3, 2, 4),
        complex_normal(2, 4, 3),
        label="batched",
    ),
    case(
        "tridiagonal_solve",
        partial(linalg.tridiagonal_solve, perturb_singular=True),
        *normal(3, 4),
        normal(4, 2),
        label="perturbed",
    ),
]


def _hermitian(x):
    return x + _adjoint(x)


def _spectrum(v, w):
    """A function of a Hermitian matrix with eigenpairs (w, v), and what of each vector does not depend on its phase."""
    return (v * jnp.sin(w)[..., None, :]) @ _adjoint(v), jnp.abs(v) ** 2


def _rebuilt(u, s, vh):
    """What of singular triplets does not depend on a phase, nor on a turn of the vectors of the null space."""
    k = s.shape[-1]
    null_u, null_v = u[..., k:], vh[..., k:, :]
    inner = (u[..., :k] * jnp.sin(s)[..., None, :]) @ vh[..., :k, :]
    return inner, jnp.abs(u[..., :k]) ** 2, null_u @ _adjoint(null_u), _adjoint(null_v) @ null_v


def _eig(left, right, derivatives=False):
    return lambda x: linalg.eig(
        x,
        compute_left_eigenvectors=left,
        compute_right_eigenvectors=right,
        enable_eigvec_derivs=derivatives,
    )


EIGEN = [
    case("eigh", lambda x: linalg.eigh(x), BATCH, label="batched"),
    case("eigh", lambda x: linalg.eigh(x), C_SQUARE, label="complex", numeric=False),
    case("eigh", lambda x: _spectrum(*linalg.eigh(x, lower=False)), C_BATCH, label="complex, upper, batched"),
    case("eigh", jnp.linalg.eigvalsh, C_SQUARE, label="values"),
    case(
        "eigh",
        lambda x: linalg.eigh(x, sort_eigenvalues=False, subset_by_index=(0, 4))[0],
        SQUARE,
        label="vectors",
        order=1,
    ),
    case("eig", jnp.linalg.eigvals, SQUARE, label="values", refused=2),
    case("eig", jnp.linalg.eigvals, C_BATCH, label="values, complex, batched", refused=2),
    case("eig", _eig(True, True, True), SQUARE, label="both vectors, JAX's too"),
    case("eig", _eig(True, False, True), C_BATCH, label="left vectors, complex, batched, JAX's too", order=1),
    case("eig", jnp.linalg.eig, SQUARE, label="right vectors", order=1, refused=1),
    case("eig", _eig(True, True), C_SQUARE, label="both vectors, complex", refused=1),
    case("eig", _eig(True, False), normal(3, 3), label="left vectors", order=1, refused=1),
]


def _svd(**how):
    return lambda x: linalg.svd(x, **how)


SVD = [
    case("svd", _svd(full_matrices=False), TALL),
    case("svd", _svd(full_matrices=False), normal(2, 2, 3), label="wide, batched", order=1),
    case("svd", _svd(), SQUARE, label="square"),
    case("svd", _svd(full_matrices=False), C_TALL, label="complex", numeric=False),
    case("svd", lambda x: _rebuilt(*linalg.svd(x, full_matrices=False)), C_WIDE, label="complex, wide"),
    case("svd", lambda x: linalg.svd(x, full_matrices=False)[0], normal(4, 2), label="U alone", order=1),
    case(
        "svd",
        lambda x: linalg.svd(x, full_matrices=False)[2],
        complex_normal(2, 4),
        label="V alone",
        order=1,
        numeric=False,
    ),
    case("svd", jnp.linalg.svdvals, complex_normal(2, 4, 3), label="values, complex, batched"),
    case("svd", _svd(compute_uv=False, subset_by_index=(0, 3)), normal(3, 4), label="values, wide"),
    case("svd", lambda x: _rebuilt(*linalg.svd(x)), TALL, label="full, tall", refused=1),
    case(
        "svd",
        lambda x: _rebuilt(*linalg.svd(x)),
        complex_normal(2, 2, 4),
        label="full, wide, complex, batched",
        refused=1,
    ),
]

REAL_SPECTRUM = np.diag([1.0, 2.0, 4.0, 7.0]) + 0.3 * SQUARE


def _schur_of(t, z):
    """What of a complex Schur decomposition does not depend on the phases of its columns."""
    w = jnp.diagonal(t, axis1=-2, axis2=-1)
    return w, jnp.abs(t) ** 2, jnp.abs(z) ** 2, (z * jnp.sin(w)[..., None, :]) @ _adjoint(z)


def _real_schur_of(t, z=None):
    """What of a real Schur decomposition does not depend on signs and quarter turns, which LAPACK takes by chance."""
    w = jnp.diagonal(t, axis1=-2, axis2=-1)
    of_t = w, (t**4).sum((-1, -2))
    return of_t if z is None else (*of_t, (z**4).sum(-1), (z * jnp.sin(w)[..., None, :]) @ _adjoint(z))


SCHUR = [
    case("schur", linalg.schur, REAL_SPECTRUM, label="real eigenvalues", order=1, refused=1),
    case("schur", lambda x: _real_schur_of(*linalg.schur(x)), normal(5, 5), label="real blocks", refused=1),
    case(
        "schur",
        lambda x: _real_schur_of(linalg.schur(x, compute_schur_vectors=False)[0]),
        normal(2, 4, 4),
        label="T, batched",
        order=1,
        refused=1,
    ),
    case("schur", lambda x: _schur_of(*linalg.schur(x)), C_BATCH, label="complex, batched", refused=1),
]

REDUCTIONS = [
    case("hessenberg", linalg.hessenberg, normal(5, 5), order=1, refused=1),
    case("hessenberg", linalg.hessenberg, complex_normal(2, 4, 4), label="complex, batched", refused=1),
    case("hessenberg", partial(jax.scipy.linalg.hessenberg, calc_q=True), SQUARE, label="H and Q", order=1, refused=1),
    case("tridiagonal", lambda x: _tridiagonal(x, True), normal(5, 5), order=1, refused=1),
    case("tridiagonal", lambda x: _tridiagonal(x, False), normal(2, 4, 4), label="upper, batched", order=1, refused=1),
    case("tridiagonal", lambda x: _tridiagonal(x, True), complex_normal(4, 4), label="complex", refused=1),
    case(
        "tridiagonal",
        lambda x: _tridiagonal(x, False),
        complex_normal(4, 4),
        label="complex, upper",
        order=1,
        refused=1,
    ),
    case("tridiagonal", lambda x: linalg.tridiagonal(x)[1:3], SQUARE, label="diagonals", order=1, refused=1),
]


def _tridiagonal(x, lower):
    """All that is told of the reduction: the other triangle of the packed array holds what it held."""
    packed, *others = linalg.tridiagonal(x, lower=lower)
    return jnp.tril(packed) if lower else jnp.triu(packed), *others


def _raw_qr(x):
    h, taus = jnp.linalg.qr(x, mode="raw")
    return h, taus


REFLECTORS = [
    case("householder_product", linalg.householder_product, TALL, normal(3), refused=1),
    case("householder_product", linalg.householder_product, normal(2, 4, 3), normal(2, 2), label="batched", refused=1),
    case("householder_product", linalg.householder_product, C_SQUARE, complex_normal(3), label="complex", refused=1),
    *[
        case(
            "ormqr",
            partial(linalg.ormqr, left=left, transpose=transpose),
            *([complex_normal(4, 3), complex_normal(3)] if left else [normal(4, 3), normal(2)]),
            *([complex_normal(4, 2)] if left else [normal(2, 4)]),
            label=f"{'left, complex' if left else 'right'}{', adjoint' * transpose}",
            order=2 if left == transpose else 1,
            refused=1,
        )
        for left in (False, True)
        for transpose in (False, True)
    ],
    case("geqrf", _raw_qr, TALL, order=1, refused=1),
    case("geqrf", _raw_qr, SQUARE, label="square", order=1, refused=1),
    case("geqrf", _raw_qr, C_BATCH, label="square, complex, batched", refused=1),
    case("geqrf", _raw_qr, C_WIDE, label="wide, complex", order=1, refused=1),
    case("geqrf", lambda x: _raw_qr(x)[1], normal(2, 2, 3), label="wide, scalars alone", order=1, refused=1),
]
if hasattr(jax.scipy.linalg, "qr_multiply"):
    multiply = jax.scipy.linalg.qr_multiply
    REFLECTORS += [
        case("ormqr", multiply, TALL, normal(2, 4), label="qr_multiply", order=1, refused=1),
        case("geqp3", lambda a, c: multiply(a, c, mode="left", pivoting=True)[:2], TALL, normal(3, 2), refused=1),
    ]

CASES: list[Case] = [*CHOLESKY, *LU, *QR, *SOLVES, *EIGEN, *SVD, *SCHUR, *REDUCTIONS, *REFLECTORS]

_EQUAL = np.diag([1.0, 2.0, 2.0])

KINKS: list[Case] = [
    case("eigh", jnp.linalg.eigvalsh, _EQUAL, label="equal values", order=1, numeric=False),
    case("svd", jnp.linalg.svdvals, _EQUAL[:, 1:], label="equal values", order=1, numeric=False),
    case("svd", lambda x: jnp.linalg.norm(x, "nuc"), _EQUAL, label="nuclear norm at equal values", order=1),
    case("eig", lambda x: jnp.linalg.eigvals(x).sum(), _EQUAL, label="sum of equal values", order=1),
    case("svd", jnp.linalg.svdvals, np.diag([1.0, 0.0]), label="singular", order=1, numeric=False),
    case("qr", _qr(full_matrices=False), normal(4, 0), label="empty"),
]
