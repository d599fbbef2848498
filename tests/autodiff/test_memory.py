"""``memory=``: the same gradients from fewer kept bytes, with no expensive operation run twice."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl
from tests.autodiff.test_transforms import PROGRAMS, arguments, assert_tree_close
from tests.oracles import normal

EXPENSIVE = ("dot_general", "scan")


def block(x: Any, w: Any) -> Any:
    """Contractions with elementwise functions around them, each of which keeps something of its own."""
    h = jnp.tanh(x @ w)
    return jnp.sin(h * jax.nn.sigmoid(h)) @ w.T + x


def unrolled(ws: Any, x: Any) -> Any:
    for i in range(ws.shape[0]):
        x = block(x, ws[i])
    return jnp.sum(x**2)


def looped(ws: Any, x: Any) -> Any:
    return jnp.sum(lax.scan(lambda c, w: (block(c, w), None), x, ws)[0] ** 2)


WS, X = 0.1 * normal(6, 16, 64), normal(128, 16)


def counted(jaxpr: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        counts[eqn.primitive.name] = counts.get(eqn.primitive.name, 0) + 1
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            for name, n in counted(inner).items():
                counts[name] = counts.get(name, 0) + n
    return counts


@pytest.mark.parametrize("program", [*PROGRAMS, unrolled, looped], ids=lambda p: p.__name__)
def test_same_gradients(program: Any) -> None:
    args = (WS, X) if program in (unrolled, looped) else arguments(program)
    due = jax.jit(fdl.value_and_grad(program, (0, 1), memory="keep"))(*args)
    assert_tree_close(jax.jit(fdl.value_and_grad(program, (0, 1), memory="auto"))(*args), due)


@pytest.mark.parametrize("program", [unrolled, looped], ids=lambda p: p.__name__)
def test_same_second_order(program: Any) -> None:
    bent = lambda grad: jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(grad(program)(w, X)))))(WS)
    ours = lambda f: fdl.grad(f, memory="auto")
    assert_tree_close(bent(ours), bent(jax.grad), rtol=1e-8)
    both = jax.jit(fdl.grad(lambda w: jnp.sum(jnp.sin(ours(program)(w, X))), memory="auto"))(WS)
    assert_tree_close(both, bent(jax.grad), rtol=1e-8)


@pytest.mark.parametrize("program", [unrolled, looped], ids=lambda p: p.__name__)
def test_nothing_expensive_is_repeated(program: Any) -> None:
    counts = [counted(jax.make_jaxpr(jax.jit(fdl.grad(program, memory=m)))(WS, X)) for m in ("keep", "auto")]
    for name in EXPENSIVE:
        assert counts[0].get(name) == counts[1].get(name), name
    assert counts[1]["logistic"] > counts[0]["logistic"], "something cheap is"


def test_what_is_kept() -> None:
    """Of a chain of elementwise functions behind a contraction, only the contraction's result."""

    def kept(memory: str) -> list[Any]:
        fun = lambda w: jnp.sum(jnp.sin(jnp.exp(jnp.tanh(X @ w))))
        return jax.eval_shape(lambda w: fdl.vjp(fun, w, memory=memory)[1], WS[0]).residuals

    big = lambda leaves: [r.shape for r in leaves if r.size >= 128 * 64]
    assert big(kept("auto")) == [(128, 64)] and len(big(kept("keep"))) == 2


def temporary_bytes(grad: Any, program: Any) -> int:
    return jax.jit(grad(program)).lower(WS, X).compile().memory_analysis().temp_size_in_bytes


def test_it_survives_the_compiler_in_loops() -> None:
    auto, keep, due = (
        temporary_bytes(g, looped) for g in (fdl.grad, lambda f: fdl.grad(f, memory="keep"), jax.grad)
    )  # fmt: skip
    assert auto < 0.5 * keep and auto < 0.5 * due, (auto, keep, due)


@pytest.mark.skipif(
    jax.__version_info__ < (0, 11), reason="XLA:CPU of jaxlib 0.10 drops optimization barriers before scheduling"
)
def test_it_survives_the_compiler_unrolled() -> None:
    auto, due = temporary_bytes(fdl.grad, unrolled), temporary_bytes(jax.grad, unrolled)
    assert auto < 0.6 * due, (auto, due)


def test_checkpoints_of_the_users_are_honoured() -> None:
    """What `jax.checkpoint` starts from is not made again from something earlier."""

    def marked(ws: Any, x: Any) -> Any:
        for i in range(ws.shape[0]):
            x = jax.checkpoint(block)(jnp.tanh(x), ws[i])
        return jnp.sum(x**2)

    fun = lambda ws, memory: fdl.vjp(lambda ws: marked(ws, X), ws, memory=memory)[1]
    kept = [jax.eval_shape(lambda ws, m=m: fun(ws, m), WS).residuals for m in ("keep", "auto")]
    starts = [[r.shape for r in leaves].count(X.shape) for leaves in kept]
    assert starts[1] >= len(WS), starts


def test_unknown_policies() -> None:
    with pytest.raises(ValueError, match="'keep', 'auto'.*'much'"):
        fdl.grad(jnp.sin, memory="much")
    with pytest.raises(ValueError, match="'keep', 'auto'.*'much'"):
        fdl.vjp(jnp.sin, np.float64(1.0), memory="much")


@pytest.mark.parametrize("program", [unrolled, looped], ids=lambda p: p.__name__)
@pytest.mark.skipif(
    jax.__version_info__ < (0, 11), reason="XLA:CPU of jaxlib 0.10 drops optimization barriers before scheduling"
)
def test_it_survives_the_compiler_at_second_order(program: Any) -> None:
    """A Hessian-vector product, forward mode over ours, in fewer bytes than over ``keep`` and over `jax.grad`."""

    def product(grad: Any) -> int:
        fun = lambda ws, x: jax.jvp(lambda ws: grad(program)(ws, x), (ws,), (WS,))[1]
        return jax.jit(fun).lower(WS, X).compile().memory_analysis().temp_size_in_bytes

    auto, keep, due = (product(g) for g in (fdl.grad, lambda f: fdl.grad(f, memory="keep"), jax.grad))
    assert auto < 0.8 * keep and auto < 0.8 * due, (auto, keep, due)
