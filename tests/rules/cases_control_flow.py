"""Cases for loops and branches."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from tests.oracles import normal
from tests.rules.contract import Case, case

__all__ = ["CASES"]

W, X = 0.5 * normal(3, 4), normal(5, 3)


def loop(w: Any, xs: Any) -> Any:
    return lax.scan(lambda c, x: (jnp.tanh(c + x @ w), c * 2), jnp.zeros(4), xs)


def rotating(x: Any) -> Any:
    """A carry whose parts change places, an integer among them, and a stack of integers beside that of floats."""

    def step(carry: Any, row: Any) -> Any:
        a, b, n = carry
        return (row * jnp.sin(b), a * n, n + 1), (n, b**2, 2.0)

    return lax.scan(step, (x[0], x[1], 1), x, reverse=True, unroll=2)


def guarded(x: Any) -> Any:
    n, y = lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1]), (0, x))
    del y
    return jnp.sin(x) * n


def counting(x: Any) -> Any:
    """A carried number that depends on ``x`` by its ceiling and, one turn later, by another's rounding."""
    _, a, b = lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + jnp.ceil(x), c[1] + jnp.round(c[2])), (0, 0 * X, 0 * X)
    )
    return jnp.sin(x) * a * b


def switched(x: Any) -> Any:
    """Four branches: with a constant, with an unused operand, with residuals of its own, and with none."""
    branches = [
        lambda a, b: (jnp.ones_like(a), a),
        lambda a, b: (a, a * b),
        lambda a, b: (jnp.sin(a) * jnp.cos(a), jnp.exp(a @ b.T) @ b),
        lambda a, b: (a, b),
    ]
    return [lax.switch(i, branches, x, 2 * x) for i in (jnp.int32(-1), jnp.argmax(x[0]) * 0 + 2)]


CASES: list[Case] = [
    case("scan", loop, W, X),
    case("scan", lambda w, x: lax.scan(lambda c, x: (c, x @ w), None, x, reverse=True)[1], W, X, label="no carry"),
    case("scan", lambda w: lax.scan(lambda c, _: (jnp.sin(c), None), w, None, length=3)[0], W, label="no slices"),
    case("scan", rotating, X, label="rotating"),
    case("scan", lambda x: lax.scan(lambda c, r: (c * 2, jnp.sin(r)), x[0], x[:0]), X, label="no steps"),
    case("scan", lambda x: lax.map(lambda r: jnp.sin(r) * x[0, 0], x, batch_size=2), X, label="map in batches"),
    case("cond", lambda w, x: lax.cond(jnp.sum(x) > 0, lambda a: jnp.sin(a @ w), lambda a: (a @ w) ** 2, x), W, X),
    case("cond", switched, X / 2, label="switch"),
    case("cond", lambda x: lax.platform_dependent(x, cpu=jnp.sin, default=jnp.cos), X, label="platform"),
    case("while", guarded, X),
    case("while", counting, X, label="counting"),
]
