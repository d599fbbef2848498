"""Cotangents of a loop's constants: contracted from several iterations at once where that is cheaper, and the same."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl
from tests.oracles import normal

WIDTH = 24


def rnn(w: Any, b: Any, x: Any) -> Any:
    step = lambda h, x: (jnp.tanh(h @ w + x + b), None)
    return jnp.sum(lax.scan(step, jnp.zeros_like(x[0]), x)[0] ** 2)


def backwards(w: Any, b: Any, x: Any) -> Any:
    step = lambda h, x: (jnp.tanh(x @ w + h * b), jnp.sin(h))
    h, ys = lax.scan(step, jnp.zeros_like(x[0]), x, reverse=True)
    return jnp.sum(h) + jnp.sum(ys**2)


def twice(w: Any, b: Any, x: Any) -> Any:
    """Weights that are used twice, once transposed: their cotangents add up in the loop."""
    step = lambda h, x: (jnp.tanh(jnp.sin(h @ w) @ w.T + x * b), None)
    return jnp.sum(lax.scan(step, jnp.zeros_like(x[0]), x)[0] ** 2)


def batched(w: Any, b: Any, x: Any) -> Any:
    """A product with a batch axis."""
    step = lambda h, x: (jnp.tanh(jnp.einsum("bi,bij->bj", h, jnp.broadcast_to(w, (3, WIDTH, WIDTH))) + x * b), h)
    h, ys = lax.scan(step, jnp.ones_like(x[0]), x)
    return jnp.sum(h * ys[2])


def partly(w: Any, b: Any, x: Any) -> Any:
    """Of which one factor is the same in all iterations."""
    step = lambda h, x: (jnp.tanh(h + jnp.sin(b) @ w + x), None)
    return jnp.sum(lax.scan(step, jnp.zeros_like(x[0]), x)[0] ** 2)


def shown(w: Any, b: Any, x: Any) -> Any:
    """Weights whose product is the same in all iterations: their cotangent is a product with a constant."""
    step = lambda h, x: (jnp.tanh(h + x * jnp.sum(w @ w)), None)
    return jnp.sum(lax.scan(step, jnp.zeros_like(x[0]), x)[0] ** 2) + jnp.sum(b)


PROGRAMS = [shown, rnn, backwards, twice, batched, partly]
W, B = 0.3 * normal(WIDTH, WIDTH), normal(1, WIDTH)


def products(fun: Any, *args: Any) -> list[int]:
    """How many contractions there are at each depth of loops."""
    found: list[int] = []

    def walk(jaxpr: Any, depth: int) -> None:
        found.extend([0] * (depth + 1 - len(found)))
        for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
            found[depth] += eqn.primitive.name == "dot_general"
            for inner in jax.extend.core.jaxprs_in_params(eqn.params):
                walk(inner, depth + (eqn.primitive.name == "scan"))

    walk(jax.make_jaxpr(fun)(*args), 0)
    return found


@pytest.mark.parametrize("length", [1, 2, 12, 67, 96])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_same(program: Any, length: int) -> None:
    if program is batched and length < 3:
        length = 3
    x = normal(length, 3, WIDTH)
    due = jax.jit(jax.grad(program, (0, 1, 2)))(W, B, x)
    for found, exact in zip(jax.jit(fdl.grad(program, (0, 1, 2)))(W, B, x), due, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-9 * float(np.max(np.abs(exact))))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_same_at_second_order(program: Any) -> None:
    x = normal(12, 3, WIDTH)
    bent = lambda grad: jax.jit(grad(lambda w: jnp.sum(jnp.sin(grad(program)(w, B, x)))))(W)
    np.testing.assert_allclose(bent(fdl.grad), bent(jax.grad), rtol=1e-8, atol=1e-9)


def test_where_it_is_cheaper() -> None:
    """Three rows are smaller than the weights: contracted from many steps.  Thousands are not: in each."""
    few, many = normal(96, 3, WIDTH), jax.ShapeDtypeStruct((96, 512, WIDTH), jnp.float64)
    # Loops over chunks and over their steps: the product is one a chunk, beside that for the carry in each step.
    assert products(fdl.grad(rnn), W, B, few) == [0, 2, 1]
    assert products(fdl.grad(rnn), W, B, many) == [0, 3]
    assert products(fdl.grad(rnn), W, B, normal(8, 3, WIDTH))[:2] == [1, 2]  # few steps: once, after the loop
