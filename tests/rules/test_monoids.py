"""Where the derivative of a reduction by a program is wrong in JAX: monoids that do not commute, starts that count."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl
from tests.oracles import normal


def _compose(f: Any, g: Any) -> Any:
    """x ↦ a x + b, then another: associative, but the order counts."""
    (a, b), (c, d) = f, g
    return a * c, b * c + d


@pytest.mark.parametrize("length", [4, 7])
def test_a_monoid_that_does_not_commute(length: int) -> None:
    """JAX folds halves onto each other; ours combines neighbours, and its gradients are those of the loop."""
    a, b = normal(3, length), normal(3, length, seed=1)

    def reduced(a: Any, b: Any) -> Any:
        return lax.reduce((a, b), (np.float64(1), np.float64(0)), _compose, (1,))

    def loop(a: Any, b: Any) -> Any:
        total = (jnp.ones(3), jnp.zeros(3))
        for i in range(length):
            total = _compose(total, (a[:, i], b[:, i]))
        return total

    with jax.enable_x64(True):
        y, pullback = fdl.vjp(reduced, a, b)
        due, due_pullback = jax.vjp(loop, a, b)
        np.testing.assert_allclose(y, due, rtol=1e-12)
        np.testing.assert_allclose(pullback(due), due_pullback(due), rtol=1e-12)
        assert not np.allclose(jax.vjp(reduced, a, b)[1](due)[1], due_pullback(due)[1])  # once JAX is right, say so


def test_a_start_that_is_not_the_identity() -> None:
    """3 · Πx: on the CPU the start counts once; JAX's derivative leaves it out."""
    x = normal(2, 4)

    def product(x: Any) -> Any:
        return lax.reduce(x, np.float64(3), lambda a, b: a * b, (1,))

    with jax.enable_x64(True):
        fdl.check_vjp(product, (x,))
        ours, theirs = (vjp(product, x)[1](jnp.ones(2))[0] for vjp in (fdl.vjp, jax.vjp))
        np.testing.assert_allclose(ours, 3 * theirs, rtol=1e-12)
