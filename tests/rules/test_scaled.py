"""Block-scaled contractions of eight-bit floats against JAX's derivative of the operands scaled by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.nn import scaled_matmul

import functional_dl as fdl
from tests.oracles import normal

SCALE, OPERAND = jnp.float8_e8m0fnu, jnp.float8_e4m3fn
DIMS = (((2,), (2,)), ((0,), (0,)))


def by_hand(a: Any, b: Any, s: Any, t: Any) -> Any:
    def scaled(x: Any, scale: Any) -> Any:
        return x.astype(jnp.float32) * jnp.repeat(scale.astype(jnp.float32), x.shape[2] // scale.shape[2], axis=2)

    return lax.dot_general(scaled(a, s), scaled(b, t), DIMS)


def scaled_dot(a: Any, b: Any, s: Any, t: Any) -> Any:
    return lax.scaled_dot(a, b, lhs_scale=s, rhs_scale=t, dimension_numbers=DIMS, preferred_element_type=jnp.float32)


@pytest.mark.parametrize("fun", [scaled_dot, scaled_matmul], ids=["scaled_dot", "scaled_matmul"])
def test_scaled(fun: Callable[..., Any]) -> None:
    if fun is scaled_matmul and jax.__version_info__ < (0, 11):
        pytest.skip("JAX 0.10 has scaled_matmul on the newest GPUs alone")
    a, b = (jnp.asarray(normal(2, n, 8), OPERAND) for n in (3, 5))
    s, t = (jnp.asarray(2.0 ** np.random.default_rng(n).integers(-2, 3, (2, n, 2)), SCALE) for n in (3, 5))
    y, pullback = fdl.vjp(fun, a, b, s, t)
    due, due_pullback = jax.vjp(by_hand, a, b, s, t)
    np.testing.assert_allclose(y, due, rtol=1e-6, atol=1e-6)
    for found, expected in zip(pullback(due), due_pullback(due), strict=True):
        assert found.dtype == expected.dtype
        # A scale's type has no sign: its negative cotangents are NaN, in JAX's derivative of the conversion too.
        np.testing.assert_array_equal(found.astype(float), expected.astype(float))
