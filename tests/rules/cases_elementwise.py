"""Cases for functions of one operand and for arithmetic of several."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from tests.oracles import complex_normal, normal, uniform
from tests.rules.contract import Case, case

__all__ = ["CASES", "KINKS"]

X = normal(3, 5)
POSITIVE = uniform(0.3, 2.0, 3, 5)
INSIDE = uniform(-0.8, 0.8, 3, 5)
Z = 0.5 * complex_normal(3, 5)

UNARY: list[tuple[str, Any, np.ndarray]] = [
    ("neg", lax.neg, X), ("sin", lax.sin, X), ("cos", lax.cos, X), ("tan", lax.tan, INSIDE),
    ("asin", lax.asin, INSIDE), ("acos", lax.acos, INSIDE), ("atan", lax.atan, X),
    ("sinh", lax.sinh, X), ("cosh", lax.cosh, X), ("tanh", lax.tanh, X),
    ("asinh", lax.asinh, X), ("acosh", lax.acosh, 1.2 + POSITIVE), ("atanh", lax.atanh, INSIDE),
    ("exp", lax.exp, X), ("exp2", lax.exp2, X), ("expm1", lax.expm1, X),
    ("log", lax.log, POSITIVE), ("log1p", lax.log1p, POSITIVE), ("logistic", lax.logistic, X),
    ("sqrt", lax.sqrt, POSITIVE), ("rsqrt", lax.rsqrt, POSITIVE), ("cbrt", lax.cbrt, POSITIVE),
    ("square", lax.square, X), ("abs", lax.abs, POSITIVE), ("erf", lax.erf, X), ("erfc", lax.erfc, X),
    ("erf_inv", lax.erf_inv, INSIDE), ("lgamma", lax.lgamma, POSITIVE), ("digamma", lax.digamma, POSITIVE),
    ("bessel_i0e", lax.bessel_i0e, POSITIVE), ("bessel_i1e", lax.bessel_i1e, POSITIVE),
    ("copy", lambda x: jnp.array(x, copy=True), X),
]  # fmt: skip
if hasattr(lax, "log2"):  # from JAX 0.11 on
    UNARY.append(("log2", lax.log2, POSITIVE))
    UNARY.append(("one_minus_square", jax.grad(lambda x: jnp.sum(jnp.tanh(x) * X)), X))

COMPLEX: list[tuple[str, Any]] = [
    (f.__name__, f)
    for f in (lax.neg, lax.sin, lax.cos, lax.tan, lax.sinh, lax.cosh, lax.tanh, lax.exp, lax.expm1, lax.log, lax.log1p,
              lax.logistic, lax.sqrt, lax.rsqrt, lax.square, lax.abs, lax.real, lax.imag, lax.conj,
              lax.asin, lax.acos, lax.atan, lax.asinh, lax.atanh)
]  # fmt: skip

CASES: list[Case] = [
    *[case(name, fun, x) for name, fun, x in UNARY],
    *[case(name, fun, Z, label="complex") for name, fun in COMPLEX],
    # Right half-plane: left of it JAX 0.10 takes the other branch of the root; 0.12 and ours do not.
    case("acosh", lax.acosh, 2 + Z, label="complex"),
    case("conj", lambda x: lax.conj(x), X, label="real operand"),
    case("integer_pow", lambda x: lax.integer_pow(x, 3), X),
    case("integer_pow", lambda x: lax.integer_pow(x, -2), POSITIVE, label="negative"),
    case("integer_pow", lambda x: lax.integer_pow(x, 3), Z, label="complex"),
    case("add", lambda x, y: x + y, X, normal(3, 5, seed=1)),
    case("add", lambda x, y: lax.add(x, 2.0) + y, X, normal(1, 5), label="broadcast"),
    case("add_any", lambda x: jax.vjp(lambda x: jnp.sin(x) * x, x)[1](jnp.ones_like(x))[0], X),
    case("sub", lambda x, y: x - y, X, normal(3, 1)),
    case("sub", lambda y: 1.0 - y, X, label="literal"),
    case("mul", lambda x, y: x * y, X, normal(3, 5, seed=1)),
    case("mul", lambda x, y: x * y, Z, complex_normal(3, 1, seed=3), label="complex, broadcast"),
    case("mul", lambda x, y: x * y, X, np.array(0.7), label="scalar"),
    case("div", lambda x, y: x / y, X, POSITIVE),
    case("div", lambda x, y: x / y, Z, 1 + complex_normal(3, 5, seed=3), label="complex"),
    case("rem", lambda x, y: lax.rem(x, y), 3 * X, 0.9 + uniform(0, 0.1, 3, 5)),
    case("pow", lambda x, y: lax.pow(x, y), POSITIVE, X),
    case("pow", lambda x: lax.pow(x, np.arange(15).reshape(3, 5) % 4), POSITIVE, label="integer exponent"),
    case("pow", lambda x, y: lax.pow(x, y), 1.5 + Z, Z, label="complex"),
    case("atan2", lambda x, y: lax.atan2(x, y), X, POSITIVE),
    case("max", lambda x, y: jnp.maximum(x, y), X, normal(3, 5, seed=1)),
    case("max", lambda x: jnp.maximum(x, 0.1), X, label="literal"),
    case("min", lambda x, y: jnp.minimum(x, y), X, normal(3, 5, seed=1)),
    case("clamp", lambda lo, x, hi: lax.clamp(lo, x, hi), X - 1, X + 0.1, X + 1),
    # Cotangents of the scalar bounds themselves are ours alone: JAX raises for them (tests/autodiff/test_check.py).
    case("clamp", lambda x: lax.clamp(jnp.array(-0.5), x, jnp.array(0.5)), X, label="scalar bounds"),
    case("select_n", lambda x, y: lax.select(X > 0, x, y), X, normal(3, 5, seed=1)),
    case("select_n", lambda *xs: lax.select_n(np.arange(15).reshape(3, 5) % 3, *xs), X, 2 * X, 3 * X, label="integer"),
    case("select_n", lambda x, y: lax.select_n(jnp.array(True), x, y), X, 2 * X, label="scalar predicate"),
    case("complex", lambda x, y: lax.complex(x, y), X, normal(3, 5, seed=1)),
    case("convert_element_type", lambda x: lax.convert_element_type(x, jnp.complex128), X, label="to complex"),
    case("convert_element_type", lambda x: lax.convert_element_type(x, jnp.float32), X, label="to f32", numeric=False),
    case("reduce_precision", lambda x: lax.reduce_precision(x, 8, 7), X, numeric=False),
    case("name", lambda x: jnp.sin(checkpoint_name(x, "here")), X),
]

_NEWEST = jax.__version_info__ >= (0, 12)  # JAX takes the derivatives of nextafter and of a complex sign from there on
CASES += [
    case("nextafter", lambda x, y: lax.nextafter(x, y), X, normal(3, 1), refused=3 if _NEWEST else 1),
    case("sign", lax.sign, X),
    case("dce_sink", lambda x: (lax.sin(x), lax.dce_sink(x))[0], X),
]
if _NEWEST:
    CASES += [
        case("sign", lax.sign, Z, label="complex"),
        case("polynomial", lambda x, *cs: lax.polynomial(x, cs), X, X[:1], POSITIVE, INSIDE, label="coefficients"),
        case("polynomial", lambda x: lax.polynomial(x, [1.0, -2.0]), X, label="linear"),
        case("polynomial", lambda x, c: lax.polynomial(x, [c] * 9, unroll=2), Z, Z[:, :1], label="looped, complex"),
    ]


TIED = np.array([[1.0, 0.0, -2.0], [0.5, 0.0, 3.0]])
OTHER = np.array([[1.0, 0.0, 4.0], [0.5, -1.0, 3.0]])
EDGE = np.array([0.0, -0.0, 1.0, -1.0, np.inf])

KINKS: list[Case] = [
    case("max", jnp.maximum, TIED, OTHER, label="ties", numeric=False),
    case("min", jnp.minimum, TIED, OTHER, label="ties", numeric=False),
    case("abs", lax.abs, EDGE, label="edges", numeric=False),
    case("abs", lax.abs, np.array([0j, 1 + 1j]), label="complex zero", numeric=False),
    case("clamp", lambda x: lax.clamp(-1.0, x, 1.0), EDGE, label="bounds", numeric=False),
    case("sqrt", lax.sqrt, np.array([0.0, 1.0, np.inf]), label="edges", numeric=False),
    case("log", lax.log, np.array([0.0, 1.0, np.inf]), label="edges", numeric=False),
    case("pow", lambda x: lax.pow(x, np.array([0, 1, 2, 3, 2])), EDGE, label="integer edges", numeric=False, order=1),
    case("bessel_i1e", lax.bessel_i1e, np.array([0.0, 1.0]), label="zero", numeric=False),
]
