"""Refs: what a function writes into refs of its own is differentiated, refs from outside are plumbing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl

X = np.linspace(0.3, 1.7, 6).reshape(2, 3)
VERSION = jax.__version_info__
STAGED = pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["eager", "jit"])


def rows(x: Any) -> Any:
    ref = jax.new_ref(x)
    ref[0] = jnp.sin(ref[1]) * 2
    ref[1] += ref[0]
    old = jax.ref.swap(ref, 0, ref[1] ** 2)
    return jnp.sum(jax.freeze(ref) ** 2) + jnp.sum(old**3)


@jax.jit
def parts(x: Any) -> Any:
    """Single positions, known and traced; slices, some with strides; arrays of positions."""
    ref = jax.new_ref(jnp.zeros((4, 5)))
    i = jnp.argmax(x[0])
    ref[:2, 1:4] = x
    ref[2:, ::2] = x**2
    ref[i, i] = jnp.sum(ref[1, 1:3])
    ref[jnp.array([0, 2]), jnp.array([4, 4])] = ref[jnp.array([1, 0]), i + jnp.array([0, 0])] * x[0, :2]
    ref[jnp.array([2, 3]), 1:3] = jnp.sin(x[:, :2])
    return jnp.sum(ref[:, jnp.array([4, 1])] ** 2) + jnp.sum(jnp.sin(ref[...]))


@jax.jit
def windows(x: Any) -> Any:
    """Slices that start at traced positions, and a view of a view."""
    ref = jax.new_ref(jnp.zeros((4, 5)))
    i = jnp.argmax(x[0])
    ref[jax.ds(i - 1, 2), 1:4] = x
    ref.at[1][2:4] = ref.at[jax.ds(i, 2), 1:3][0] * x[1, :2]
    return jnp.sum(ref[jax.ds(i, 2, 1), jnp.array([3, 2])] ** 2) + jnp.sum(ref[...] ** 3)


def sums(x: Any) -> Any:
    ref = jax.new_ref(jnp.zeros(3))
    jax.ref.addupdate(ref, ..., jnp.sin(x[0]))
    jax.ref.addupdate(ref, jnp.array([1, 1]), x[1, :2])
    jax.ref.addupdate(ref, jnp.argmax(x[0]), x[0, 0] ** 2)
    return jnp.sum(ref[...] ** 2)


def in_scan(x: Any) -> Any:
    """A ref that every turn reads and writes, one it writes a part of, and one it is given a slice of."""
    total, table, state = jax.new_ref(jnp.zeros(3)), jax.new_ref(jnp.zeros((2, 3))), jax.new_ref(2 * x)

    def turn(c: Any, given: Any) -> Any:
        i, row, mine = given
        total[...] = total[...] * c + jnp.sin(row)
        table[i] = total[...] * row
        mine[...] = mine[...] * c + row
        return c * 1.5, total[0]

    _, ys = lax.scan(turn, 1.0, (jnp.arange(2), x, state), reverse=True)
    return jnp.sum(total[...] ** 2) + jnp.sum(table[...] ** 3) + jnp.sum(state[...] ** 2) + jnp.sum(ys**2)


def in_branches(x: Any) -> Any:
    ref = jax.new_ref(x)
    lax.cond(x[0, 0] > 0, lambda: ref.__setitem__(0, jnp.sin(ref[1])), lambda: ref.__setitem__(1, x[0] * 3))
    y = lax.switch(jnp.argmin(x[0]) + 1, [lambda: ref[0], lambda: ref[1] * 2, lambda: x[0]])
    return jnp.sum(ref[...] ** 2) + jnp.sum(y**2)


def in_calls(x: Any) -> Any:
    ref = jax.new_ref(x)

    @jax.jit
    def write(ref: Any, y: Any) -> Any:
        lax.fori_loop(0, 3, lambda i, c: (ref.__setitem__(0, jnp.sin(ref[1]) * y + ref[0]), c)[1], 0)
        return ref[0, 0]

    z = write(ref, x[0])
    return jnp.sum(jax.checkpoint(rows)(ref[...])) * z + rows(x)


def in_vmap(x: Any) -> Any:
    return jnp.sum(jax.vmap(lambda row: rows(jnp.stack([row, row**2])))(x))


PROGRAMS: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (rows, parts, sums, in_scan, in_branches, in_calls, in_vmap)
}


@STAGED
@pytest.mark.parametrize("name", PROGRAMS)
def test_refs_of_its_own(name: str, how: Any) -> None:
    np.testing.assert_allclose(how(fdl.grad(PROGRAMS[name]))(X), jax.grad(PROGRAMS[name])(X), rtol=1e-12)


@pytest.mark.skipif(VERSION < (0, 11), reason="JAX 0.10 has no second derivative through refs")
@pytest.mark.parametrize("name", PROGRAMS)
def test_refs_of_its_own_at_second_order(name: str) -> None:
    def second(grad: Any) -> Any:
        return jax.jit(grad(lambda x: jnp.sum(jnp.sin(grad(PROGRAMS[name])(x)))))

    np.testing.assert_allclose(second(fdl.grad)(X), second(jax.grad)(X), rtol=1e-11)


def test_a_view_of_a_view() -> None:
    """JAX refuses those."""
    with pytest.raises(NotImplementedError):
        jax.grad(windows)(X)
    fdl.check_vjp(windows, (X,))
    fdl.check_vjp(jax.jit(fdl.grad(windows)), (X,), tolerance=1e-6)


@STAGED
def test_where_jax_refuses(how: Any) -> None:
    """Uninitialised and freed refs, refs of integers, and a loop with no known end through which nothing goes."""

    def fun(x: Any) -> Any:
        ref = jax.empty_ref(jax.typeof(x))
        ref[...] = jnp.sin(x)
        y = ref[...]
        jax.free_ref(ref)
        times = jax.new_ref(jnp.zeros(()))
        lax.while_loop(lambda n: n < 3, lambda n: (times.__setitem__(..., times[...] + 2), n + 1)[1], 0)
        count = jax.new_ref(jnp.int32(0))
        lax.fori_loop(0, 3, lambda i, c: (count.__setitem__(..., count[...] + 1), c)[1], 0)
        return jnp.sum(y**2) * times[...] * count[...]

    np.testing.assert_allclose(how(fdl.grad(fun))(X), 18 * np.sin(2 * X), rtol=1e-12)


@STAGED
def test_remat_that_writes_into_a_ref(how: Any) -> None:
    """JAX's gradient is wrong here (that of the first row is not zero): differences are the oracle."""

    def fun(x: Any) -> Any:
        ref = jax.new_ref(x)
        jax.checkpoint(lambda y: ref.__setitem__(0, jnp.sin(y)))(x[1])
        return jnp.sum(ref[...] ** 2)

    fdl.check_vjp(how(fun), (X,))
    assert not np.allclose(jax.grad(fun)(X)[0], 0)


