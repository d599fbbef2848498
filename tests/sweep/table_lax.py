"""jax.lax and jax.lax.linalg: what the sweep calls, and what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.oracles import normal
from tests.sweep.arguments import CM, CX, CY, MASK, ROWS, SPD, A, B, M, P, Q, T, V, X, Y, Z
from tests.sweep.entries import Table
from tests.sweep.reasons import (
    BETAINC,
    EIGENVALUES,
    EIGENVECTORS,
    FULL_SVD,
    IGAMMA,
    INTEGERS,
    LATE,
    LOOP,
    NEVER,
    REPEATED,
    SHAPES,
)

__all__ = ["TABLES"]

t = Table("jax.lax")

# One operand, element by element.
t.each(
    "abs asinh atan bessel_i0e bessel_i1e cbrt ceil conj cos cosh erf erfc exp exp2 expm1 floor logistic neg "
    "reciprocal round sign sin sinh square stop_gradient tan tanh optimization_barrier stage one_minus_square",
    X,
)
t.each("digamma lgamma log log1p log2 sqrt rsqrt acos asin atanh erf_inv", P)
t.each("acosh", A)
t.each("abs conj real imag exp log sin cosh tanh sqrt rsqrt square", CX, label="complex")
t.one(
    "sign",
    lax.sign,
    CX,
    label="complex",
    astray=1,
    why="before 0.12 JAX takes the sign of a complex number for constant",
)
t.each("integer_pow", X, y=3)
t.each("integer_pow", A, y=-2, label="negative")
t.each("reduce_precision", X, exponent_bits=8, mantissa_bits=7)
t.each("convert_element_type", X, new_dtype=np.float32)
t.one("polygamma", lambda x: lax.polygamma(2.0, x), P)

# Several operands, element by element.
t.each("add sub mul div max min atan2 rem", X, Y)
t.each("add sub mul div pow", CX, CY, label="complex")
t.each("pow", P, X)
t.each("complex", X, Y)
t.one("nextafter", lax.nextafter, X, Y, **LATE)
for name in ("igamma", "igammac"):
    t.one(name, getattr(lax, name), A, B, **IGAMMA)
t.one("betainc", lambda x: lax.betainc(A, B, x), P)
t.one("betainc", lax.betainc, A, B, P, label="all", **BETAINC)
t.one("igamma_grad_a", lax.igamma_grad_a, A, B, **NEVER)
t.one("zeta", lax.zeta, A, B, **NEVER)
t.one("clamp", lambda a, x, b: lax.clamp(a, x, b), -P, X, Q)
t.one("select", lambda a, b: lax.select(MASK, a, b), X, Y)
t.one("select_n", lambda a, b, c: lax.select_n(ROWS, a, b, c), X, Y, Z)
t.one("polynomial", lambda x, c: lax.polynomial(x, list(c)), X, V[:3])

# Shapes.
t.each("broadcast", X, sizes=(2,))
t.each("broadcast_in_dim", X, shape=(2, 4, 3), broadcast_dimensions=(0, 2))
t.each("broadcast_to_rank", X, rank=3)
t.one("broadcast_like", lambda x: lax.broadcast_like(x, jnp.zeros((2, 2, 3))), X)
t.each("collapse", T, start_dimension=0, stop_dimension=2)
t.one("concatenate", lambda a, b: lax.concatenate([a, b], 1), X, Y)
t.one("stack", lambda a, b: lax.stack([a, b], 1), X, Y)
t.each("unstack", X, axis=1)
t.each("expand_dims", X, dimensions=(1,))
t.each("reshape", X, new_sizes=(3, 2), dimensions=(1, 0))
t.each("rev", X, dimensions=(1,))
t.each("squeeze", X[:, None], dimensions=(1,))
t.each("tile", X, reps=(2, 1))
t.each("transpose", T, permutation=(2, 0, 1))
t.each("split", V, sizes=(2, 3))
t.each("pad", X, V[0], padding_config=((1, 0, 0), (0, -1, 2)))
t.one("full", lambda v: lax.full((2, 3), v), V[0])
t.one("full_like", lambda v: lax.full_like(X, v), V[0])
t.each("slice", T, start_indices=(0, 1, 0), limit_indices=(2, 3, 4), strides=(1, 1, 2))
t.each("slice_in_dim", T, start_index=0, limit_index=4, stride=3, axis=2)
t.each("index_in_dim", X, index=-1, axis=1)
t.one("index_take", lambda x: lax.index_take(x, (np.array([0, 1]), np.array([2, 1])), (0, 1)), X)
t.one("dynamic_slice", lambda x: lax.dynamic_slice(x, (np.int32(0), np.int32(2)), (2, 2)), X)
t.one("dynamic_slice_in_dim", lambda x: lax.dynamic_slice_in_dim(x, np.int32(1), 2, 1), X)
t.one("dynamic_index_in_dim", lambda x: lax.dynamic_index_in_dim(x, np.int32(1), 1), X)
t.one("dynamic_update_slice", lambda x, y: lax.dynamic_update_slice(x, y, (np.int32(1), np.int32(1))), X, Y[:1, :2])
t.one("dynamic_update_slice_in_dim", lambda x, y: lax.dynamic_update_slice_in_dim(x, y, np.int32(1), 1), X, Y[:, :1])
t.one("dynamic_update_index_in_dim", lambda x, y: lax.dynamic_update_index_in_dim(x, y, np.int32(1), 1), X, Y[:, 0])

# Indexing.
INDICES = np.array([[0], [2], [2]])
GATHER = lax.GatherDimensionNumbers(offset_dims=(0,), collapsed_slice_dims=(1,), start_index_map=(1,))
SCATTER = lax.ScatterDimensionNumbers(
    update_window_dims=(0,), inserted_window_dims=(1,), scatter_dims_to_operand_dims=(1,)
)
t.one("gather", lambda x: lax.gather(x, INDICES, GATHER, (2, 1)), X)
for name in ["scatter_add", "scatter_sub", "scatter_min", "scatter_max"]:
    t.one(name, lambda x, u, name=name: getattr(lax, name)(x, INDICES, u, SCATTER), X, Y)
UNIQUE = np.array([[0], [2]])
t.one("scatter", lambda x, u: lax.scatter(x, UNIQUE, u, SCATTER, unique_indices=True), X, Y[:, :2])
t.one("scatter_mul", lambda x, u: lax.scatter_mul(x, UNIQUE, u, SCATTER, unique_indices=True), X, Y[:, :2])
t.one(
    "scatter_mul", lambda x, u: lax.scatter_mul(x, INDICES, u, SCATTER), X, Y,
    label="repeated", **REPEATED,
)  # fmt: skip
t.one(
    "scatter_apply", lambda x: lax.scatter_apply(x, UNIQUE, jnp.sin, SCATTER, update_shape=(2, 2)), X,
    **NEVER,
)  # fmt: skip

# Sums, sorts and windows.
t.each("cumsum cumprod cummax cummin cumlogsumexp", X, axis=1)
t.each("cumsum cumprod cummax cummin cumlogsumexp", X, label="reverse", axis=0, reverse=True)
t.each("reduce_sum reduce_max reduce_min reduce_prod", X, axes=(1,))
t.one("reduce", lambda x: lax.reduce(x, np.float64(0), lax.add, (1,)), X)
t.one("reduce", lambda x: lax.reduce(x, -np.inf, lax.max, (0,)), X, label="max")
t.one(
    "reduce", lambda x: lax.reduce(x, np.float64(0), lambda a, b: a + b + a * b, (1,)), X,
    label="generic", **NEVER,
)  # fmt: skip
t.each("sort", X)
t.one("sort", lambda x, y: lax.sort((x, y), num_keys=1), X, Y, label="pair")
t.each("sort_key_val", X, Y)
t.each("top_k", X, k=2)
t.each("approx_max_k approx_min_k", X, k=2)
t.one("reduce_window", lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 1), "SAME"), X)
t.one("reduce_window", lambda x: lax.reduce_window(x, -np.inf, lax.max, (2, 2), (1, 1), "VALID"), X, label="max")
t.one(
    "reduce_window", lambda x: lax.reduce_window(x, 0.0, lambda a, b: a + b + a * b, (1, 2), (1, 1), "VALID"), X,
    label="generic", **NEVER,
)  # fmt: skip
t.one("associative_scan", lambda x: lax.associative_scan(jnp.multiply, x, axis=1), T)

# Products.
t.each("dot", X, Y.T.copy())
t.each("dot_general", T, T, dimension_numbers=(((1,), (1,)), ((0,), (0,))))
t.each("batch_matmul", T, np.swapaxes(T, 1, 2).copy())
LOST = "JAX does not differentiate the mode in which the groups are contracted"
t.one(
    "ragged_dot", lambda a, b: lax.ragged_dot(a, b, np.array([2, 0, 3])), normal(5, 2), normal(3, 2, 4),
    refused=2, why=LOST,
)  # fmt: skip
RAGGED = lax.RaggedDotDimensionNumbers(
    dot_dimension_numbers=(((0,), (0,)), ((), ())), lhs_ragged_dimensions=[0], rhs_group_dimensions=[]
)
t.one(
    "ragged_dot_general", lambda a, b: lax.ragged_dot_general(a, b, np.array([2, 0, 3]), RAGGED), normal(5, 2),
    normal(5, 3), refused=1, why=LOST,
)  # fmt: skip
IMAGE, KERNEL = normal(1, 2, 4, 3), normal(3, 2, 2, 2)
t.each("conv", IMAGE, KERNEL, window_strides=(1, 2), padding="SAME")
t.each("conv_general_dilated", IMAGE, KERNEL, window_strides=(2, 1), padding=((1, 0), (0, 2)), rhs_dilation=(1, 2))
t.each(
    "conv_with_general_padding", IMAGE, KERNEL,
    window_strides=(1, 1), padding=((1, 0), (0, 1)), lhs_dilation=(1, 2), rhs_dilation=None,
)  # fmt: skip
t.each("conv_transpose", normal(1, 3, 2), normal(2, 2, 3), strides=(2,), padding="SAME")
t.each("conv_general_dilated_patches", IMAGE, filter_shape=(2, 2), window_strides=(1, 1), padding="VALID")
t.each(
    "conv_general_dilated_local", normal(1, 2, 4), normal(3, 4, 3),
    window_strides=(1,), padding="VALID", filter_shape=(2,),
)  # fmt: skip
t.each("fft", CX, fft_type="FFT", fft_lengths=(3,))
t.each("fft", X, label="real", fft_type="RFFT", fft_lengths=(2, 3))


def _sharding() -> Any:
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
    return jax.sharding.NamedSharding(mesh, jax.P())


# Calls and loops.
t.one("cond", lambda x: lax.cond(x[0, 0] > 0, jnp.sin, lambda v: v * v, x), X)
t.one("switch", lambda x: lax.switch(1, [jnp.sin, jnp.cos, jnp.exp], x), X)
t.one("switch", lambda x: lax.switch(jnp.int32(x[0, 0] < 9), [jnp.sin, jnp.cos], x), X, label="traced")
t.one("scan", lambda x, xs: lax.scan(lambda c, v: (jnp.sin(c) * v, c * v), x, xs), X, V[:3])
t.one("fori_loop", lambda x: lax.fori_loop(0, 3, lambda i, c: jnp.sin(c) + i, x), X)
t.one("map", lambda xs: lax.map(lambda v: v * jnp.sum(v), xs), X)
t.one("platform_dependent", lambda x: lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos), X)
t.one(
    "composite", lambda x: lax.composite(lambda v: jnp.sin(v) * v, "sweep.product")(x), X,
    **NEVER,
)  # fmt: skip
t.one("with_sharding_constraint", lambda x: lax.with_sharding_constraint(jnp.sin(x), _sharding()), X)


def _newton(f: Callable[[Any], Any], x: Any) -> Any:
    return lax.fori_loop(0, 20, lambda i, v: v - f(v) / jax.jvp(f, (v,), (jnp.ones_like(v),))[1], x)


t.one(
    "custom_root",
    lambda a: lax.custom_root(lambda v: v**3 - a, jnp.ones_like(a), _newton, lambda g, y: y / g(jnp.ones_like(y))),
    A,
)
t.one(
    "custom_linear_solve",
    lambda a, b: lax.custom_linear_solve(
        lambda v: a @ v, b, lambda mv, v: jnp.linalg.solve(a, v), lambda vm, v: jnp.linalg.solve(a.T, v)
    ),
    M,
    V[:3],
)


# Collectives, over an axis that vmap names.
def _mapped(fun: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return jax.vmap(fun, axis_name="i", out_axes=0)


t.one("psum", _mapped(lambda x: x * lax.psum(x, "i")), X)
t.one("pmean", _mapped(lambda x: x * lax.pmean(x, "i")), X)
for name in ("pmax", "pmin"):
    t.one(
        name, _mapped(lambda x, name=name: x * getattr(lax, name)(x, "i")), X,
        **NEVER,
    )  # fmt: skip
t.one("all_gather", _mapped(lambda x: x * lax.all_gather(x, "i")[1]), X)
t.one("all_to_all", _mapped(lambda x: x * lax.all_to_all(x, "i", 0, 0)), M)
t.one("ppermute", _mapped(lambda x: x * lax.ppermute(x, "i", [(0, 1), (1, 0)])), X)
t.one("pshuffle", _mapped(lambda x: x * lax.pshuffle(x, "i", [1, 0])), X)
t.one("pswapaxes", _mapped(lambda x: x * lax.pswapaxes(x, "i", 0)), M)
t.one("psum_scatter", _mapped(lambda x: x[0] * lax.psum_scatter(x, "i")), M)
t.one("axis_index", _mapped(lambda x: x * lax.axis_index("i")), X)
t.one("axis_size", _mapped(lambda x: x * lax.axis_size("i")), X)
t.one(
    "pcast",
    lambda x: jax.shard_map(
        lambda v, w: v * lax.pcast(w, "i", to="varying"), mesh=_sharding().mesh, in_specs=(jax.P("i"), jax.P()),
        out_specs=jax.P("i"),
    )(x, x[0]),
    X,
)  # fmt: skip

t.exclude(
    "moves data between several devices at run time, which one CPU device does not run",
    "pbroadcast precv psend psum_scatter_start ragged_all_to_all",
)
t.integers("eq ge gt le lt ne", X, Y)
t.integers("is_finite", X)
t.integers("argmax argmin", X, axis=1, index_dtype=np.int32)
t.exclude(
    INTEGERS,
    "bitwise_and bitwise_not bitwise_or bitwise_xor clz mulhi population_count reduce_and reduce_or reduce_xor "
    "shift_left shift_right_arithmetic shift_right_logical",
)
t.exclude("the bits of a number, of which JAX takes no derivative either", "bitcast_convert_type")
t.exclude(SHAPES, "broadcasted_iota empty iota shape_as_value")
t.exclude(
    "computes shapes or dimension numbers, not values",
    "broadcast_shapes conv_dimension_numbers conv_general_permutations conv_general_shape_tuple "
    "conv_shape_tuple conv_transpose_shape_tuple dtype padtype_to_pads reduce_window_shape_tuple",
)
t.exclude("multiplies in 16 bits, which no difference resolves, and JAX has no derivative of it", "scaled_dot")
t.exclude("tokens carry no values", "after_all create_token")
t.exclude(LOOP, "random_gamma_grad while_loop")
t.exclude("returns nothing; keeps a value alive for its effect", "dce_sink")
t.exclude("random bits and draws, without a differentiable operand", "rng_bit_generator rng_uniform")

linalg = Table("jax.lax.linalg")
linalg.each("cholesky", SPD)
linalg.each("eigh", SPD)
linalg.one("cholesky", lambda x: lax.linalg.cholesky(x @ x.conj().mT + jnp.eye(3)), CM, label="complex")
linalg.one("eigh", lambda x: lax.linalg.eigh((x + x.conj().mT) / 2)[1], CM, label="complex")
linalg.one(
    "cholesky_update", lambda r, w: lax.linalg.cholesky_update(jnp.triu(r), w), np.linalg.cholesky(SPD).T.copy(), V[:3],
    **NEVER,
)  # fmt: skip
linalg.one(
    "eig", lambda x: lax.linalg.eig(x, compute_left_eigenvectors=False, compute_right_eigenvectors=False), M,
    label="values", **EIGENVALUES,
)  # fmt: skip
linalg.one("eig", lax.linalg.eig, M, **EIGENVECTORS)
linalg.one("hessenberg", lax.linalg.hessenberg, M, **NEVER)
linalg.one(
    "householder_product", lax.linalg.householder_product, normal(3, 2), P[0, :2],
    **NEVER,
)  # fmt: skip
linalg.one(
    "ormqr", lambda a, taus, c: lax.linalg.ormqr(a, taus, c), normal(3, 2), P[0, :2], normal(3, 2, seed=1),
    **NEVER,
)  # fmt: skip
linalg.each("lu", M)
linalg.each("lu", X, label="wide")
linalg.each("qr", X.T.copy(), full_matrices=False)
linalg.one("schur", lax.linalg.schur, SPD + 0.1 * M, **NEVER)
linalg.each("svd", X, full_matrices=False)
linalg.one("svd", lax.linalg.svd, X, label="full", **FULL_SVD)
linalg.one(
    "symmetric_product", lax.linalg.symmetric_product, X, M[:2, :2] + M[:2, :2].T,
    **NEVER,
)  # fmt: skip
linalg.each("triangular_solve", SPD, X, lower=True)
linalg.each("triangular_solve", SPD, X.T.copy(), label="left", left_side=True, transpose_a=True)


def _tridiagonal(a: Any) -> Any:
    packed, *rest = lax.linalg.tridiagonal(a)
    return jnp.tril(packed), *rest  # the other triangle is what happened to be there


linalg.one("tridiagonal", _tridiagonal, SPD, **NEVER)
linalg.each(
    "tridiagonal_solve",
    np.array([0.0, 0.3, -0.4, 0.2]),
    2 + P.ravel()[:4],
    np.array([0.5, -0.2, 0.3, 0.0]),
    normal(4, 2),
)
linalg.exclude(LOOP, "qdwh")
linalg.exclude(INTEGERS, "lu_pivots_to_permutation")

TABLES = [t, linalg]
