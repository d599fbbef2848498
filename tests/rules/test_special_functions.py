"""Accuracy of the derivatives that have no closed form, against numbers from mpmath; and those of gamma samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.special import gammainc, gammaincinv

import functional_dl as fdl
from tests.oracles import JAX_REFUSES

# Computed with mpmath 1.4.1 at 40 digits as derivatives of its `gammainc` and `betainc` by central differences; zeta
# by the Euler–Maclaurin formula from n = 3000 on (mpmath's own derivative of it has ten digits where q is large).
# a, x, ∂²P/∂a², ∂³P/∂a³.
GAMMA = np.array([
    (0.001, 0.0005, 47.386679356782, -307.648007934),
    (0.001, 0.9, -0.49120156103118, 0.47952310825788),
    (0.5, 2.5, -0.12858681876687, -0.051713824128671),
    (3.5, 3, 0.037338779572076, 0.058972014341115),
    (3.5, 40, -8.9412245205154e-14, -2.1127917983112e-13),
    (200, 190, 0.0011470748278583, 5.2943706527138e-5),
    (10000, 10100, -2.4037093166337e-5, 2.3918301491692e-9),
])  # fmt: skip
# a, b, x, ∂I/∂a, ∂I/∂b, ∂²I/∂a∂b.
BETA = np.array([
    (0.001, 0.3, 0.2, -4.3518511437504, 0.011927750562833, 11.838635265746),
    (0.001, 1000.0, 0.0001, -1.8214608872744, 9.0376839080106e-7, 0.00090220666773793),
    (0.5, 0.5, 0.9, -0.27681552435835, 0.59262002214338, 0.4734212308642),
    (2.5, 4.0, 0.3, -0.21632143573872, 0.11008588358792, -0.021909024851144),
    (100.0, 30.0, 0.8, -0.012984069113066, 0.04755258574264, 0.0017408907901137),
    (1000.0, 0.3, 0.9996, -0.00017027844887186, 0.75705903328818, -0.00044026062033541),
])  # fmt: skip
# x, q, ∂ζ/∂x, ∂²ζ/∂x².
ZETA = np.array([
    (1.01, 0.3, -9995.9718379423, 2000004.88637),
    (2.5, 1, -0.38734195032621, 0.581968927042),
    (7, 40, -1.6845554938472e-10, 6.48642771512e-10),
    (30, 1000, -2.4285858195087e-88, 1.68590282001e-87),
])  # fmt: skip


def _slope(fun: Callable[..., Any], i: int) -> Callable[..., Any]:
    """The derivative of an elementwise function in its operand ``i``; compiled, which is quicker than one by one."""

    def derivative(*xs: jax.Array) -> jax.Array:
        y, pullback = fdl.vjp(fun, *xs)
        return pullback(jnp.ones_like(y))[i]

    return jax.jit(derivative)


@pytest.mark.parametrize(
    ("fun", "orders", "table"),
    [
        (lax.igamma, [(0, 0), (0, 0, 0)], GAMMA),
        (lax.betainc, [(0,), (1,), (0, 1)], BETA),
        (lax.zeta, [(0,), (0, 0)], ZETA),
    ],
    ids=["igamma", "betainc", "zeta"],
)
def test_accuracy(fun: Callable[..., Any], orders: list[tuple[int, ...]], table: np.ndarray) -> None:
    with jax.enable_x64(True):
        columns = [jnp.asarray(c) for c in table.T]
        for order, due in zip(orders, columns[-len(orders) :], strict=True):
            derivative = fun
            for i in order:
                derivative = _slope(derivative, i)
            found = derivative(*columns[: -len(orders)])
            # Where a is 1e-3 the moments of ln t are as large as 1e3ᵏ: the third cancels to nine digits.
            np.testing.assert_allclose(found, due, rtol=1e-9 if len(order) < 3 else 1e-8, err_msg=str(order))


def test_single_precision() -> None:
    """float32 and bfloat16 through the same integrals, to their own precision."""
    for dtype, tolerance in ((jnp.float32, 3e-3), (jnp.bfloat16, 4e-2)):
        a, x = (jnp.asarray(c, dtype) for c in GAMMA.T[:2])
        found = _slope(_slope(lax.igamma, 0), 0)(a, x)
        assert found.dtype == dtype
        with jax.enable_x64(True):  # at the rounded operands
            due = _slope(_slope(lax.igamma, 0), 0)(a.astype(float), x.astype(float))
        # Beyond, a ln x − x − ln Γ(a) has lost the digits (in JAX's igamma too); below, the moments of ln t cancel.
        few = (np.asarray(a) > 0.1) & (np.asarray(a) < 100)
        np.testing.assert_allclose(found[few].astype(float), due[few], rtol=tolerance)


def test_second_derivative_of_gamma_samples() -> None:
    """Along x(a) with P(a, x) fixed the second derivative is that of the quantile function; JAX refuses it."""
    with jax.enable_x64(True):

        def sample(a: jax.Array) -> jax.Array:
            return jax.random.loggamma(jax.random.key(3), a)

        @jax.jit  # as one: the sampler takes seconds to compile
        def orders(a: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            return sample(a), _slope(sample, 0)(a), _slope(_slope(sample, 0), 0)(a)

        a = np.linspace(0.3, 6.0, 7)
        y, first, second = orders(a)
        share = gammainc(a, np.exp(y))
        h = 1e-3
        before, here, after = (np.log(gammaincinv(a + step, share)) for step in (-h, 0, h))
        np.testing.assert_allclose(first, (after - before) / (2 * h), rtol=1e-4)
        np.testing.assert_allclose(second, (after - 2 * here + before) / h**2, rtol=1e-4, atol=1e-4)
        with pytest.raises(JAX_REFUSES):
            jax.jit(jax.grad(lambda a: jnp.sum(jax.grad(lambda a: jnp.sum(sample(a)))(a)))).trace(a)


def test_ends_of_the_domain() -> None:
    """At 0 and ∞ the incomplete functions are constant in their parameters; outside the domain all is NaN."""
    with jax.enable_x64(True):
        x = jnp.array([0.0, jnp.inf, -1.0])
        np.testing.assert_array_equal(_slope(_slope(lax.igamma, 0), 0)(jnp.full(3, 2.0), x), [0, 0, np.nan])
        x = jnp.array([0.0, 1.0, 1.5])
        for i in (0, 1):
            np.testing.assert_array_equal(_slope(lax.betainc, i)(jnp.full(3, 2.0), jnp.full(3, 3.0), x), [0, 0, np.nan])


def test_polygamma_has_no_derivative_in_its_order() -> None:
    m, x = jnp.array([1.0, 2.0]), jnp.array([0.7, 1.3])
    with pytest.raises(fdl.rules.RuleError, match="no derivative in its order"):
        fdl.vjp(lax.polygamma, m, x)[1](x)
    with pytest.raises(JAX_REFUSES):
        jax.vjp(lax.polygamma, m, x)[1](x)
