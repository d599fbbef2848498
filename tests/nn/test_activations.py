"""Activations: values by NumPy, derivatives by JAX and by hand at the kinks, finite far out and in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import functional_dl as fdl
from functional_dl import nn
from functional_dl.nn.activations import ACTIVATIONS

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(5, 6)) * 3
ROOT = np.sqrt(2 / np.pi)

VALUES: dict[str, Callable[[Any], Any]] = {
    "identity": lambda x: x,
    "sign": np.sign,
    "sigmoid": special.expit,
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "relu": lambda x: x * (x > 0),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(ROOT * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
}
# Derivatives where left and right ones differ (or, for sign, where there is none), as JAX has them.
KINKS = [
    ("relu", 0.0, 0.0), ("hard_tanh", -1.0, 1.0), ("hard_tanh", 1.0, 1.0), ("leaky_relu", 0.0, 1.0),
    ("elu", 0.0, 1.0), ("sign", 0.0, 0.0), ("sign", 2.0, 0.0),
]  # fmt: skip
# Limits of value and derivative at −10⁴ and 10⁴.
FAR = {
    "identity": ((-1e4, 1e4), (1, 1)),
    "sign": ((-1, 1), (0, 0)),
    "sigmoid": ((0, 1), (0, 0)),
    "tanh": ((-1, 1), (0, 0)),
    "relu": ((0, 1e4), (0, 1)),
    "hard_tanh": ((-1, 1), (0, 0)),
    "leaky_relu": ((-1e2, 1e4), (0.01, 1)),
    "elu": ((-1, 1e4), (0, 1)),
    "gelu": ((0, 1e4), (0, 1)),
    "silu": ((0, 1e4), (0, 1)),
    "softplus": ((0, 1e4), (0, 1)),
}


def slopes(name: str, x: Any) -> tuple[Any, Any]:
    """Entry by entry, ours and JAX's."""
    whole = lambda x: jnp.sum(ACTIVATIONS[name](x))
    return jax.jit(fdl.grad(whole))(x), jax.jit(jax.grad(whole))(x)


def test_every_activation_has_cases() -> None:
    assert VALUES.keys() == ACTIVATIONS.keys() == FAR.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_derivatives(name: str) -> None:
    np.testing.assert_allclose(ACTIVATIONS[name](jnp.asarray(X, jnp.float32)), VALUES[name](X), rtol=1e-5, atol=1e-6)
    ours, jaxs = slopes(name, jnp.asarray(X, jnp.float32))
    np.testing.assert_allclose(ours, jaxs, rtol=1e-5, atol=3e-6)
    h = 1e-6
    np.testing.assert_allclose(ours, (VALUES[name](X + h) - VALUES[name](X - h)) / (2 * h), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "x", "slope"), KINKS)
def test_kinks(name: str, x: float, slope: float) -> None:
    for found in slopes(name, jnp.float32(x)):
        assert float(found) == slope


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda d: d.__name__)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_far_out_and_in_bfloat16(name: str, dtype: Any) -> None:
    x, (values, derivatives) = jnp.asarray([-1e4, 1e4], dtype), FAR[name]
    y, (ours, jaxs) = ACTIVATIONS[name](x), slopes(name, x)
    assert y.dtype == ours.dtype == dtype
    np.testing.assert_allclose(np.asarray(y, np.float32), values, rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(np.asarray(ours, np.float32), derivatives, rtol=1e-2, atol=1e-6)
    np.testing.assert_array_equal(ours, jaxs)
    if dtype == jnp.bfloat16:
        near = jnp.asarray(X, dtype)
        due = VALUES[name](np.asarray(near, np.float64))
        np.testing.assert_allclose(np.asarray(ACTIVATIONS[name](near), np.float64), due, rtol=2**-6, atol=2**-7)


def test_the_sigmoids_derivative_is_a_quarter_at_most() -> None:
    """The notes say that the largest *value* is 0.5; it is where f = 0.5 that f' is largest, and f goes up to 1."""
    x = jnp.arange(-200, 201) / 10
    f, (df, _) = ACTIVATIONS["sigmoid"](x), slopes("sigmoid", x)
    assert float(f.max()) == 1.0
    assert float(df.max()) == 0.25 == float(df[200]) and float(f[200]) == 0.5
    np.testing.assert_allclose(df, f * (1 - f), atol=1e-7)


def test_parametric_relu() -> None:
    """One slope per channel, 0.25 at first; ∂/∂a is the sum of what is below zero; slope 1 side at 0."""
    network = nn.parametric_relu(6)
    np.testing.assert_array_equal(network.init(KEY)["slope"], np.full(6, 0.25))
    params, x = {"slope": jnp.linspace(-0.2, 1.3, 6)}, jnp.asarray(X, jnp.float32).at[0, 0].set(0)
    slope, at = np.asarray(params["slope"], np.float64)[None], np.asarray(x, np.float64)
    np.testing.assert_allclose(network.apply(params, x), np.where(at > 0, at, slope * at), rtol=1e-6)
    whole = lambda params, x: jnp.sum(network.apply(params, x))
    ours, jaxs = fdl.grad(whole, (0, 1))(params, x), jax.grad(whole, (0, 1))(params, x)
    np.testing.assert_allclose(ours[0]["slope"], np.minimum(at, 0).sum(0), rtol=1e-5)
    np.testing.assert_allclose(ours[1], np.where(at >= 0, 1, slope * np.ones_like(at)), rtol=1e-6)
    np.testing.assert_allclose(ours[0]["slope"], jaxs[0]["slope"], rtol=1e-6)
    np.testing.assert_array_equal(ours[1], jaxs[1])
    with pytest.raises(ValueError, match=r"parametric_relu got \(2, 5\); due is \(…, 6\)"):
        network.apply(params, jnp.ones((2, 5)))


def test_maxout() -> None:
    """hᵢ = maxⱼ zᵢⱼ of pieces that follow each other; those that tie share the derivative."""
    network = nn.maxout(3)
    x = jnp.asarray(X, jnp.float32)
    np.testing.assert_array_equal(network.apply({}, x), np.asarray(x).reshape(5, 2, 3).max(-1))
    whole = lambda x: jnp.sum(network.apply({}, x) * jnp.asarray([[1.0, 2.0]]))
    ties = jnp.asarray([[4.0, 1.0, 4.0, 7.0, 7.0, 7.0]])
    for grad in (fdl.grad, jax.grad):
        np.testing.assert_allclose(grad(whole)(ties), [[0.5, 0, 0.5, 2 / 3, 2 / 3, 2 / 3]], rtol=1e-6)
    assert network.apply({}, jnp.ones((2, 4, 9), jnp.bfloat16)).dtype == jnp.bfloat16
    with pytest.raises(ValueError, match=r"maxout got \(5, 8\); due is a last axis divisible by its 3"):
        network.apply({}, jnp.ones((5, 8)))
    with pytest.raises(ValueError, match="pieces = 0"):
        nn.maxout(0)


def test_maxout_of_a_layer_is_the_absolute_value() -> None:
    """Goodfellow et al. 2013, figure 1: two pieces, x and −x."""
    network = nn.serial(dense=nn.dense(1, 2), maxout=nn.maxout(2))
    params = {"dense": {"kernel": jnp.asarray([[1.0, -1.0]]), "bias": jnp.zeros(2)}}
    np.testing.assert_array_equal(network.apply(params, jnp.asarray([[-3.0], [2.0]])), [[3], [2]])
