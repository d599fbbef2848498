"""jax.scipy but for its distributions: what the sweep calls, and what it leaves out."""

from __future__ import annotations

import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np

from tests.oracles import normal
from tests.sweep.arguments import CM, CX, SPD, A, B, M, N, P, Q, R, T, V, W, X
from tests.sweep.entries import Table
from tests.sweep.reasons import BETAINC, EIGENVALUES, IGAMMA, INTEGERS, LOOP, NEVER, SHAPES

__all__ = ["TABLES"]

t = Table("jax.scipy.special")
t.each("dawsn erf erfc expit fresnel i0 i0e i1 i1e log_ndtr log_softmax logsumexp ndtr sici softmax", X)
t.each("digamma entr erfinv erfcinv expi factorial gamma gammaln gammasgn log_softmax logit loggamma ndtri spence", P)
LEAK = {"refused": 2, "why": "JAX's own rule of expn leaks a tracer at second order, before 0.11"}
t.one("exp1", jsp.special.exp1, P, order=1, why="the second derivative asks for E₋₁, of which JAX makes NaN")
t.one("expn", lambda x: jsp.special.expn(2, x), P, **LEAK)
t.each("boxcox boxcox1p", A, P)
t.one("expi", jsp.special.expi, P, label="outside jit", traced=False)
t.each("beta betaln kl_div poch rel_entr xlog1py xlogy owens_t", P, Q)
for name in ("gammainc", "gammaincc"):
    t.one(name, getattr(jsp.special, name), A, B, **IGAMMA)
t.one("zeta", jsp.special.zeta, A, B, **NEVER)
t.each("comb", A + 3, B)
t.one("betainc", lambda x: jsp.special.betainc(A, B, x), P)
t.one(
    "betainc", jsp.special.betainc, A, B, P,
    label="all", **BETAINC,
)  # fmt: skip
t.one("polygamma", lambda x: jsp.special.polygamma(1, x), P)
t.one("multigammaln", lambda a: jsp.special.multigammaln(a, 2), A)
t.one("bessel_jn", lambda z: jsp.special.bessel_jn(z, v=2, n_iter=10), A.ravel())
t.one(
    "hyp1f1",
    lambda a, b, x: jsp.special.hyp1f1(a, b, x),
    P[0, 0],
    A[0, 0],
    Q[0, 0],
    order=1,
    why="JAX stops at the first derivative of its loops",
)
t.one(
    "hyp2f1",
    lambda a, b, c, x: jsp.special.hyp2f1(a, b, c, x),
    P[0, 0],
    Q[0, 0],
    A[0, 0],
    R[0, 0],
    order=1,
    why="JAX stops at the first derivative of its loops",
)
t.one(
    "sph_harm_y",
    lambda th, ph: jsp.special.sph_harm_y(np.array([1, 2]), np.array([0, 1]), th, ph, n_max=2), P[0, :2], Q[0, :2],
)  # fmt: skip
t.each("wofz", CX)
t.each("erfcx", X[0, 0])  # a number: in 0.12 JAX's rule of its second derivative fails on arrays
t.exclude(INTEGERS, "bernoulli")