# --- refs from outside ----------------------------------------------------------------------------------------------


@STAGED
def test_refs_from_outside_are_read_and_written(how: Any) -> None:
    def run(grad: Any) -> Any:
        weights, seen, count = jax.new_ref(3 * X), jax.new_ref(0 * X), jax.new_ref(0.0)

        def fun(x: Any, count: Any) -> Any:
            seen[...] = lax.stop_gradient(jnp.sin(x))

            def turn(c: Any, row: Any) -> Any:
                count[...] += 1
                return c + row * count[...], None

            return jnp.sum(x * weights[...]) + jnp.sum(lax.scan(turn, x[0], x)[0] ** 2)

        return how(grad(fun))(X, count), seen[...], count[...]

    for found, due in zip(run(fdl.grad), run(jax.grad), strict=True):
        np.testing.assert_allclose(found, due, rtol=1e-12)


@STAGED
def test_a_backward_may_write_into_a_ref(how: Any) -> None:
    @jax.custom_vjp
    def stash(ref: Any, x: Any) -> Any:
        return x

    stash.defvjp(lambda ref, x: (x, ref), lambda ref, ct: (ref.__setitem__(..., ct), (None, ct))[1])

    def run(grad: Any) -> Any:
        ref = jax.new_ref(0 * X)
        slope = how(grad(lambda x, ref: jnp.sum(jnp.sin(stash(ref, 2 * x)) ** 2)))(X, ref)
        return slope, ref[...]

    for found, due in zip(run(fdl.grad), run(jax.grad), strict=True):
        np.testing.assert_allclose(found, due, rtol=1e-12)


@STAGED
def test_what_is_written_outside_is_not_differentiated(how: Any) -> None:
    ref = jax.new_ref(0 * X)

    def fun(x: Any) -> Any:
        ref[...] = jnp.sin(x)
        return jnp.sum(x**2)

    with pytest.raises(fdl.RuleError, match=r"swap.*comes from outside.*stopped"):
        how(fdl.grad(fun))(X)
