"""Cases of reductions by a program: monoids that do not commute, of several operands, over axes and over windows."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.oracles import complex_normal, normal, uniform
from tests.rules.contract import Case, case

__all__ = ["CASES", "KINKS"]

X, Y = normal(2, 3, 5), normal(2, 3, 5, seed=1)
POSITIVE = uniform(0.5, 1.5, 2, 7)


def _affine(f: Any, g: Any) -> Any:
    """x ↦ a x + b followed by another: associative, but the order counts."""
    (a, b), (c, d) = f, g
    return a * c, b * c + d


def _product(a: Any, b: Any) -> Any:
    return a * b


def _windows(reducer: Any, *geometry: Any) -> Any:
    return lambda x: lax.reduce_window(x, np.float64(1), reducer, *geometry)


CASES: list[Case] = [
    *[
        case("reduce", lambda x, axes=axes: lax.reduce(x, np.float64(1), _product, axes), X, label=f"product, {axes}")
        for axes in ((1,), (2, 0))
    ],
    case("reduce", lambda x: lax.reduce(x, -np.inf, jnp.logaddexp, (2,)), X, label="logaddexp"),
    case("reduce", lambda x: lax.reduce(x, np.complex128(1), _product, (1,)), complex_normal(3, 4), label="complex"),
    case("reduce", lambda x: lax.reduce(x, np.float64(1), _product, (1,)), normal(3, 0), label="empty"),
    # A reduce whose monoid does not commute stands in test_monoids.py: JAX's derivative of it is wrong.
    case("reduce", lambda x, y: lax.reduce(x, y, _product, (1,)), POSITIVE, np.array(1.0), label="start", refused=1),
    case("reduce_window", _windows(_product, (3,), (1,), "SAME"), normal(7), refused=1),
    case(
        "reduce_window",
        _windows(_product, (2, 3), (1, 2), ((1, 0), (0, 2)), (2, 1), (1, 2)),
        POSITIVE,
        label="dilated",
        refused=1,
    ),
    case(
        "reduce_window",
        lambda x, y: lax.reduce_window((x, y), (np.float64(1), np.float64(0)), _affine, (4,), (2,), "SAME"),
        normal(7),
        normal(7, seed=1),
        label="affine maps",
        refused=1,
    ),
]

KINKS: list[Case] = [
    case(
        "reduce",
        lambda x: lax.reduce(x, -np.inf, lambda a, b: jnp.maximum(a, b), (1,)),
        np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0]]),
        label="ties",
        numeric=False,
    ),
]
