"""Derivatives at ±0, ±1, ±∞, NaN, at the smallest and largest numbers, at ties and edges: JAX's, NaN for NaN.

The sign of a zero is not compared.  Where ours differs on purpose, `DELIBERATE` says where and why.
"""

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

_OLD = jax.__version_info__ < (0, 12)


def _moderate(dtype: Any) -> np.ndarray:
    around = [0.0, 1e-5, 0.3, 0.5, 1.0, 2.0, 3.0, 20.0, np.inf]
    return np.array([*around, *[-v for v in around], np.nan], dtype)


def _extreme(dtype: Any) -> np.ndarray:
    kind = np.finfo(dtype)
    edges = np.array([kind.tiny, kind.max, kind.eps, 1 - kind.epsneg, 710.0], dtype)
    return np.concatenate([_moderate(dtype), edges, -edges])


UNARY: dict[str, Callable[[Any], Any]] = {
    f.__name__: f
    for f in (
        lax.neg, lax.sin, lax.cos, lax.tan, lax.asin, lax.acos, lax.atan, lax.sinh, lax.cosh, lax.tanh, lax.asinh,
        lax.acosh, lax.atanh, lax.exp, lax.exp2, lax.expm1, lax.log, lax.log1p, lax.logistic, lax.sqrt, lax.rsqrt,
        lax.cbrt, lax.square, lax.abs, lax.erf, lax.erfc, lax.erf_inv, lax.lgamma, lax.digamma, lax.bessel_i0e,
        lax.bessel_i1e, lax.sign, lax.floor, lax.ceil, lax.round,
    )
}  # fmt: skip
UNARY |= {f"integer_pow {n}": lambda x, n=n: lax.integer_pow(x, n) for n in (-2, -1, 0, 1, 2, 3)}
UNARY |= {f"pow {n}": lambda x, n=n: lax.pow(x, jnp.full_like(x, n, dtype=np.int32)) for n in (-1, 0, 1, 2)}
UNARY |= {
    "reduce_precision": lambda x: lax.reduce_precision(x, 5, 10),
    "convert_element_type": lambda x: x.astype(np.float16),
    "clamp": lambda x: lax.clamp(x.dtype.type(-1), x, x.dtype.type(1)),
    "real, imag, complex": lambda x: lax.real(lax.complex(x, x)) * lax.imag(lax.complex(x, x)),
    "select_n": lambda x: lax.select(x > 0, x, -x),
    **{name: getattr(lax, name) for name in ("log2", "one_minus_square") if hasattr(lax, name)},
}
if hasattr(lax, "polynomial"):
    UNARY["polynomial"] = lambda x: lax.polynomial(x, [1.0, 2.0, 0.0, 3.0])

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    f.__name__: f for f in (lax.add, lax.sub, lax.mul, lax.div, lax.rem, lax.pow, lax.atan2, lax.max, lax.min)
}
BINARY["abs of complex"] = lambda a, b: lax.abs(lax.complex(a, b))
if not _OLD:
    BINARY["nextafter"] = lax.nextafter

# Their series do not end at 1e308, in JAX.
SPECIAL: dict[str, Callable[[Any, Any], Any]] = {
    "igamma": lax.igamma,
    "igammac": lax.igammac,
    "polygamma": lambda m, x: lax.polygamma(lax.stop_gradient(m), x),
    "betainc": lambda a, x: lax.betainc(lax.stop_gradient(jnp.abs(a)), jnp.full_like(a, 2), x),
}

