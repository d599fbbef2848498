"""Small problems to tune: one whose parameters record exactly what a member saw, and one with something to learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functional_dl import optim
from functional_dl.training.step import Training
from functional_dl.tuning.population import Member
from functional_dl.tuning.problem import Parts, Prepared, Problem, Recipe

EXAMPLES, BATCH, STEPS = 23, 4, 40
RATES = [0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.02, 0.05, 0.5]


def recipe_of(params: Any, loss: Any, optimizer: optim.Optimizer, evaluate: Any) -> Recipe:
    def start(seed: Any) -> Training:
        key = jax.random.key(seed)
        return Training(optimizer.init(params(key)), {}, jax.random.fold_in(key, 2**31), jnp.int32(0))

    return Recipe(start, loss, lambda p, s, *portion: (evaluate(p, *portion), {}), optimizer)


def record() -> Problem:
    """SGD with momentum ½ at rate 1 on Σ w[examples] + noise · drawn: every number in the state is a dyadic fraction.

    So the parameters say, exactly, which examples and which random numbers came at which step.
    """
    rows = np.arange(EXAMPLES, dtype=np.int32)
    parts = Parts((rows,), (rows[:3],), (rows[:5],))

    def loss(params: Any, state: Any, key: Any, rows: Any) -> Any:
        drawn = jax.random.randint(key, (), 0, 64).astype(jnp.float32)
        return jnp.sum(params["seen"][rows]) + params["noise"] * drawn, (state, {})

    def recipe(numbers: Mapping[str, Any]) -> Recipe:
        return recipe_of(
            lambda key: {"seen": jnp.zeros(EXAMPLES), "noise": jnp.zeros(())}, loss,
            optim.sgd(numbers["rate"], 0.5), lambda p, rows: jnp.sum(p["seen"][rows]),
        )  # fmt: skip

    return Problem(
        lambda settled: Prepared(recipe, parts, BATCH, STEPS), STEPS, lambda m: m["loss"], ("loss", False),
        lambda key: False,
    )  # fmt: skip


def curve(widths: Mapping[int, int] | None = None) -> Problem:
    """A small network on a curve; its width is settled, its rate a number.  ``widths``: steps by width."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-2, 2, (90, 2)).astype(np.float32)
    y = np.sin(x[:, 0]) * x[:, 1]
    parts = Parts((x[:60], y[:60]), (x[60:75], y[60:75]), (x[75:], y[75:]))

    def value(params: Any, x: Any, y: Any) -> Any:
        return jnp.mean(jnp.square(jnp.tanh(x @ params["in"]) @ params["out"] - y))

    def loss(params: Any, state: Any, key: Any, x: Any, y: Any) -> Any:
        return value(params, x, y), (state, {})

    def prepare(settled: Mapping[str, Any]) -> Prepared:
        width = settled.get("width", 5)

        def recipe(numbers: Mapping[str, Any]) -> Recipe:
            return recipe_of(
                lambda key: {"in": jax.random.normal(key, (2, width)), "out": jnp.ones(width) / width}, loss,
                optim.adam(numbers["rate"]), value,
            )  # fmt: skip

        return Prepared(recipe, parts, 8, STEPS if widths is None else widths[width])

    return Problem(prepare, STEPS, lambda m: m["loss"], ("loss", False), lambda key: key == "width")


def member(i: int) -> Member:
    """Members with a rate each."""
    return Member({"rate": RATES[i % len(RATES)]}, 100 + i)
