"""Cotangents have the dtype, the weak type and, to rounding, the values that JAX gives them, in every float type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl
from tests.oracles import complex_normal, normal

# XLA:CPU cannot make six-bit floats.
FLOATS = [
    np.dtype(t)
    for name in dir(jnp)
    if name.startswith(("float4_", "float8_", "bfloat16", "float16", "float32", "float64"))
    for t in [getattr(jnp, name)]
]


def _pullbacks(vjp: Callable[..., Any], functions: Mapping[str, Any], operands: Mapping[str, Any]) -> Any:
    """All pullbacks in one program, each of a fixed cotangent."""

    def run(operands: Any) -> Any:
        found = {}
        for name, fun in functions.items():
            y, pullback = vjp(fun, *operands[name])
            ct = jnp.linspace(-1.3, 2.1, y.size).reshape(y.shape)
            found[name] = [y, *[x for x in pullback(ct.astype(y.dtype)) if x.dtype != jax.dtypes.float0]]
        return found

    return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})(operands)


def _assert_same(functions: Mapping[str, Any], operands: Mapping[str, Any]) -> None:
    found, due = (_pullbacks(vjp, functions, operands) for vjp in (fdl.vjp, jax.vjp))
    for name in functions:
        y = due[name][0]
        for a, b in zip(found[name], due[name], strict=True):
            assert (a.dtype, a.shape, a.weak_type) == (b.dtype, b.shape, b.weak_type), name
            # XLA may keep more digits between operations than their types have.
            eps = 4 * max(float(jnp.finfo(x.dtype).eps) for x in (a, y))
            wide = np.complex128 if np.issubdtype(a.dtype, np.complexfloating) else np.float64
            a, b = np.asarray(a).astype(wide), np.asarray(b).astype(wide)
            scale = np.max(np.abs(np.where(np.isfinite(b), b, 0)), initial=1)
            np.testing.assert_allclose(a, b, rtol=eps, atol=eps * scale, err_msg=name)


def test_conversions_among_all_float_types() -> None:
    with jax.enable_x64(True):
        values = np.array([0.5, -1.25, 3.0, 0.0])
        functions, operands = {}, {}
        for source in FLOATS:
            kinds = {
                f"to {target}": lambda x, to=target: lax.convert_element_type(x, to)
                for target in FLOATS
                if {source.name, target.name} & {"float32", "bfloat16", "float8_e4m3fn"}
            }
            kinds["to complex"] = lambda x: lax.convert_element_type(x, np.complex64)
            kinds["rounded"] = lambda x: lax.reduce_precision(x, 5, 2)
            kinds["by integers and booleans"] = lambda x: (
                x * x.astype(np.int32).astype(x.dtype) * (x > 0).astype(x.dtype)
            )
            for name, fun in kinds.items():
                functions[f"{source} {name}"], operands[f"{source} {name}"] = fun, [values.astype(source)]
        functions["bits"] = lambda x: x * lax.bitcast_convert_type(lax.bitcast_convert_type(x, np.int32), np.float32)
        operands["bits"] = [values.astype(np.float32)]
        assert len(FLOATS) >= 12
        _assert_same(functions, operands)


_DOTS = [
    ("bfloat16", "bfloat16", "float32"), ("bfloat16", "bfloat16", None), ("float16", "float16", "float32"),
    ("bfloat16", "float32", "float32"), ("float32", "bfloat16", None), ("float32", "float32", "float64"),
    ("float32", "float32", "bfloat16"), ("float8_e4m3fn", "float8_e5m2", "float32"),
    ("float8_e4m3fn", "float8_e4m3fn", "bfloat16"), ("complex64", "float32", None), ("float32", "complex64", None),
    ("bfloat16", "int8", "float32"), ("int8", "bfloat16", "float32"), ("float32", "int32", "float32"),
]  # fmt: skip


def test_contractions_of_mixed_types() -> None:
    """Also with integer operands, which take no cotangent, and with a preferred type other than the operands'."""
    with jax.enable_x64(True):
        functions: dict[str, Any] = {}
        operands: dict[str, Any] = {}

        def add(name: str, fun: Any, left: Any, right: Any) -> None:
            functions[name], operands[name] = fun, [left, right]

        def typed(x: np.ndarray, dtype: str) -> jax.Array:
            return jnp.asarray(2 * x).astype(dtype)

        for a, b, preferred in _DOTS:
            add(
                f"dot {a} {b} {preferred}",
                lambda x, y, p=preferred: lax.dot_general(x, y, (((1,), (0,)), ((), ())), preferred_element_type=p),
                typed(normal(3, 4), a),
                typed(normal(4, 5), b),
            )
            if a == b and preferred != "bfloat16":  # a convolution takes one type, and prefers none narrower
                add(
                    f"conv {a} {preferred}",
                    lambda x, w, p=preferred: lax.conv_general_dilated(x, w, (1,), "SAME", preferred_element_type=p),
                    typed(normal(2, 3, 6), a),
                    typed(normal(4, 3, 3), b),
                )
        for precision in ("highest", ("default", "highest"), lax.DotAlgorithmPreset.BF16_BF16_F32):
            add(
                f"dot {precision}",
                lambda x, y, p=precision: lax.dot(x, y, precision=p, preferred_element_type=np.float32),
                typed(normal(3, 4), "float32"),
                typed(normal(4, 5), "float32"),
            )
        _assert_same(functions, operands)


