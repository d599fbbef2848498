"""Effects happen exactly as often as under JAX's gradient, in the same order, and host functions are not guessed at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback

import functional_dl as fdl

LOG: list[Any] = []
X = np.array([0.5, 1.5])
KEEP = jax.checkpoint_policies


def note(tag: str, *values: Any) -> None:
    LOG.append((tag, *[np.round(np.asarray(v), 5).tolist() for v in values]))


def tell(tag: str, x: Any, ordered: bool = True) -> None:
    jax.debug.callback(lambda v: note(tag, v), x, ordered=ordered)


def ask(tag: str, x: Any, ordered: bool = True) -> Any:
    """Two, from the host, which takes note."""
    shape = jax.ShapeDtypeStruct((), jnp.float64)
    return io_callback(lambda v: (note(tag, v), np.float64(2))[1], shape, lax.stop_gradient(x), ordered=ordered)


def straight(x: Any, ordered: bool = True) -> Any:
    tell("a", x, ordered)
    y = jnp.sin(x)
    tell("b", y, ordered)
    return jnp.sum(y)


def in_scan(x: Any) -> Any:
    def step(c: Any, r: Any) -> Any:
        tell("step", c)
        return jnp.sin(c) * r, c

    c, ys = lax.scan(step, x[0], x)
    return c + jnp.sum(ys)


def in_cond(x: Any) -> Any:
    def yes(x: Any) -> Any:
        tell("yes", x)
        return jnp.sin(x)

    def no(x: Any) -> Any:
        tell("no", x)
        return jnp.cos(x)

    return jnp.sum(lax.cond(x[0] > 0, yes, no, x) + lax.cond(x[0] < 0, yes, no, x))


def in_remat(x: Any, ordered: bool = True, policy: Any = None) -> Any:
    def block(x: Any) -> Any:
        tell("in", x, ordered)
        y = jnp.sin(jnp.sin(x))
        tell("out", y, ordered)
        return y

    return jnp.sum(jax.checkpoint(block, policy=policy)(x))


def in_loops(x: Any) -> Any:
    def turn(c: Any) -> Any:
        tell("turn", c[1])
        return c[0] + 1, c[1]

    n, _ = lax.while_loop(lambda c: c[0] < 2, turn, (0, lax.stop_gradient(x[0])))
    return jnp.sum(lax.fori_loop(0, 2, lambda i, c: (tell("round", c), jnp.sin(c))[1], x)) * n


def asking(x: Any) -> Any:
    k = ask("first", x)
    y = lax.scan(lambda c, r: (jnp.sin(c) * r * ask("step", c), c), x[0], x)[0]
    return jnp.sum(lax.cond(x[0] > 0, lambda x: jnp.sin(x) * ask("branch", x), lambda x: x, x)) * k * y


@jax.custom_vjp
def heard(x: Any) -> Any:
    tell("function", x)
    return jnp.sin(x)


def heard_fwd(x: Any) -> Any:
    tell("fwd", x)
    return jnp.sin(x), x


def heard_bwd(x: Any, ct: Any) -> Any:
    tell("bwd", ct)
    return (ct * jnp.cos(x),)


heard.defvjp(heard_fwd, heard_bwd)

PROGRAMS: dict[str, Callable[..., Any]] = {
    "straight": straight,
    "unordered": lambda x: straight(x, ordered=False),
    "jit": jax.jit(straight),
    "scan": in_scan,
    "map": lambda x: jnp.sum(lax.map(lambda r: (tell("row", r), jnp.sin(r))[1], x)),
    "cond": in_cond,
    "remat": in_remat,
    "loops": in_loops,
    "asking": asking,
    "asking in jit": jax.jit(asking),
    "nobody reads it": lambda x: (ask("dead", x, ordered=False), jnp.sum(jnp.sin(x)))[1],
    "custom_vjp": lambda x: jnp.sum(jnp.sin(heard(heard(x)))),
    "custom_vjp in jit and scan": jax.jit(lambda x: jnp.sum(lax.scan(lambda c, _: (heard(c), None), x, length=2)[0])),
    "custom_vjp in remat": lambda x: jnp.sum(jax.checkpoint(heard)(x)),
}


def logged(transformed: Callable[..., Any]) -> tuple[Any, list[Any]]:
    LOG.clear()
    found = jax.block_until_ready(transformed(jnp.asarray(X)))
    jax.effects_barrier()
    return found, list(LOG)


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_often_and_in_the_order_of_jax(name: str) -> None:
    fun = PROGRAMS[name]
    due, log = logged(jax.value_and_grad(fun))
    assert log
    for ours in (fdl.value_and_grad(fun), jax.jit(fdl.value_and_grad(fun))):
        found, seen = logged(ours)
        np.testing.assert_allclose(found[1], due[1], rtol=1e-12)
        assert seen == log
    primal, pullback = fdl.vjp(fun, jnp.asarray(X))
    np.testing.assert_allclose(pullback(jnp.ones_like(primal))[0], due[1], rtol=1e-12)
    jax.effects_barrier()


@pytest.mark.parametrize("name", ["straight", "scan", "remat"])
def test_at_second_order(name: str) -> None:
    def twice(grad: Any) -> Any:
        return grad(lambda x: jnp.sum(grad(PROGRAMS[name])(x) ** 2))

    due, log = logged(twice(jax.grad))
    found, seen = logged(twice(fdl.grad))
    np.testing.assert_allclose(found, due, rtol=1e-12)
    assert seen == log


def test_what_a_policy_saves_is_not_told_again() -> None:
    _, seen = logged(jax.jit(fdl.grad(lambda x: in_remat(x, policy=KEEP.everything_saveable))))
    assert [tag for tag, _ in seen] == ["in", "out"]


def test_remat_asks_the_host_once() -> None:
    """JAX refuses effects on the host in `jax.checkpoint`; a repeated one might answer differently."""

    def fun(x: Any) -> Any:
        return jnp.sum(jax.checkpoint(lambda x: jnp.sin(x) * ask("once", x))(x))

    with pytest.raises(NotImplementedError):
        jax.grad(fun)(X)
    found, seen = logged(jax.jit(fdl.grad(fun)))
    assert len(seen) == 1
    np.testing.assert_allclose(found, 2 * np.cos(X), rtol=1e-12)


def sine_on_host(x: Any) -> Any:
    return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_no_gradient_goes_through_the_host(how: Any) -> None:
    with pytest.raises(fdl.RuleError, match=r"pure_callback.*test_effects.py.*custom_vjp"):
        fdl.grad(how(lambda x: jnp.sum(sine_on_host(x))))(X)
    # JAX refuses these two as well; here nothing has to go through.
    found = fdl.grad(how(lambda x: jnp.sum(x * lax.stop_gradient(sine_on_host(x)))))(X)
    np.testing.assert_allclose(found, np.sin(X))
    found, aux = fdl.grad(how(lambda x: (jnp.sum(x**2), sine_on_host(x))), has_aux=True)(X)
    np.testing.assert_allclose((found, aux), (2 * X, np.sin(X)))


def test_no_gradient_goes_through_foreign_calls() -> None:
    call = jax.ffi.ffi_call("a_target_that_is_not_there", jax.ShapeDtypeStruct(X.shape, X.dtype))
    with pytest.raises(fdl.RuleError, match=r"ffi_call.*custom_vjp"):
        jax.make_jaxpr(fdl.grad(lambda x: jnp.sum(call(x))))(X)
    jax.make_jaxpr(fdl.grad(lambda x: jnp.sum(x * lax.stop_gradient(call(x)))))(X)
