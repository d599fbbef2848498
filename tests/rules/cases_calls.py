"""Cases for primitives that call a program, and for rules that come with one."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_batching import custom_vmap
from jax.custom_derivatives import linear_call
from jax.experimental.pallas import run_state
from jax.extend.core import primitives

from tests.oracles import normal, uniform
from tests.rules.contract import Case, case

__all__ = ["CASES", "KINKS"]

W, X = 0.5 * normal(3, 4), normal(5, 3)
VERSION = jax.__version_info__


@jax.custom_jvp
def cubed(x: Any) -> Any:
    return x**3


cubed.defjvp(lambda p, t: (cubed(p[0]), 3 * p[0] ** 2 * t[0]))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def applied(f: Any, x: Any, n: Any) -> Any:
    """Half the derivative that it should have, with a static argument, an integer one and a tree of outputs."""
    return f(x), {"scaled": x * n, "count": jnp.int32(n)}


@applied.defjvp
def applied_jvp(f: Any, primals: Any, tangents: Any) -> Any:
    x, n = primals
    slope = jax.jit(lambda t: lax.fori_loop(0, 2, lambda i, c: c * jnp.cos(x), t))(tangents[0])
    return applied(f, x, n), (slope, {"scaled": n * tangents[0] / 2, "count": np.zeros((), jax.dtypes.float0)})


@jax.custom_vjp
def scaled(x: Any, y: Any) -> Any:
    return jnp.sin(x) * y


scaled.defvjp(lambda x, y: (jnp.sin(x) * y, (x, y)), lambda r, c: (c * jnp.cos(r[0]) * r[1], c * jnp.sin(r[0])))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def weighted(f: Any, tree: Any, n: Any) -> Any:
    """Half the derivative that it should have, with a static argument, trees that hold None, and an integer."""
    return f(tree["x"]) * tree["w"][0] * n


weighted.defvjp(
    lambda f, tree, n: (weighted(f, tree, n), (tree["x"], tree["w"][0], n)),
    lambda f, r, c: ({"x": c * r[1] * r[2] / 2, "w": (c * f(r[0]), None), "none": None}, None),
)


@jax.custom_vjp
def kernel(x: Any) -> Any:
    return jnp.sin(x) ** 2


kernel.defvjp(lambda x: (kernel(x), (x, jnp.sin(x))), lambda r, c: (2 * c * r[1] * jnp.cos(r[0]),), optimize_remat=True)


@jax.custom_gradient
def product(x: Any, y: Any) -> Any:
    return x * y, lambda c: (c * y, jnp.sum(c * x, 0, keepdims=True))


@custom_vmap
def spread(x: Any, y: Any) -> Any:
    return jnp.sin(x) * y


spread.def_vmap(lambda n, batched, x, y: (jnp.sin(x) * y, True))


def stretched(r: Any, x: Any) -> Any:
    """A map of two unknowns that is linear in them."""

    def onward(r: Any, t: Any) -> Any:
        return [t[0] * r, t[0] + t[1]]

    def back(r: Any, c: Any) -> Any:
        return [c[0] * r + c[1], jnp.sum(c[1], 0, keepdims=True)]

    return linear_call(onward, back, jnp.sin(r), x)


def through(primitive: Any, f: Any) -> Any:
    """``f`` through one of JAX's inner call primitives."""

    def run(*args: Any) -> Any:
        closed = jax.make_jaxpr(f)(*args)
        program = closed.jaxpr if primitive.name == "call" else closed
        return primitive.bind(*args, **primitive.get_bind_params({"call_jaxpr": program}))

    return run


def waves(x: Any) -> Any:
    return jnp.sin(x) * x[:1]


def named(w: Any, x: Any) -> Any:
    return jnp.sin(jax.jit(lambda a: jnp.cos(checkpoint_name(jnp.sin(a), "inner")) ** 2)(x @ w))


KEEP = jax.checkpoint_policies
OFFLOAD = KEEP.save_and_offload_only_these_names(
    names_which_can_be_saved=[], names_which_can_be_offloaded=["inner"], offload_src="device", offload_dst="pinned_host"
)


def rooted(a: Any, b: Any) -> Any:
    """x with x³ + x = a sin b, by Newton's steps in a loop."""

    def newton(f: Any, guess: Any) -> Any:
        return lax.fori_loop(0, 40, lambda i, x: x - f(x) / (3 * x**2 + 1), guess)

    return lax.custom_root(lambda x: x**3 + x - a * jnp.sin(b), a, newton, lambda g, y: y / g(jnp.ones_like(y)))


