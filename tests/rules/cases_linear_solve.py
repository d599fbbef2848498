"""Cases for linear solves with implicit derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from tests.oracles import complex_normal, normal
from tests.rules.contract import Case, case

__all__ = ["CASES"]

A, B = normal(3, 3), normal(3)


def relaxed(matvec: Any, b: Any) -> Any:
    """Jacobi's iteration for a matrix near 8: x ← x + (b − A x) / 8; not differentiable, being a while loop."""

    def step(x: Any) -> Any:
        return jax.tree.map(lambda y, c, r: y + (c - r) / 8, x, b, matvec(x))

    start = jax.tree.map(jnp.zeros_like, b)
    return lax.while_loop(lambda s: s[0] < 200, lambda s: (s[0] + 1, step(s[1])), (0, start))[1]


def shifted(a: Any, b: Any) -> Any:
    """A matvec linear in x and not in a, with a constant used twice."""
    return lax.custom_linear_solve(lambda x: 8 * x + jnp.sin(a) @ x + a * a[0, 0] @ x, b, relaxed, relaxed)


def counted(a: Any, b: Any) -> Any:
    """A symmetric system, and a solver that also says its steps and the sign of b's sum (aux has no cotangent)."""
    x, (steps, sign) = lax.custom_linear_solve(
        lambda x: 8 * x + a @ (a.T @ x) / 4,
        b,
        lambda matvec, b: (relaxed(matvec, b), (jnp.int32(3), jnp.sign(jnp.sum(b)))),
        symmetric=True,
        has_aux=True,
    )
    return jnp.sin(x) * steps, x * sign


def coupled(a: Any, b: Any, c: Any) -> Any:
    """A pytree of unknowns, of which one cotangent alone arrives."""

    def matvec(x: Any) -> Any:
        return {"p": 8 * x["p"] + a @ x["q"], "q": 8 * x["q"] - jnp.cos(a) @ x["p"]}

    x = lax.custom_linear_solve(matvec, {"p": b, "q": c}, relaxed, relaxed)
    return x["q"] ** 2


CASES: list[Case] = [
    case("custom_linear_solve", shifted, A, B),
    case("custom_linear_solve", shifted, complex_normal(3, 3), complex_normal(3), label="complex"),
    case("custom_linear_solve", counted, normal(3, 2), B, label="aux and symmetric"),
    case("custom_linear_solve", coupled, A, B, normal(3, seed=1), label="pytree"),
    case("custom_linear_solve", lambda b: shifted(A, b), B, label="constant matrix"),
    case("custom_linear_solve", lambda a: shifted(a, B), A, label="constant right-hand side"),
]
