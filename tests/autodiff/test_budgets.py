"""Budgets: the same gradients in fewer bytes, by the plan's own count and by the compiler's."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import functional_dl as fdl
from functional_dl.autodiff.budget import Plans
from functional_dl.autodiff.halves import Differentiation
from functional_dl.autodiff.tracing import Flat, trace_function
from functional_dl.planner.levels import AUTO, Level
from tests.oracles import normal

WEIGHTS = 0.2 * normal(6, 12, 12)
X = normal(64, 12)


def layered(ws: Any, x: Any) -> Any:
    """Blocks in a Python loop."""
    for i in range(ws.shape[0]):
        x = x + jnp.tanh(jax.nn.gelu(x @ ws[i]) @ ws[i].T)
    return jnp.sum(x**2)


def looped(ws: Any, x: Any) -> Any:
    """The same blocks in a scan over weights."""
    return jnp.sum(lax.scan(lambda x, w: (x + jnp.tanh(jax.nn.gelu(x @ w) @ w.T), None), x, ws)[0] ** 2)


def recurrent(ws: Any, x: Any) -> Any:
    """A long loop with constants, a carry of two parts, slices and stacked outputs."""

    def cell(carry: Any, x: Any) -> Any:
        h, c = carry
        c = jnp.tanh(x @ ws[0] + h @ ws[1]) * 0.5 + c * jax.nn.sigmoid(x @ ws[2])
        return (jnp.sin(c), c), jnp.cos(c) * h

    (h, c), ys = lax.scan(cell, (jnp.zeros_like(x[0]), jnp.ones_like(x[0])), x)
    return jnp.sum(ys**2) + jnp.sum(h * c)


def backwards(ws: Any, x: Any) -> Any:
    """A loop from the end."""
    step = lambda h, x: (jnp.tanh(h @ ws[0] + x), h * x)
    h, ys = lax.scan(step, jnp.zeros(12), x, reverse=True)
    return jnp.sum(h**2) + jnp.sum(jnp.sin(ys))


def skipping(ws: Any, x: Any) -> Any:
    """Values that are read again far away."""
    skips = []
    for i in range(3):
        x = jnp.tanh(x @ ws[i])
        skips.append(x)
    for i in range(3):
        x = jnp.sin(x @ ws[3 + i]) + skips.pop() * x
    return jnp.sum(x)


def jitted(ws: Any, x: Any) -> Any:
    """Blocks behind jit."""
    block = jax.jit(lambda x, w: x + jnp.tanh(jax.nn.softmax(x @ w) @ w.T))
    for i in range(ws.shape[0]):
        x = block(x, ws[i])
    return jnp.sum(x**2)


def branching(ws: Any, x: Any) -> Any:
    """Branches and a loop in a loop."""

    def outer(x: Any, w: Any) -> Any:
        x = lax.fori_loop(0, 4, lambda _, x: jnp.tanh(x @ w) + x, x)
        return lax.cond(jnp.sum(x) > 0, lambda x: jnp.sin(x @ w), lambda x: x * 2, x), jnp.sum(x)

    x, sums = lax.scan(outer, x, ws)
    return jnp.sum(x**2) + jnp.sum(sums)


def dropping(ws: Any, x: Any) -> Any:
    """Random numbers, which must be the same when they are made again."""
    key = jax.random.key(0)
    for i in range(ws.shape[0]):
        key, own = jax.random.split(key)
        x = jnp.where(jax.random.bernoulli(own, 0.5, x.shape), jnp.tanh(x @ ws[i]), x)
    return jnp.sum(x**2)


@jax.custom_vjp
def bent(x: Any) -> Any:
    """A rule of the user's, whose gradient is not the true one."""
    return jnp.sin(x)


bent.defvjp(lambda x: (jnp.sin(x), x), lambda x, ct: (3 * ct * jnp.cos(x),))


def custom(ws: Any, x: Any) -> Any:
    """Rules of the user's in a loop."""
    return jnp.sum(lax.scan(lambda x, w: (bent(x @ w) + x, None), x, ws)[0] ** 2)


def checkpointed(ws: Any, x: Any) -> Any:
    """Checkpoints of the user's, with and without a policy."""
    named = lambda x, w: x + jnp.sin(checkpoint_name(jnp.tanh(x @ w), "kept") @ w.T)
    policy = jax.checkpoint_policies.save_only_these_names("kept")
    for i in range(ws.shape[0]):
        x = jax.checkpoint(named, policy=policy if i % 2 else None)(jnp.exp(-jnp.abs(x)), ws[i])
    return jnp.sum(x**2)


PROGRAMS: list[Callable[..., Any]] = [
    layered, looped, recurrent, backwards, skipping, jitted, branching, dropping, custom, checkpointed,
]  # fmt: skip


def plans_of(program: Callable[..., Any]) -> Plans:
    differentiate = Differentiation.by(None, "least")
    flat = Flat(program, jax.tree.structure((0, 0)), False)
    graph = trace_function(flat, (WEIGHTS, X), differentiate)
    return Plans(graph, [True, True], [True], differentiate)


