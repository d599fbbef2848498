"""Our transforms under and over JAX's machinery: staging, exporting, debugging switches, threads."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import functional_dl as fdl
from tests.autodiff.test_transforms import assert_tree_close
from tests.oracles import normal

W, X = 0.5 * normal(3, 4), normal(5, 3)


def loss(w: Any, x: Any) -> Any:
    """Calls, a loop, a branch and a custom rule."""
    h = jax.nn.relu(jnp.sin(x @ w))
    c, ys = lax.scan(lambda c, row: (jnp.tanh(c + row), c * row), jnp.zeros(w.shape[1]), h)
    return jnp.sum(lax.cond(jnp.sum(c) > 0, jnp.sin, jnp.cos, c)) + jnp.sum(jax.nn.softplus(ys))


def due() -> Any:
    return jax.grad(loss, (0, 1))(W, X)


def test_eval_shape() -> None:
    found = jax.eval_shape(fdl.grad(loss, (0, 1)), W, X)
    assert [(a.shape, a.dtype) for a in found] == [((3, 4), np.float64), ((5, 3), np.float64)]


def test_ahead_of_time() -> None:
    compiled = jax.jit(fdl.grad(loss, (0, 1))).trace(W, X).lower().compile()
    assert_tree_close(compiled(W, X), due())


def test_export() -> None:
    exported = export.export(jax.jit(fdl.grad(loss, (0, 1))))(
        jax.ShapeDtypeStruct(W.shape, W.dtype), jax.ShapeDtypeStruct(X.shape, X.dtype)
    )
    assert_tree_close(exported.call(W, X), due())


def test_symbolic_shapes() -> None:
    """A gradient exported for any batch size."""
    (batch,) = export.symbolic_shape("b")
    fun = lambda w, x: jnp.mean(jnp.tanh(x @ w) ** 2)
    exported = export.export(jax.jit(fdl.grad(fun)))(
        jax.ShapeDtypeStruct(W.shape, W.dtype), jax.ShapeDtypeStruct((batch, 3), X.dtype)
    )
    for rows in (2, 5):
        assert_tree_close(exported.call(W, X[:rows]), jax.grad(fun)(W, X[:rows]))


def test_without_jit() -> None:
    with jax.disable_jit():
        assert_tree_close(fdl.grad(loss, (0, 1))(W, X), due())


def test_leaks_are_looked_for_and_none_found() -> None:
    with jax.checking_leaks():
        assert_tree_close(fdl.grad(loss, (0, 1))(W, X), due())
        assert_tree_close(jax.jit(fdl.grad(loss, (0, 1)))(W, X), due())


@pytest.mark.parametrize("run", [lambda f: f, jax.jit], ids=["eager", "jitted"])
def test_nans_are_found_where_they_arise(run: Any) -> None:
    fun = lambda x: jnp.sqrt(x) * 0.0  # finite, with a derivative 0 · ∞
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        run(fdl.grad(fun))(0.0)


@pytest.mark.parametrize("double", [False, True])
def test_precision_switch(double: bool) -> None:
    """The same functions under both settings: nothing remembered under one serves the other."""
    for setting in (double, not double):
        with jax.enable_x64(setting):
            args = jnp.asarray(W), jnp.asarray(X)
            found, want = fdl.grad(loss)(*args), jax.grad(loss)(*args)
            assert found.dtype == want.dtype == (np.float64 if setting else np.float32)
            np.testing.assert_allclose(found, want, rtol=1e-10 if setting else 2e-5, atol=1e-12 if setting else 1e-5)


def test_matmul_precision_is_the_callers() -> None:
    with jax.default_matmul_precision("highest"):
        text = jax.jit(fdl.grad(lambda w: jnp.sum(jnp.sin(X @ w)))).lower(W).as_text()
    assert text.count("precision = [HIGHEST, HIGHEST]") == text.count("dot_general") == 2


def test_threads() -> None:
    """Many threads differentiate at once, each its own function.  (Under one precision: JAX itself mixes them up.)"""

    def work(k: int) -> Any:
        with jax.enable_x64(True):
            fun = lambda w, x: loss(w, x) * (k + 1)
            return fdl.grad(fun)(W, X), jax.jit(fdl.grad(fun))(W, X)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(8)))
    want = jax.grad(loss)(W, X)
    for k, pair in enumerate(results):
        for found in pair:
            np.testing.assert_allclose(found, want * (k + 1), rtol=1e-9)


def test_vmap_axes_per_leaf() -> None:
    params = {"w": jnp.stack([W, 2 * W], axis=1), "b": jnp.asarray(normal(4))}
    fun = lambda p, x: jnp.sum(jnp.tanh(x @ p["w"] + p["b"][None]))
    axes = ({"w": 1, "b": None}, None)
    assert_tree_close(
        jax.vmap(fdl.grad(fun), axes, out_axes={"w": 1, "b": 0})(params, X),
        jax.vmap(jax.grad(fun), axes, out_axes={"w": 1, "b": 0})(params, X),
    )
    batched = lambda grad: grad(lambda p: jnp.sum(jax.vmap(fun, axes)(p, X)))(params)
    assert_tree_close(batched(fdl.grad), batched(jax.grad))


def test_named_axes() -> None:
    """Collectives of a vmap, inside and outside the gradient."""

    def centred(row: Any) -> Any:
        return jnp.sum((row - lax.pmean(row, "batch")) ** 3)

    inside = lambda grad: jax.vmap(grad(centred), axis_name="batch")(X)
    outside = lambda grad: grad(lambda x: jnp.sum(jax.vmap(centred, axis_name="batch")(x)))(X)
    assert_tree_close(inside(fdl.grad), inside(jax.grad))
    assert_tree_close(outside(fdl.grad), outside(jax.grad))


@pytest.mark.parametrize("order", [3, 4])
def test_vjps_of_vjps(order: int) -> None:
    def iterated(vjp: Any) -> Any:
        fun = lambda x: jnp.sin(x) * jax.nn.softplus(x) ** 2
        for _ in range(order):
            fun = lambda x, f=fun: vjp(f, x)[1](jnp.ones_like(x))[0]
        return fun(jnp.asarray(X))

    assert_tree_close(iterated(fdl.vjp), iterated(jax.vjp), rtol=1e-8)


def test_a_pullback_is_linear_and_its_own_transpose_twice() -> None:
    """vjp of a pullback is the map itself, as jax.linear_transpose would give it."""
    linear = lambda x: jnp.cumsum(x @ W, axis=0)
    y, pullback = fdl.vjp(linear, jnp.asarray(X))
    _, back = fdl.vjp(lambda ct: pullback(ct)[0], y)
    assert_tree_close(back(jnp.asarray(X))[0], linear(X))
    assert_tree_close(pullback(y)[0], jax.linear_transpose(linear, jnp.asarray(X))(y)[0])


def test_checkpoint_over_and_under() -> None:
    for fun in (jax.checkpoint(loss), lambda w, x: jax.checkpoint(lambda w: loss(w, x))(w)):
        assert_tree_close(fdl.grad(fun, (0, 1))(W, X), due())
    bent = lambda grad: jax.grad(lambda w: jnp.sum(jax.checkpoint(grad(loss))(w, X) ** 2))(W)
    assert_tree_close(bent(fdl.grad), bent(jax.grad))


def test_linearize_and_jvp_of_ours() -> None:
    for run in (lambda f: f, jax.jit):
        value, linear = jax.linearize(run(fdl.grad(loss)), W, X)
        want, due_linear = jax.linearize(jax.grad(loss), W, X)
        assert_tree_close(value, want)
        assert_tree_close(linear(W, X), due_linear(W, X))


def test_closed_over_tracers_of_every_kind() -> None:
    """What a differentiated function closes over may belong to a jit, a vmap, a jvp or another gradient."""

    def outer(grad: Any, a: Any) -> Any:
        return grad(lambda x: jnp.sum(jnp.sin(a * x) * jax.nn.relu(x + a)))(jnp.asarray(X[0]))

    rows = jnp.asarray(normal(2, 3))
    for transform, where in [
        (jax.jit, rows[0]),
        (jax.vmap, rows),
        (lambda f: lambda v: jax.jvp(f, (v,), (v,)), rows[0]),
        (jax.jacrev, rows[0]),
        (fdl.jacrev, rows[0]),
        (lambda f: lambda v: lax.map(f, v), rows[0]),
    ]:
        assert_tree_close(
            transform(functools.partial(outer, fdl.grad))(where), transform(functools.partial(outer, jax.grad))(where)
        )


def test_signatures_match() -> None:
    """Static attributes that scripts rely on: names and docs of the differentiated function."""
    assert fdl.grad(loss).__name__ == "loss" and fdl.grad(loss).__doc__ == loss.__doc__
    value, pullback, aux = fdl.vjp(lambda x: (x * 2, {"n": x}), 2.0, has_aux=True)
    assert (value, aux, pullback(1.0)) == (4.0, {"n": 2.0}, (2.0,))