# One of each family: (function, operands of shape (3, 4), whether of complex numbers too).
_TABLE: dict[str, tuple[Callable[..., Any], int, bool]] = {
    "neg": (lax.neg, 1, True),
    "sin": (lax.sin, 1, True),
    "tanh": (lax.tanh, 1, True),
    "exp": (lax.exp, 1, True),
    "logistic": (lax.logistic, 1, True),
    "abs": (lax.abs, 1, True),
    "sqrt of squares": (lambda x: lax.sqrt(lax.square(x) + 1), 1, True),
    "log1p of squares": (lambda x: lax.log1p(lax.square(x)), 1, True),
    "erf": (lax.erf, 1, False),
    "bessel_i1e": (lax.bessel_i1e, 1, False),
    "integer_pow": (lambda x: lax.integer_pow(x, 3), 1, True),
    "pow": (lambda x, y: lax.pow(lax.abs(x) + 1, y), 2, False),
    "mul": (lax.mul, 2, True),
    "div": (lambda x, y: x / (2 + y * y), 2, True),
    "atan2": (lax.atan2, 2, False),
    "max": (lax.max, 2, False),
    "clamp": (lambda x: lax.clamp(jnp.array(-1, x.dtype), x, jnp.array(1, x.dtype)), 1, False),
    "select_n": (lambda x, y: lax.select(lax.abs(x) > 1, x, y), 2, True),
    "reduce_sum": (lambda x: lax.reduce_sum(x, (0,)), 1, True),
    "reduce_prod": (lambda x: lax.reduce_prod(x, (0,)), 1, True),
    "reduce_max": (lambda x: lax.reduce_max(x, (1,)), 1, False),
    "cumsum": (lambda x: lax.cumsum(x, 1), 1, True),
    "cumprod": (lambda x: lax.cumprod(x, 1), 1, True),
    "cumlogsumexp": (lambda x: lax.cumlogsumexp(x, 1), 1, False),
    "reduce_window_sum": (
        lambda x: lax.reduce_window(x, np.zeros((), x.dtype), lax.add, (2, 2), (1, 2), "SAME"), 1, True
    ),
    "reduce_window_max": (
        lambda x: lax.reduce_window(x, np.array(-np.inf, x.dtype), lax.max, (2, 2), (1, 2), "SAME"), 1, False
    ),
    "sort": (lambda x: lax.sort(x), 1, False),
    "top_k": (lambda x: lax.top_k(x, 2)[0], 1, False),
    "gather": (lambda x: x[jnp.array([2, 0, 2])], 1, True),
    "scatter": (lambda x, y: x.at[jnp.array([2, 0, 2])].set(y), 2, True),
    "scatter-add": (lambda x, y: x.at[jnp.array([2, 0, 2])].add(y), 2, True),
    "scatter-mul": (lambda x, y: x.at[jnp.array([2, 0, 1])].multiply(y, unique_indices=True), 2, True),
    "scatter-max": (lambda x, y: x.at[jnp.array([2, 0, 2])].max(y), 2, False),
    "concatenate": (lambda x, y: lax.concatenate([x, y], 1), 2, True),
    "pad": (lambda x: lax.pad(x, np.zeros((), x.dtype), [(1, -1, 0), (0, 2, 1)]), 1, True),
    "dot_general": (lambda x, y: x @ y.T, 2, True),
    "conv": (lambda x, y: lax.conv(x[None], y[None, :, :2], (1,), "SAME"), 2, True),
    "softmax": (lambda x: jax.nn.softmax(x, axis=1), 1, False),
    "scan": (lambda x, y: lax.scan(lambda c, v: (c * v, c + v), x[0], y)[1], 2, True),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "complex64"])
