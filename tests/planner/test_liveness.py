"""Liveness: what small programs take, by hand, and what larger ones take once compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import functional_dl as fdl
from functional_dl.jaxprs import open_jaxpr
from functional_dl.planner.liveness import Profile, profile
from tests.oracles import normal

A, B, C = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((8, 16), (16, 32), (32, 4)))
STEPS = jax.ShapeDtypeStruct((10, 8, 16), jnp.float32)
AB, ABC = 4 * 8 * 32, 4 * 8 * 4  # bytes of a @ b and of a @ b @ c


def of(fun: Any, *args: Any) -> Profile:
    graph = open_jaxpr(jax.make_jaxpr(fun)(*args))
    return profile(graph.eqns, {*graph.inputs, *graph.constvars}, graph.outputs)


def running(step: Any) -> Any:
    return lambda x, w: lax.scan(lambda c, x: step(c, x, w), jnp.zeros((8, 16), jnp.float32), x)[0]


# What is counted: name → (program, its arguments, bytes at the peak).
CASES: dict[str, tuple[Any, tuple[Any, ...], int]] = {
    "inputs and outputs are not": (lambda a, b: a @ b, (A, B), 0),
    "a product read by another": (lambda a, b, c: (a @ b) @ c, (A, B, C), AB),
    "a chain of elementwise operations is computed where it is read": (
        lambda a, b: jnp.sum(jnp.tanh(jnp.exp(a @ b) * 2)),
        (A, B),
        AB,
    ),
    "what a contraction reads is stored, over what it is made of": (
        lambda a, b, c: jnp.exp(a @ b) @ c,
        (A, B, C),
        AB,
    ),
    "what is read twice is stored": (lambda a, b, c: (lambda y: (y @ c, y * 2))(jnp.exp(a @ b)), (A, B, C), AB),
    "what is still read is not overwritten": (
        lambda a, b, c: (lambda y: jnp.sum(jnp.exp(y) @ c) + jnp.sum(y))(a @ b),
        (A, B, C),
        2 * AB + ABC,
    ),
    "broadcasts are made where they are read": (lambda a, b: jnp.sum((a @ b) * jnp.ones((8, 32))), (A, B), AB),
    "a view takes nothing": (lambda a, b, c: jnp.reshape(a @ b, (4, 2, 32)) @ c, (A, B, C), AB),
    "an output's memory serves others before": (
        lambda a, b: (lambda y: jnp.sin(jnp.transpose(y @ (y.T @ y))))(a @ b),
        (A, B),
        AB + 4 * 32 * 32,
    ),
    "a loop's stacked outputs, and what it carries": (
        lambda x: jnp.sum(
            lax.scan(lambda c, x: (lambda y: (c + x, y))(jnp.sin(c)), jnp.zeros((8, 16), jnp.float32), x)[1]
        ),
        (STEPS,),
        4 * 11 * 8 * 16,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_peak(name: str) -> None:
    fun, args, due = CASES[name]
    found = of(fun, *args)
    # A scalar or two is of no account.
    assert abs(found.peak - due) <= 64, (found.peak, due, found.spans)
    assert len(found.live) == len(jax.make_jaxpr(fun)(*args).eqns) and max(found.live, default=0) == found.peak


def test_inside_of_a_loop() -> None:
    """Slices that a contraction reads are cut out; a carry that is made while the last is read is another."""
    square = jax.ShapeDtypeStruct((16, 16), jnp.float32)
    one = 4 * 8 * 16
    read_last = of(running(lambda c, x, w: (jnp.tanh(x @ w) + c, None)), STEPS, square)
    assert read_last.peak == 2 * one  # the slice and its product
    read_on = of(running(lambda c, x, w: (lambda y: (y, jnp.sum(c @ w)))((c + x) @ w)), STEPS, square)
    assert abs(read_on.peak - 2 * one) <= 64  # the new carry beside the last, and the second product


def test_nothing_to_run() -> None:
    assert profile([], [], []).peak == 0


# --- against the compiler -------------------------------------------------------------------------------------------


def attention(ws: Any, x: Any) -> Any:
    def block(x: Any, w: Any) -> Any:
        scores = jax.nn.softmax((x @ w) @ jnp.swapaxes(x, -1, -2))
        return x + jnp.tanh(scores @ x @ w), None

    return jnp.sum(lax.scan(block, x, ws)[0] ** 2)


def recurrent(ws: Any, x: Any) -> Any:
    step = lambda h, x: (jnp.tanh(h @ ws[0] + x @ ws[1]) * jax.nn.sigmoid(x @ ws[2]), None)
    return jnp.sum(lax.scan(step, jnp.zeros_like(x[0]), x)[0] ** 2)


WS = jnp.asarray(0.1 * normal(6, 64, 64), jnp.float32)
MEASURED = {
    "attention": (attention, jnp.asarray(normal(16, 128, 64), jnp.float32)),
    "recurrent": (recurrent, jnp.asarray(normal(256, 32, 64), jnp.float32)),
}


@pytest.mark.parametrize("memory", ["jax", "keep", "auto"])
@pytest.mark.parametrize("name", MEASURED)
def test_what_is_compiled(name: str, memory: str) -> None:
    fun, x = MEASURED[name]
    slope = jax.value_and_grad(fun) if memory == "jax" else fdl.value_and_grad(fun, memory=memory)
    due = jax.jit(slope).lower(WS, x).compile().memory_analysis().temp_size_in_bytes
    found = of(slope, WS, x).peak
    assert abs(found / due - 1) <= 0.15, (found, due)
