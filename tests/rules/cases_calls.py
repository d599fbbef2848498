"""Cases for primitives that carry programs: calls, loops, branches."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tests.rules.contract import Case, case, normal

__all__ = ["CASES"]

W, X = 0.5 * normal(3, 4), normal(5, 3)


@jax.custom_jvp
def cubed(x: Any) -> Any:
    return x**3


cubed.defjvp(lambda p, t: (cubed(p[0]), 3 * p[0] ** 2 * t[0]))


@jax.custom_vjp
def scaled(x: Any, y: Any) -> Any:
    return jnp.sin(x) * y


scaled.defvjp(lambda x, y: (jnp.sin(x) * y, (x, y)), lambda r, c: (c * jnp.cos(r[0]) * r[1], c * jnp.sin(r[0])))


def loop(w: Any, xs: Any) -> Any:
    return lax.scan(lambda c, x: (jnp.tanh(c + x @ w), c * 2), jnp.zeros(4), xs)


def guarded(x: Any) -> Any:
    n, y = lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1]), (0, x))
    del y
    return jnp.sin(x) * n


CASES: list[Case] = [
    case("jit", lambda w, x: jax.jit(lambda a, b: (jnp.sin(a @ b), b * 2))(x, w), W, X),
    case("custom_jvp_call", cubed, X),
    case("custom_vjp_call", scaled, X, 2 * X),
    case("remat2", jax.checkpoint(lambda w, x: jnp.sin(jnp.sin(x @ w) ** 2)), W, X),
    case("scan", loop, W, X),
    case("scan", lambda w, x: lax.scan(lambda c, x: (c, x @ w), None, x, reverse=True)[1], W, X, label="no carry"),
    case("scan", lambda w: lax.scan(lambda c, _: (jnp.sin(c), None), w, None, length=3)[0], W, label="no slices"),
    case("cond", lambda w, x: lax.cond(jnp.sum(x) > 0, lambda a: jnp.sin(a @ w), lambda a: (a @ w) ** 2, x), W, X),
    case("while", guarded, X),
]