def test_every_family_in(dtype: str) -> None:
    draw = complex_normal if dtype == "complex64" else normal
    functions = {name: fun for name, (fun, _, of_complex) in _TABLE.items() if of_complex or dtype != "complex64"}
    operands = {
        name: [jnp.asarray(draw(3, 4, seed=k)).astype(dtype) for k in range(_TABLE[name][1])] for name in functions
    }
    _assert_same(functions, operands)


_VECTOR = np.ones(3, np.float32)

WEAK: dict[str, Callable[[Any], Any]] = {
    "sin": jnp.sin,
    "square": lambda x: x * x,
    "by an array": lambda x: jnp.sum(x * _VECTOR),
    "by an array of bfloat16": lambda x: jnp.sum(x * _VECTOR.astype(jnp.bfloat16)),
    "sum of weak and not": lambda x: x * x * np.float32(2) + x,
    "converted": lambda x: lax.convert_element_type(x, jnp.bfloat16),
    "to complex": lambda x: jnp.real(x * 1j),
    "where": lambda x: jnp.where(x > 0, x, 2.0),
    "pow": lambda x: x**2.5,
    "broadcast": lambda x: jnp.sum(jnp.full((3,), x)),
    "stack": lambda x: jnp.sum(jnp.stack([x, x * 2])),
    "set": lambda x: jnp.sum(jnp.zeros(3).at[1].set(x)),
    "loop": lambda x: lax.fori_loop(0, 3, lambda i, c: c * x, x),
    "cond": lambda x: lax.cond(x > 0, lambda x: x * 2, lambda x: x, x),
    "jit": jax.jit(lambda x: x * np.float32(3)),
    "custom_jvp": jax.nn.relu,
    "unused": lambda x: np.float32(2) * _VECTOR[0],
}


@pytest.mark.parametrize("name", WEAK)
def test_weak_types(name: str) -> None:
    """A Python number's cotangent is weakly typed; under max and clip JAX 0.10 says so, 0.12 not, and ours does."""
    found, due = (jax.eval_shape(grad(WEAK[name]), 1.5) for grad in (fdl.grad, jax.grad))
    assert (found.dtype, found.weak_type) == (due.dtype, due.weak_type)


def test_integers_and_booleans_take_float0() -> None:
    y, pullback = fdl.vjp(lambda i, b, x: jnp.where(b, i * x, x), np.arange(3), np.array([True, False, True]), _VECTOR)
    found = pullback(y)
    assert [x.dtype for x in found] == [jax.dtypes.float0, jax.dtypes.float0, np.float32]
    assert [x.shape for x in found] == [(3,)] * 3