# Where not to compare, as a function of the operands, and why.
DELIBERATE: dict[str, Callable[..., Any]] = {
    # JAX forms b⁻², which over- or underflows: NaN for 0/b, where ours has 0, the limit; ∞ for b/b, ours −1/b.
    "div": lambda a, b: (b * b < np.finfo(b.dtype).tiny) | (np.isfinite(b) & ~np.isfinite(b * b)),
    # Of several infinities: ∞ or ∞ − ∞ = NaN, as the order has it in which terms are added; ours adds fewer.
    "cumprod": lambda x: np.isinf(x).sum(1, keepdims=True) > 1,
    "cumprod, reverse": lambda x: np.isinf(x).sum(1, keepdims=True) > 1,
}
if _OLD:
    DELIBERATE |= {
        # Outside the domain, where the value is NaN, JAX 0.10 and 0.11 have numbers; JAX 0.12 and ours have NaN.
        "acosh": lambda x: x <= -1,
        # JAX 0.10 and 0.11 have y + 1 for eˣ, without digits far left; JAX 0.12 and ours have eˣ.
        "expm1": lambda x: x < -10,
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("functions", "points", "arity"),
    [(UNARY, _extreme, 1), (BINARY, _extreme, 2), (SPECIAL, _moderate, 2)],
    ids=["unary", "binary", "special"],
)
def test_special_points(
    functions: Mapping[str, Callable[..., Any]], points: Callable[[Any], np.ndarray], arity: int, dtype: Any
) -> None:
    with jax.enable_x64(dtype == np.float64), np.errstate(all="ignore"):
        operands = [x.ravel() for x in np.meshgrid(*[points(dtype)] * arity)]

        def slopes(vjp: Callable[..., Any]) -> Any:
            """All in one program: quicker than one by one."""

            def run(*xs: Any) -> Any:
                found = {}
                for name, fun in functions.items():
                    y, pullback = vjp(fun, *xs)
                    found[name] = pullback(jnp.ones_like(y))
                return found

            return jax.jit(run)(*operands)

        found, due = slopes(fdl.vjp), slopes(jax.vjp)
        wrong = []
        for name in functions:
            same = DELIBERATE.get(name, lambda *xs: np.zeros(xs[0].shape, bool))(*operands)
            for i, (a, b) in enumerate(zip(found[name], due[name], strict=True)):
                assert a.dtype == b.dtype == dtype
                equal = np.isclose(a, b, rtol=1e-11 if dtype == np.float64 else 2e-5, atol=0, equal_nan=True) | same
                wrong += [
                    f"{name}, operand {i} at {[float(x[k]) for x in operands]}: {a[k]}, due {b[k]}"
                    for k in np.flatnonzero(~equal)
                ]
        assert not wrong, "\n".join(wrong[:20])


_ROWS = np.array([
    [1, 2, 2, 0, -1], [np.nan, 1, 2, 2, 0], [1, np.nan, np.nan, 0, 3], [np.inf, np.inf, 1, 2, 0], [-np.inf] * 5,
    [0, 0, -0.0, 0, 0], [0, np.inf, 1, 2, 3], [np.inf, -np.inf, 1, 1, 2], [-np.inf, 1, -np.inf, 2, 0],
    [1e200, 1e100, 10, 1e-300, 1],
])  # fmt: skip
_TO = np.array([0, 0, 2])

ROWWISE: dict[str, Callable[[Any], Any]] = {
    **{
        name: lambda x, name=name: getattr(lax, name)(x, (1,))
        for name in ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
    },
    **{
        name: lambda x, name=name: getattr(lax, name)(x, 1)
        for name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
    },
    "cumprod, reverse": lambda x: lax.cumprod(x, 1, reverse=True),
    "reduce": lambda x: lax.reduce(x, np.float64(1), lambda a, b: a * b, (1,)),
    "reduce_window_max": lambda x: lax.reduce_window(x, -np.inf, lax.max, (1, 3), (1, 1), "SAME"),
    "reduce_window_min": lambda x: lax.reduce_window(x, np.inf, lax.min, (1, 3), (1, 2), "SAME"),
    "reduce_window_sum": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 1), "SAME"),
    "sort": lambda x: lax.sort(x),
    "top_k": lambda x: lax.top_k(x, 3)[0],
    "scatter": lambda x: x.at[:, _TO].set(x[:, 1:4]),
    "scatter-add": lambda x: x.at[:, _TO].add(x[:, :3]),
    "scatter-mul": lambda x: x.at[:, _TO[1:]].multiply(x[:, :2], unique_indices=True),
    "scatter-max": lambda x: x.at[:, _TO].max(x[:, :3]),
    "scatter-min": lambda x: x.at[:, _TO].min(x[:, :3]),
    "logsumexp": lambda x: jax.nn.logsumexp(x, axis=1),
    "softmax": lambda x: jax.nn.softmax(x, axis=1),
}


def test_rows_of_special_points() -> None:
    """Reductions, windows, sorts and scatters of rows that hold NaN, infinities, ties and zeros."""
    with jax.enable_x64(True):

        def slopes(vjp: Callable[..., Any]) -> Any:
            def run(x: Any) -> Any:
                found = {}
                for name, fun in ROWWISE.items():
                    y, pullback = vjp(fun, x)
                    found[name] = pullback(jnp.asarray(normal(*y.shape)))[0]
                return found

            return jax.jit(run)(_ROWS)

        found, due = slopes(fdl.vjp), slopes(jax.vjp)
        for name in ROWWISE:
            compared = ~DELIBERATE.get(name, np.zeros_like)(_ROWS).astype(bool)
            a, b = (np.where(compared, x[name], 0) for x in (found, due))
            np.testing.assert_allclose(a, b, rtol=1e-11, err_msg=name)


def test_sign_of_complex_numbers() -> None:
    """JAX has no derivative of it before 0.12, but zeros; the angle of x does vary."""
    fdl.check_vjp(lax.sign, (complex_normal(3, 4),))