def rooted_with_aux(a: Any) -> Any:
    """x with x³ + 8 x = (sin a) x + a₀, a solver that says its steps, and tangents by an iteration."""

    def steps(f: Any, guess: Any) -> Any:
        return lax.fori_loop(0, 200, lambda i, x: x - f(x) / 12, guess), jnp.float64(200)

    def tangents(g: Any, y: Any) -> Any:
        return lax.custom_linear_solve(g, y, iterated, iterated)

    def iterated(matvec: Any, b: Any) -> Any:
        return lax.fori_loop(0, 150, lambda i, x: x + (b - matvec(x)) / 10, b)

    x, count = lax.custom_root(lambda x: x**3 + 8 * x - jnp.sin(a) @ x - a[0], a[0], steps, tangents, has_aux=True)
    return x**2 * count


def state(x: Any) -> Any:
    """Refs that start as x and 2 x, written into, and what they hold at the end."""

    def body(refs: Any) -> None:
        a, b = refs
        b[...] = jnp.sin(a[...]) * b[...]
        a[0] = b[1]

    return run_state(body)((x, 2 * x))


SQUARE = 0.5 * normal(3, 3)

CASES: list[Case] = [
    case("jit", lambda w, x: jax.jit(lambda a, b: (jnp.sin(a @ b), b * 2))(x, w), W, X),
    case("custom_jvp_call", cubed, X),
    case("custom_jvp_call", jax.jit(cubed), X, label="staged"),
    case("custom_vjp_call", scaled, X, 2 * X),
    case("custom_vjp_call", jax.jit(scaled), X, 2 * X, label="staged"),
    case("custom_vjp_call", lambda x: product(x, x[:1]), X, label="custom_gradient"),
    case("composite", lax.composite(lambda x, y: y * jnp.sin(x), "my.sine"), X, 2 * X, refused=1),
    case("custom_vmap_call", spread, X, 2 * X, refused=1),
    case("linear_call", lambda x: stretched(2.0, [x, x[:1]]), X),
    case("linear_call", lambda r, x: stretched(r, [x, x[:1]]), X[:1], X, label="residuals", refused=1),
    case(primitives.closed_call_p.name, through(primitives.closed_call_p, waves), X),
    case("remat2", jax.checkpoint(lambda w, x: jnp.sin(jnp.sin(x @ w) ** 2)), W, X),
    case("remat2", jax.checkpoint(named, policy=KEEP.save_only_these_names("inner")), W, X, label="names"),
    case("remat2", jax.checkpoint(named, policy=OFFLOAD), W, X, label="offloaded", refused=2),
    case("remat2", jax.checkpoint(jax.checkpoint(named), policy=KEEP.dots_saveable), W, X, label="of remat"),
    case("remat2", jax.checkpoint(lambda x: kernel(jnp.sin(x))), X, label="optimize_remat", refused=2),
    case("run_state", state, X, refused=1),
    case("remat_opt", jax.jit(lambda x: jax.vjp(kernel, x)[1](x)[0]), X, refused=1),
]
if VERSION >= (0, 11):
    CASES += [
        case("call_hi_primitive", rooted, uniform(0.5, 2.0, 4), uniform(0.5, 1.5, 4), label="root"),
        case("call_hi_primitive", rooted_with_aux, SQUARE, label="root with aux"),
        case("call_hi_primitive", lambda a: jax.vmap(rooted, (0, None))(a, a[0]), X[:, 0] + 3, label="mapped root"),
    ]
else:
    CASES += [
        case("call", through(primitives.call_p, waves), X),
        case("custom_jvp_call", rooted, uniform(0.5, 2.0, 4), uniform(0.5, 1.5, 4), label="root"),
        case("custom_jvp_call", rooted_with_aux, SQUARE, label="root with aux"),
    ]
if VERSION >= (0, 12):
    CASES += [
        case("call_hi_primitive", lambda x: jnp.ldexp(x, jnp.arange(3)[None]), X, label="ldexp"),
        case("call_hi_primitive", lambda x: jnp.frexp(x)[0] ** 2, X, label="frexp"),
        case(
            "call_hi_primitive", lambda x, y: jnp.interp(x, jnp.arange(3.0), y), uniform(0, 2, 4), X[0], label="interp"
        ),
    ]

# Rules of a user's that are wrong on purpose: what counts is that they are asked, in every way of asking.
KINKS: list[Case] = [
    case("custom_jvp_call", lambda x: applied(jnp.sin, x, 3), X, label="static, integer and tree", numeric=False),
    case("custom_vjp_call", lambda x: weighted(jnp.sin, {"x": x, "w": (2 * x, x), "none": None}, 3), X,
         label="static, integer and tree", numeric=False),
]  # fmt: skip