linalg = Table("jax.scipy.linalg")
linalg.each("det inv expm lu lu_factor", M)
ONE_TRIANGLE = {"astray": 1, "why": "JAX gives part of the gradient to the triangle that is not read"}
linalg.one("cholesky", lambda a: jsp.linalg.cholesky(a), SPD, **ONE_TRIANGLE)
linalg.one("cho_factor", lambda a: jsp.linalg.cho_factor(a)[0], SPD, **ONE_TRIANGLE)
linalg.one("eigh", lambda a: jsp.linalg.eigh(a), SPD)
linalg.one("eigh", lambda a: jsp.linalg.eigh(a, eigvals_only=True), SPD, label="values")
linalg.each("qr", X.T.copy(), mode="economic")
linalg.one("qr", lambda a: jsp.linalg.qr(a), M, label="full")
linalg.each("svd", X, full_matrices=False)
linalg.each("polar", M, method="svd")
linalg.each("circulant fiedler fiedler_companion companion toeplitz hankel", V)
linalg.each("toeplitz hankel", V, W[:3], label="pair")
linalg.one("leslie", lambda f, s: jsp.linalg.leslie(f, s), V, W[:4])
linalg.one("convolution_matrix", lambda a: jsp.linalg.convolution_matrix(a, 3), V)
linalg.each("block_diag", X, M)
linalg.each("solve", M, X.T.copy())
linalg.each("solve", SPD, X.T.copy(), label="positive", assume_a="pos")
linalg.each("solve_triangular", M, X.T.copy())
linalg.each("solve_triangular", M, X.T.copy(), label="transposed", trans=1, lower=True)
linalg.one("cho_solve", lambda c, b: jsp.linalg.cho_solve((c, True), b), np.linalg.cholesky(SPD), X.T.copy())
linalg.one("lu_solve", lambda lu, b: jsp.linalg.lu_solve((lu, np.array([1, 2, 2], np.int32)), b), M, X.T.copy())
linalg.one("qr_multiply", jsp.linalg.qr_multiply, normal(3, 2), X, **NEVER)
linalg.each("expm_frechet", M, N)
linalg.one(
    "solve_sylvester",
    jsp.linalg.solve_sylvester,
    SPD,
    M @ M.T + np.eye(3),
    N,
    **NEVER,
)
linalg.one("schur", jsp.linalg.schur, SPD + 0.1 * M, **NEVER)
linalg.one("hessenberg", jsp.linalg.hessenberg, M, **NEVER)
linalg.one(
    "rsf2csf", lambda t, z: jsp.linalg.rsf2csf(t, z), np.array([[0.5, 1.2], [-0.9, 0.5]]), M[:2, :2].copy(),
    **EIGENVALUES,
)  # fmt: skip
linalg.exclude(LOOP, "eigh_tridiagonal funm sqrtm")
linalg.exclude(
    SHAPES,
    "dft hadamard helmert hilbert invhilbert invpascal pascal",
)

fft = Table("jax.scipy.fft")
fft.each("dct idct dctn idctn", X)
fft.each("dct idct", X, label="ortho", n=4, norm="ortho")

signal = Table("jax.scipy.signal")
signal.each("convolve correlate fftconvolve", V, W[:3])
signal.each("convolve correlate", V, W[:3], label="fft", method="fft")
signal.each("convolve2d correlate2d", T[0], X[:, :2], mode="same")
signal.each("detrend", X)
signal.one("csd", lambda x, y: jsp.signal.csd(x, y, nperseg=4), normal(8), normal(8, seed=1))
signal.one("welch", lambda x: jsp.signal.welch(x, nperseg=4), normal(8))
signal.one("stft", lambda x: jsp.signal.stft(x, nperseg=4)[2], normal(8))
signal.one("istft", lambda z: jsp.signal.istft(z, nperseg=4)[1], CM)

ndimage = Table("jax.scipy.ndimage")
for order in (0, 1):
    ndimage.one(
        "map_coordinates",
        lambda x, i, j, order=order: jsp.ndimage.map_coordinates(x, [i, j], order, mode="nearest"),
        T[0],
        A.ravel(),
        B.ravel(),
        label=f"order{order}",
    )

interpolate = Table("jax.scipy.interpolate")
interpolate.one(
    "RegularGridInterpolator",
    lambda values, points: jsp.interpolate.RegularGridInterpolator((np.arange(2.0), np.arange(3.0)), values)(points),
    X,
    np.stack([P.ravel(), 2 * Q.ravel()], 1),
)

integrate = Table("jax.scipy.integrate")
integrate.each("trapezoid", X, np.cumsum(P, 1))

cluster = Table("jax.scipy.cluster.vq")
cluster.each("vq", X, M)

optimize = Table("jax.scipy.optimize")
optimize.exclude(LOOP, "minimize")

sparse = Table("jax.scipy.sparse.linalg")
sparse.each("cg", SPD, V[:3])
sparse.each("bicgstab", SPD, V[:3])
sparse.each("gmres", SPD, V[:3])

rotation = Table("jax.scipy.spatial.transform")
rotation.one("Rotation", lambda q: jsp.spatial.transform.Rotation.from_quat(q).as_matrix(), V[:4])
rotation.one(
    "Rotation", lambda q, v: jsp.spatial.transform.Rotation.from_rotvec(q).apply(v), V[:3], W[:3], label="apply"
)
rotation.one(
    "Slerp",
    lambda r, s: jsp.spatial.transform.Slerp.init(
        jnp.arange(2.0), jsp.spatial.transform.Rotation.from_rotvec(r)
    )(s).as_quat(),
    X,
    P[0],
)  # fmt: skip

TABLES = [t, linalg, fft, signal, ndimage, interpolate, integrate, cluster, optimize, sparse, rotation]
