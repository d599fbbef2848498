"""jax.numpy, jax.numpy.linalg and jax.numpy.fft: what the sweep calls, and what it leaves out."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from tests.sweep.arguments import CM, CX, CY, HOLES, MASK, ROWS, SPD, A, M, N, P, Q, T, U, V, W, X, Y, Z
from tests.sweep.entries import Table
from tests.sweep.reasons import EIGENVALUES, EIGENVECTORS, FULL_SVD, INTEGERS, LATE, QUESTIONS, REPEATED, SHAPES

__all__ = ["TABLES"]

t = Table("jax.numpy")  # `t` for table: it starts nearly every line

# One operand.
t.each(
    "abs absolute arctan arcsinh asinh atan ceil floor rint trunc round around cbrt conj conjugate copy array asarray "
    "cos sin tan sinh cosh tanh deg2rad rad2deg degrees radians exp exp2 expm1 fabs i0 modf nan_to_num negative "
    "positive reciprocal sign sinc square real imag frexp angle unwrap ravel flip fliplr flipud transpose "
    "matrix_transpose diff ediff1d gradient cumsum cumprod nancumsum nancumprod sum prod mean std var "
    "max min amax amin ptp median average sort sort_complex cov corrcoef trace diagonal diag diagflat tril triu "
    "atleast_1d atleast_2d atleast_3d squeeze rot90 zeros_like ones_like empty_like minmax histogram_bin_edges",
    X,
)
t.each("log log10 log1p log2 sqrt acos asin atanh arccos arcsin arctanh", P)
t.each("acosh arccosh", A)
t.each("nansum nanprod nanmean nanstd nanvar nanmax nanmin nanmedian", HOLES)
t.each("abs angle conj real imag square exp log sqrt reciprocal sin tanh sum prod cumsum cumprod", CX, label="complex")
t.each("mean var std trace sort_complex sinh arctan", CX, label="complex")
t.each("sum prod mean std var max min ptp median cumsum cumprod diff flip sort", X, label="axis", axis=1)
t.each("nansum nanprod nanmean nanstd nanvar nanmax nanmin nanmedian", HOLES, label="axis", axis=0)
t.each("nancumsum nancumprod", HOLES, label="axis", axis=1)
t.each("cumulative_sum cumulative_prod", X, label="initial", axis=1, include_initial=True)
t.each("sum prod mean std var nansum", X, label="where", where=MASK, axis=1)
t.each("max min", X, label="where", where=MASK, axis=1, initial=-0.5)
t.each("expand_dims", X, axis=1)
t.each("partition", X, kth=1)
t.one("top_k", lambda x: jnp.top_k(x, 2), X)
t.each("swapaxes", T, axis1=0, axis2=2)
t.each("moveaxis", T, source=0, destination=-1)
t.each("rollaxis", T, axis=2)
t.each("permute_dims", T, axes=(2, 0, 1))
t.each("roll", X, shift=1)
t.each("repeat", X, repeats=2, axis=1)
t.each("tile", X, reps=(2, 1))
t.each("reshape", X, shape=(3, 2))
t.each("resize", X, new_shape=(3, 3))
t.each("broadcast_to", X, shape=(2, 2, 3))
t.one("astype", lambda x: jnp.astype(x, np.float32), X)
t.each("take", X, indices=ROWS, axis=1)
t.each("take_along_axis", X, indices=ROWS, axis=1)
t.each("delete", X, obj=1, axis=1)
t.each("quantile nanquantile", X, q=0.3)
t.each("percentile nanpercentile", X, q=30.0, axis=1)
t.each("vander", V, N=3)
t.each("array_split", V, indices_or_sections=2)
t.each("split", X, indices_or_sections=3, axis=1)
t.each("hsplit", X, indices_or_sections=3)
t.each("vsplit", X, indices_or_sections=2)
t.each("dsplit", T, indices_or_sections=2)
t.each("unstack", X, axis=1)
t.each("unique unique_values unique_counts unique_inverse unique_all", X, size=6)
t.one("apply_over_axes", lambda x: jnp.apply_over_axes(jnp.sum, x, [0, 2]), T)
t.one("apply_along_axis", lambda x: jnp.apply_along_axis(lambda v: v * jnp.cumsum(v), 1, x), X)
t.one("vectorize", lambda a, b: jnp.vectorize(jnp.dot, signature="(n),(n)->()")(a, b), X, Y)
t.one("frompyfunc", lambda a, b: jnp.frompyfunc(lambda p, q: p * jnp.sin(q), 2, 1)(a, b), X, Y)
t.one("frompyfunc", lambda a: jnp.frompyfunc(lambda p, q: p * q + q, 2, 1).reduce(a, axis=1), X, label="reduce")
t.one("fromfunction", lambda x: jnp.fromfunction(lambda i, j: x[i, j] * i, (2, 3), dtype=int), X)
t.one("piecewise", lambda x: jnp.piecewise(x, [x < 0, x > 0.5], [jnp.sin, lambda v: v**3, 2.0]), X)
t.one("pad", lambda x: jnp.pad(x, ((1, 0), (0, 2))), X)
for mode in ("reflect", "edge", "wrap", "linear_ramp", "mean", "maximum", "symmetric"):
    t.one("pad", lambda x, mode=mode: jnp.pad(x, ((1, 0), (1, 2)), mode=mode), X, label=mode)
t.one("trim_zeros", jnp.trim_zeros, np.array([0.0, 1.5, -2.0, 0.0]), traced=False)
t.one("nan_to_num", lambda x: jnp.nan_to_num(x, nan=1.0), HOLES, label="nan")
t.one("round", lambda x: jnp.round(x, 1), X, label="decimals")
t.one("gradient", lambda x: jnp.gradient(x, 0.5, axis=1), X, label="spacing")

# Two and more operands.
t.each(
    "add subtract multiply divide true_divide arctan2 atan2 hypot maximum minimum fmax fmin logaddexp logaddexp2 "
    "copysign heaviside mod remainder fmod floor_divide divmod inner outer kron cross vecdot vdot append "
    "polyadd polysub",
    X, Y,
)  # fmt: skip
t.each("add subtract multiply divide vdot inner outer kron power float_power vecdot logaddexp", CX, CY, label="complex")
t.each("power pow float_power", P, X)
t.one("power", lambda x: jnp.power(x, 3), X, label="integer")
t.one("power", lambda x: jnp.power(x, np.array([0, 2, 3])), X, label="integers")
t.one("power", lambda x: jnp.power(x, -2.0), X, label="scalar")
t.one("nextafter", jnp.nextafter, X, Y, **LATE)
t.one("spacing", jnp.spacing, X, **LATE)
t.one("ldexp", lambda x: jnp.ldexp(x, np.array([1, -2, 3])), X)
t.each("dot matmul", X, Z.T.copy())
t.each("matmul", T, np.swapaxes(T, 1, 2).copy(), label="batched")
t.each("dot", CX, CY.T.copy(), label="complex")
t.each("matvec", X, V[:3])
t.each("vecmat", V[:2], X)
t.each("tensordot", T, T, axes=((0, 1), (0, 1)))
t.one("einsum", lambda a, b: jnp.einsum("ijk,lj->kil", a, b), T, X)
t.one("einsum", lambda a, b, c: jnp.einsum("ij,ik,il->jkl", a, b, c), X, Y, Z, label="three")
t.one("einsum", lambda a: jnp.einsum("iij->j", a), np.stack([M, N], -1), label="diagonal")
t.each("convolve correlate", V, W[:3])
t.each("convolve correlate", V, W[:3], label="same", mode="same")
t.one("where", lambda a, b: jnp.where(MASK, a, b), X, Y)
t.one("select", lambda a, b, c: jnp.select([MASK, ~MASK & (ROWS > 0)], [a, b], c), X, Y, Z[0, 0])
t.one("choose", lambda a, b, c: jnp.choose(ROWS, [a, b, c], mode="clip"), X, Y, Z)
t.one("clip", lambda x, a, b: jnp.clip(x, a, b), X, -P, Q)
t.one("compress", lambda x: jnp.compress(np.array([True, False, True]), x, axis=1, size=2), X)
t.one("extract", lambda x: jnp.extract(MASK, x, size=4), X)
t.one("place", lambda x, v: jnp.place(x, MASK, v, inplace=False), X, V[:4])
t.one("put", lambda x, v: jnp.put(x, np.array([0, 4]), v, inplace=False), X, V[:2])
t.one("put_along_axis", lambda x, v: jnp.put_along_axis(x, ROWS[:, :1], v, axis=1, inplace=False), X, Y[:, :1])
t.one("fill_diagonal", lambda x, v: jnp.fill_diagonal(x, v, inplace=False), M, V[:3])
t.one("insert", lambda x, v: jnp.insert(x, 1, v, axis=1), X, V[:2])
t.one("insert", lambda x, v: jnp.insert(x, 1, v, axis=1), X, V[:2], label="outside jit", traced=False)
t.one("interp", lambda x, xp, fp: jnp.interp(x, xp, fp), 3 * U, np.linspace(-2.0, 2.0, 5), V)
t.one("interp", lambda x, fp: jnp.interp(x, np.linspace(0, 1, 5), fp, period=1.3), U, V, label="period")
t.one("trapezoid", lambda y, x: jnp.trapezoid(y, x), X, np.cumsum(P, 1))
t.one("average", lambda x, w: jnp.average(x, axis=1, weights=w), X, P, label="weights")
t.one("cov", lambda x, y, w: jnp.cov(x, y, aweights=w), V, W, np.array([0.2, 0.4, 0.3, 0.7, 0.5]), label="weights")
t.one("corrcoef", lambda x, y: jnp.corrcoef(x, y), V, W, label="pair")
t.one("var", lambda x, m: jnp.var(x, axis=1, mean=m, keepdims=True), X, X.mean(1, keepdims=True), label="mean")
t.one("quantile", lambda x, q: jnp.quantile(x, q, axis=1), X, np.array([0.15, 0.6]), label="q")
t.one("quantile", lambda x: jnp.quantile(x, 0.3, method="nearest"), X, label="nearest")
t.one("bincount", lambda w: jnp.bincount(np.array([0, 2, 2, 1, 0]), w, length=4), V)
t.one("histogram", lambda w: jnp.histogram(V, 3, weights=w)[0], W)
t.one("histogram2d", lambda w: jnp.histogram2d(V, W, 2, weights=w)[0], W)
t.one("histogramdd", lambda w: jnp.histogramdd(np.stack([V, W], 1), 2, weights=w)[0], W)
for name in ["stack", "vstack", "hstack", "dstack", "column_stack", "concatenate", "concat", "block"]:
    t.one(name, lambda a, b, name=name: getattr(jnp, name)([a, b]), X, Y)
t.one("block", lambda a, b, c: jnp.block([[a, b], [c, a]]), X, Y, Z, label="nested")
t.one("broadcast_arrays", lambda a, b: jnp.broadcast_arrays(a, b), X, V[:3])
t.one("meshgrid", lambda a, b: jnp.meshgrid(a, b), V, W[:3])
t.each("full_like", X, fill_value=2.0)
t.one("full_like", lambda v: jnp.full_like(X, v), V[0], label="value")
t.one("full", lambda v: jnp.full((2, 3), v), V[:3])
t.one("linspace", lambda a, b: jnp.linspace(a, b, 4), X, Y)
t.one("logspace", lambda a, b: jnp.logspace(a, b, 4), U, X)
t.one("geomspace", lambda a, b: jnp.geomspace(a, b, 4), P, A)
t.one("kaiser", lambda beta: jnp.kaiser(5, beta), A[0, 0])
t.each("union1d setxor1d", V, W, size=10)
t.each("setdiff1d intersect1d", V, np.append(W[:2], V[:2]), size=3)
t.one("append", lambda a, b: jnp.append(a, b, axis=1), X, Y, label="axis")

# Polynomials.
t.each("poly", V[:3])
t.each("polyder polyint", V)
t.each("polyval", V, X)
t.each("polydiv polymul", V, W[:3])
t.one("polyfit", lambda x, y: jnp.polyfit(x, y, 2), V, W)
t.one("polyfit", lambda x, y, w: jnp.polyfit(x, y, 1, w=w, cov=True), V, W, np.full(5, 0.7), label="cov")
t.one(
    "roots", lambda p: jnp.roots(p, strip_zeros=False), np.array([1.0, -2.5, 0.7, 1.3]),
    **EIGENVALUES,
)  # fmt: skip

# Methods of universal functions.
for name in ["add", "multiply", "maximum", "minimum", "logaddexp"]:
    t.one(name, lambda x, name=name: getattr(jnp, name).reduce(x, axis=1), X, label="reduce")
    t.one(name, lambda x, name=name: getattr(jnp, name).accumulate(x, axis=1), X, label="accumulate")
for name in ["add", "subtract", "multiply", "logaddexp2"]:
    t.one(name, lambda x, y, name=name: getattr(jnp, name).outer(x, y), V, W[:3], label="outer")
t.one("add", lambda x: jnp.add.reduceat(x, np.array([0, 2]), axis=1), X, label="reduceat")
t.one(
    "multiply", lambda x, y: jnp.multiply.at(x, np.array([1, 0]), y, inplace=False), X, Y,
    label="at", **REPEATED,
)  # fmt: skip
t.one("subtract", lambda x, y: jnp.subtract.at(x, np.array([1, 1]), y, inplace=False), X, Y, label="at")
t.one("negative", lambda x: jnp.negative.at(x, np.array([1]), inplace=False), X, label="at")

t.integers(
    "all any argmax argmin argsort count_nonzero iscomplex isfinite isinf isnan isneginf "
    "isposinf isreal signbit logical_not lexsort nanargmax nanargmin",
    X,
)
t.integers(
    "equal greater greater_equal less less_equal not_equal logical_and logical_or logical_xor isclose allclose "
    "array_equal array_equiv isin",
    X, Y,
)  # fmt: skip
t.integers("argwhere flatnonzero nonzero", X, size=6)
t.integers("argpartition", X, kth=1)
t.integers("digitize searchsorted", np.sort(V), W)

t.exclude(
    INTEGERS,
    "bitwise_and bitwise_count bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift "
    "bitwise_xor gcd invert lcm left_shift packbits ravel_multi_index right_shift unpackbits unravel_index",
)
t.exclude(
    SHAPES,
    "arange bartlett blackman diag_indices diag_indices_from empty eye hamming hanning identity indices ix_ "
    "mask_indices ones tri tril_indices tril_indices_from triu_indices triu_indices_from zeros",
)
t.exclude(
    QUESTIONS,
    "array_repr array_str broadcast_shapes can_cast einsum_path get_printoptions iscomplexobj isdtype isrealobj "
    "isscalar issubdtype iterable ndim printoptions promote_types result_type set_printoptions shape size",
)
t.exclude(
    "reads or writes what lies outside the program",
    "from_dlpack frombuffer fromfile fromiter fromstring load save savez",
)

linalg = Table("jax.numpy.linalg")
linalg.each("det inv slogdet matrix_norm vector_norm norm trace diagonal cond", M)
linalg.each("cholesky eigh eigvalsh", SPD)
linalg.one(
    "eigvals",
    jnp.linalg.eigvals,
    M,
    **EIGENVALUES,
)
linalg.one(
    "eig",
    lambda x: jnp.linalg.eig(x),
    M,
    **EIGENVECTORS,
)
linalg.one("cholesky", lambda x: jnp.linalg.cholesky(x, upper=True), CM @ CM.conj().T + np.eye(3), label="complex")
linalg.each("det inv slogdet", CM, label="complex")
linalg.each("svd", X, full_matrices=False)
linalg.one("svd", lambda x: jnp.linalg.svd(x), X, label="full", **FULL_SVD)
linalg.each("svdvals pinv matrix_transpose", X)
linalg.each("qr", X.T.copy())
linalg.each("matrix_power", M, n=3)
linalg.each("matrix_power", M, n=-2, label="inverse")
linalg.each("solve", M, X.T.copy())
linalg.each("lstsq", M[:, :2].copy(), V[:3])
linalg.each("matmul", X, Y.T.copy())
linalg.each("outer", V, W[:3])
linalg.each("cross vecdot", X, Y)
linalg.each("tensordot", X, Y, axes=2)
linalg.one("multi_dot", lambda a, b, c: jnp.linalg.multi_dot([a, b, c]), X, M, Y.T.copy())
linalg.one("tensorinv", lambda a: jnp.linalg.tensorinv(a.reshape(3, 1, 3), ind=1), M)
linalg.one("tensorsolve", lambda a, b: jnp.linalg.tensorsolve(a.reshape(3, 1, 3), b), M, V[:3, None].copy())
for order in (1, np.inf, -2, "nuc", 2):
    linalg.one("norm", lambda x, order=order: jnp.linalg.norm(x, order), M, label=f"{order}")
linalg.each("norm vector_norm", X, label="3", ord=3, axis=1)
linalg.integers("matrix_rank", M)

fft = Table("jax.numpy.fft")
fft.each("fft ifft fft2 ifft2 fftn ifftn fftshift ifftshift hfft irfft irfft2 irfftn", CX)
fft.each("rfft rfft2 rfftn ihfft fft", X, label="real")
fft.each("fft ifft rfft irfft hfft ihfft", X, label="ortho", n=4, norm="ortho")
fft.exclude(SHAPES, "fftfreq rfftfreq")

TABLES = [t, linalg, fft]