def assert_close(found: Any, due: Any, rtol: float = 1e-10) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(due), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * float(np.max(np.abs(b))))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_same_gradients_in_any_number_of_bytes(program: Any) -> None:
    due = jax.jit(jax.value_and_grad(program, (0, 1)))(WEIGHTS, X)
    plans = plans_of(program)
    low, high = plans.least.memory.peak, plans.auto.memory.peak
    for memory in ("least", low, (low + high) // 2, high):
        assert_close(jax.jit(fdl.value_and_grad(program, (0, 1), memory=memory))(WEIGHTS, X), due)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_more_bytes_never_cost_more(program: Any) -> None:
    plans = plans_of(program)
    low, high = plans.least.memory.peak, plans.auto.memory.peak
    found = [plans.within(budget) for budget in np.linspace(low, high, 12).astype(int).tolist()]
    costs = [plan.repeated for plan in found]
    assert costs == sorted(costs, reverse=True) and costs[-1] == 0
    for budget, plan in zip(np.linspace(low, high, 12).astype(int).tolist(), found, strict=True):
        assert plan.memory.peak <= budget


@pytest.mark.parametrize("program", [layered, recurrent, branching], ids=lambda p: p.__name__)
def test_second_order(program: Any) -> None:
    bent = lambda grad: jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(grad(program)(w, X)))))(WEIGHTS)
    least = lambda f: fdl.grad(f, memory="least")
    due = bent(jax.grad)
    assert_close(bent(least), due, 1e-8)
    assert_close(jax.jit(least(lambda w: jnp.sum(jnp.sin(least(program)(w, X)))))(WEIGHTS), due, 1e-8)


@pytest.mark.parametrize("memory", ["least", 90_000])
def test_outside_jit(memory: Any) -> None:
    assert_close(fdl.grad(layered, memory=memory)(WEIGHTS, X), jax.grad(layered)(WEIGHTS, X))
    value, pullback = fdl.vjp(layered, WEIGHTS, X, memory=memory)
    assert_close((value, pullback(1.0)), (layered(WEIGHTS, X), jax.grad(layered, (0, 1))(WEIGHTS, X)))


def test_under_other_transforms() -> None:
    least = fdl.grad(layered, memory="least")
    many = jnp.stack([X, 2 * X, -X])
    assert_close(jax.vmap(least, (None, 0))(WEIGHTS, many), jax.vmap(jax.grad(layered), (None, 0))(WEIGHTS, many))
    assert_close(jax.jit(jax.jacrev(least))(WEIGHTS[:2], X[:4]), jax.hessian(layered)(WEIGHTS[:2], X[:4]), 1e-8)
    assert_close(fdl.hessian(layered, memory="least")(WEIGHTS[:2], X[:4]), jax.hessian(layered)(WEIGHTS[:2], X[:4]))


def test_what_cannot_be_met() -> None:
    with pytest.raises(fdl.BudgetError, match=r"budget of 1\.0 KiB cannot be met.*smallest reachable peak.*KiB"):
        jax.jit(fdl.grad(layered, memory=1024))(WEIGHTS, X)
    with pytest.raises(ValueError, match="positive number of bytes.*-3"):
        fdl.grad(layered, memory=-3)


# --- loops in chunks ------------------------------------------------------------------------------------------------

LEVELS = {
    "whole": Level(inf),
    "rate": Level(8.0),
    "divides": Level(0.0, 8, AUTO),
    "is left over": Level(0.0, 7, AUTO),
    "nothing kept inside": Level(0.0, 16, Level(1e9)),
    "twice": Level(0.0, 16, Level(0.0, 4, AUTO)),
    "thrice, with rests": Level(0.0, 27, Level(0.0, 10, Level(0.0, 3, AUTO))),
}


def at(program: Callable[..., Any], level: Level) -> Any:
    """The value and gradient, with inner programs planned at ``level``."""
    differentiate = Differentiation.by(None).at(level)
    closed = jax.make_jaxpr(program)(WEIGHTS, X)
    inner = differentiate(closed, (True, True), (True,))

    def run(*args: Any) -> Any:
        ahead = jax.extend.core.jaxpr_as_fun(inner.forward)(*args)
        residuals = inner.residuals(args, ahead[:1], ahead[1:])
        return ahead[0], tuple(jax.extend.core.jaxpr_as_fun(inner.backward)(*residuals, 1.0))

    return run


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("program", [recurrent, backwards, branching], ids=lambda p: p.__name__)
def test_levels(program: Any, level: str) -> None:
    due = jax.jit(jax.value_and_grad(program, (0, 1)))(WEIGHTS, X)
    assert_close(jax.jit(at(program, LEVELS[level]))(WEIGHTS, X), due)


def folded(ws: Any, x: Any) -> Any:
    """A long loop that returns its last state alone."""
    step = lambda h, x: (jnp.tanh(x @ ws[0] + jnp.sin(h @ ws[1])) + 0.5 * h, None)
    return jnp.sum(lax.scan(step, jnp.zeros_like(x[0]), x)[0] ** 2)


def temporary_bytes(fun: Any, *args: Any) -> int:
    return jax.jit(fun).lower(*args).compile().memory_analysis().temp_size_in_bytes


def test_long_loops_take_little() -> None:
    """Chunks of chunks: a loop of 4096 steps in a fiftieth of the bytes, compiled."""
    x = normal(4096, 8, 12)
    found = temporary_bytes(fdl.grad(folded, memory="least"), WEIGHTS, x)
    due = temporary_bytes(jax.grad(folded), WEIGHTS, x)
    assert found <= 0.02 * due, (found, due)


def test_fit_memory() -> None:
    x = normal(512, 8, 12)
    most = temporary_bytes(fdl.value_and_grad(folded), WEIGHTS, x)
    for share in (0.5, 0.2, 0.1):
        found = fdl.fit_memory(folded, WEIGHTS, x, peak_bytes=int(share * most))
        assert found.within and found.temp_bytes <= share * most and "within" in str(found)
        assert_close(found.compiled(WEIGHTS, x), jax.value_and_grad(folded)(WEIGHTS, x))
    never = fdl.fit_memory(folded, WEIGHTS, x, peak_bytes=1000)
    assert not never.within and never.memory == "least" and "MORE THAN" in str(never)
    with pytest.raises(ValueError, match="positive"):
        fdl.fit_memory(folded, WEIGHTS, x, peak_bytes=0)
