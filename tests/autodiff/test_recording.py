"""Outside jit: Python may look at values, each operation runs once, and the numbers are those of jax.grad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl
from tests.oracles import normal


def branching(x: Any) -> Any:
    return jnp.sin(x) if x > 0 else x**2


def square_root(x: Any) -> Any:
    """Newton's method until it has converged: how often depends on x."""
    y = x
    while abs(y * y - x) > 1e-12:
        y = 0.5 * (y + x / y)
    return y


def looked_at(x: Any) -> Any:
    scale = x.item() + int(x) + bool(x)  # Python numbers: no derivative goes through them
    return scale * x + [1.0, 2.0, 3.0][int(x)] * x


def unrolled(x: Any) -> Any:
    total = 0.0
    for i in range(round(x.item() * 3)):
        total = total + jnp.sin(i * x)
    return total


@jax.custom_jvp
def bent(x: Any) -> Any:
    return x * 2 if x > 0 else x * 3


@bent.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (x,), (t,) = primals, tangents
    return bent(x), (5 * t if x > 1 else 7 * t)


@jax.custom_vjp
def hosted(x: Any) -> Any:
    return jnp.sin(x)


def _hosted_backward(x: Any, ct: Any) -> Any:
    # Runs on the host, on values: as under jax.grad outside jit, though not inside.
    return (jnp.asarray(np.cos(np.asarray(x)) * np.asarray(ct)) if float(x) > 0 else ct,)


hosted.defvjp(lambda x: (jnp.sin(x), x), _hosted_backward)

PROGRAMS: list[Callable[[Any], Any]] = [branching, square_root, looked_at, unrolled, bent, hosted]


@pytest.mark.parametrize("x", [1.3, 0.7])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: getattr(p, "__name__", str(p)))
def test_python_looks_at_values(program: Any, x: float) -> None:
    for found, due in [
        (fdl.value_and_grad(program)(x), jax.value_and_grad(program)(x)),
        (fdl.vjp(program, x)[1](2.0), jax.vjp(program, x)[1](2.0)),
    ]:
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(due), strict=True):
            assert jax.typeof(a) == jax.typeof(b)
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_floats_may_be_taken() -> None:
    """JAX refuses these two."""
    assert fdl.grad(lambda x: float(x) * x)(1.5) == 1.5
    assert fdl.grad(lambda x: complex(x).real * x)(1.5) == 1.5


@pytest.mark.parametrize("program", [p for p in PROGRAMS if p is not hosted], ids=lambda p: getattr(p, "__name__", "?"))
def test_at_second_order(program: Any) -> None:
    np.testing.assert_allclose(fdl.grad(fdl.grad(program))(1.3), jax.grad(jax.grad(program))(1.3), rtol=1e-9)
    np.testing.assert_allclose(jax.grad(fdl.grad(program))(1.3), fdl.grad(jax.grad(program))(1.3), rtol=1e-9)


@pytest.mark.parametrize("program", [branching, square_root, looked_at], ids=lambda p: p.__name__)
def test_under_jit_it_raises_what_jax_raises(program: Any) -> None:
    with pytest.raises((jax.errors.TracerBoolConversionError, jax.errors.ConcretizationTypeError)):
        jax.jit(fdl.grad(program))(1.3)


def test_numpy_may_not_take_a_differentiated_value() -> None:
    """It would lose the derivative without a word."""
    with pytest.raises(jax.errors.TracerArrayConversionError):
        fdl.grad(lambda x: np.sin(np.asarray(x)) * x)(1.0)


def test_methods_of_arrays_are_there() -> None:
    fun = lambda x: x.var() + x.T.mean() + x.at[0].set(2.0).sum() * x.std() + x[1:].max()
    x = jnp.asarray(normal(3, 4))
    np.testing.assert_allclose(fdl.grad(fun)(x), jax.grad(fun)(x), rtol=1e-12)


def test_loops_that_only_refuse_when_a_cotangent_arrives() -> None:
    def fun(x: Any) -> Any:
        n, y = lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * x), (0, x))
        return jnp.sin(x) * n, y

    np.testing.assert_allclose(fdl.grad(fun, has_aux=True)(0.7)[0], 3 * np.cos(0.7))
    with pytest.raises(fdl.RuleError, match="while loop"):
        fdl.grad(lambda x: fun(x)[1])(0.7)


def test_values_may_not_leave() -> None:
    kept = []
    fdl.grad(lambda x: kept.append(jnp.sin(x)) or x * 2)(1.0)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        kept[0] + 1


def test_every_operation_runs_once() -> None:
    ran = []

    def fun(x: Any) -> Any:
        jax.debug.callback(lambda v: ran.append(float(v)), x)
        return jnp.sin(x)

    fdl.value_and_grad(fun)(2.0)
    assert ran == [2.0]


def test_closed_over_values_are_differentiated() -> None:
    """A differentiated value that a jitted function or a loop closes over is an operand like any other."""

    def fun(x: Any) -> Any:
        scale = jnp.sin(x)
        inner = jax.jit(lambda y: y * scale)
        return inner(x) + lax.fori_loop(0, 3, lambda i, c: c * scale + x, x)

    np.testing.assert_allclose(fdl.grad(fun)(0.7), jax.grad(fun)(0.7), rtol=1e-12)


def test_outputs_that_no_cotangent_reaches() -> None:
    """Loops and calls keep residuals for all their outputs; those whose cotangent stays away count as zero."""

    def fun(x: Any) -> Any:
        c, ys = lax.scan(lambda c, _: (jnp.sin(c), c * c), x, None, length=4)
        a, b = jax.jit(lambda v: (jnp.cos(v), v**3))(x)
        return c + b, (ys, a)

    found, aux = fdl.grad(fun, has_aux=True)(0.3)
    due, due_aux = jax.grad(fun, has_aux=True)(0.3)
    np.testing.assert_allclose(found, due, rtol=1e-12)
    jax.tree.map(np.testing.assert_allclose, aux, due_aux)
    split = lambda x: jnp.sum(jnp.split(x, 3)[1] ** 2)
    np.testing.assert_allclose(fdl.grad(split)(jnp.arange(6.0)), jax.grad(split)(jnp.arange(6.0)))


def test_a_pullback_made_outside_may_be_called_inside() -> None:
    _, pullback = fdl.vjp(lambda x: bent(x) * jnp.sin(x), 1.3)
    np.testing.assert_allclose(jax.jit(lambda ct: pullback(ct)[0])(2.0), pullback(2.0)[0], rtol=1e-12)
    _, pullback = fdl.vjp(hosted, 1.3)
    with pytest.raises(jax.errors.TracerArrayConversionError):  # its backward looks at values
        jax.jit(lambda ct: pullback(ct)[0])(2.0)
    x = jnp.asarray(normal(3))
    _, pullback = fdl.vjp(lambda x: jax.nn.relu(x) * x, x)
    batch = jnp.asarray(normal(2, 3, seed=1))
    np.testing.assert_allclose(jax.vmap(lambda ct: pullback(ct)[0])(batch), jnp.stack([pullback(c)[0] for c in batch]))


def test_only_what_the_backward_reads_is_kept() -> None:
    _, pullback = fdl.vjp(lambda x: jnp.sum(jnp.exp(x + 1.0) * 3.0), jnp.ones((3, 4)))
    assert len(pullback.residuals) == 2  # exp's output, and the constant 3
