"""What is kept between forward and backward: only what rules read, and in loops only what must be stacked."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

import functional_dl as fdl


def kept(fun: Any, *args: Any) -> list[tuple[int, ...]]:
    _, pullback = fdl.vjp(fun, *args)
    return sorted(x.shape for x in jax.tree.leaves(pullback))


def test_rules_keep_what_they_read() -> None:
    x = jnp.ones((2, 3))
    assert kept(lambda x: x + x, x) == []
    assert kept(jnp.exp, x) == [(2, 3)]
    assert len(kept(lambda x, y: x * y, x, 2 * x)) == 2
    # Only the other factor of the one that wants a cotangent.
    assert kept(lambda x: x * jnp.ones((2, 1)), x) == [(2, 1)] or len(kept(lambda x: x * 3.0, x)) == 0


def test_scan_stacks_no_loop_constants() -> None:
    w, xs = jnp.ones((3, 3)), jnp.ones((7, 3))

    def fun(w: Any, xs: Any) -> Any:
        return lax.scan(lambda c, x: (jnp.tanh(c @ (2 * w)) + x, None), jnp.zeros(3), xs)[0]

    shapes = kept(fun, w, xs)
    assert (7, 3, 3) not in shapes
    assert shapes.count((3, 3)) == 1  # 2 w, made once before the loop


def test_remat_keeps_its_inputs_only() -> None:
    x = jnp.ones((2, 3))
    assert kept(jax.checkpoint(lambda x: jnp.sin(jnp.sin(jnp.sin(x)))), x) == [(2, 3)]
    assert len(kept(lambda x: jnp.sin(jnp.sin(jnp.sin(x))), x)) == 3


def test_equations_are_no_more_than_jax() -> None:
    def mlp(ws: Any, x: Any) -> Any:
        for w in ws:
            x = jnp.tanh(x @ w)
        return jnp.sum(x**2)

    args = [jnp.ones((3, 3))] * 4, jnp.ones((5, 3))
    ours = len(jax.make_jaxpr(fdl.value_and_grad(mlp, memory="keep"))(*args).jaxpr.eqns)
    theirs = len(jax.make_jaxpr(jax.value_and_grad(mlp))(*args).jaxpr.eqns)
    assert ours <= theirs
