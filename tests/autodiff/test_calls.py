"""Calls in composition: what custom rules are told and may close over, what remat keeps, what programs are called."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import SymbolicZero

import functional_dl as fdl
from functional_dl import jaxprs

X = np.linspace(0.3, 1.7, 6).reshape(2, 3)
KEEP = jax.checkpoint_policies
STAGED = pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["eager", "jit"])


def assert_gradients(fun: Callable[..., Any], how: Callable[..., Any], x: Any = X) -> None:
    """First and second order as JAX's, run at once or staged."""

    def second(grad: Any) -> Any:
        return grad(lambda x: jnp.sum(jnp.sin(grad(fun)(x))))

    np.testing.assert_allclose(how(fdl.grad(fun))(x), jax.grad(fun)(x), rtol=1e-12)
    np.testing.assert_allclose(how(second(fdl.grad))(x), second(jax.grad)(x), rtol=1e-12)


# --- what custom rules are told -----------------------------------------------------------------------------------

TOLD: list[Any] = []


@jax.custom_vjp
def pair(x: Any, y: Any, n: Any) -> Any:
    return x * y, y * n


def pair_fwd(x: Any, y: Any, n: Any) -> Any:
    TOLD.append((x.perturbed, y.perturbed, n.perturbed))
    return (x.value * y.value, y.value * n.value), (x.value if y.perturbed else None, y.value, n.value)


def pair_bwd(kept: Any, cts: Any) -> Any:
    TOLD.append(tuple(isinstance(c, SymbolicZero) for c in cts))
    x, y, n = kept
    a, b = (jnp.zeros(c.shape, c.dtype) if isinstance(c, SymbolicZero) else c for c in cts)
    return a * y, None if x is None else a * x + b * n, None


pair.defvjp(pair_fwd, pair_bwd, symbolic_zeros=True)

PAIRS = {
    "both": lambda x: jnp.sum(pair(x, x, 2)[0]),
    "first": lambda x: jnp.sum(pair(x, X, 2)[0]),
    "second": lambda x: jnp.sum(pair(X, x, 2.0)[1]),
    "neither": lambda x: jnp.sum(pair(X, X, 2)[0]) + jnp.sum(x),
    "in a loop": lambda x: jnp.sum(lax.scan(lambda c, _: (pair(c, X, 2)[0], None), x, length=2)[0]),
}


@STAGED
@pytest.mark.parametrize("name", PAIRS)
def test_a_rule_is_told_what_is_differentiated_and_what_arrives(name: str, how: Any) -> None:
    TOLD.clear()
    due = jax.grad(PAIRS[name])(X)
    told = list(TOLD)
    TOLD.clear()
    np.testing.assert_allclose(how(fdl.grad(PAIRS[name]))(X), due, rtol=1e-12)
    assert told == TOLD


@jax.custom_jvp
def times(x: Any, y: Any) -> Any:
    return x * y


def times_jvp(primals: Any, tangents: Any) -> Any:
    TOLD.append(tuple(isinstance(t, SymbolicZero) for t in tangents))
    u, v = (jnp.zeros(t.shape, t.dtype) if isinstance(t, SymbolicZero) else t for t in tangents)
    return times(*primals), u * primals[1] + v * primals[0]


times.defjvp(times_jvp, symbolic_zeros=True)


@STAGED
def test_a_jvp_rule_is_told_what_is_differentiated(how: Any) -> None:
    for fun, still in (
        (lambda x: times(x, X), (False, True)),
        (lambda x: jax.jit(lambda *xs: times(*xs))(X, x), (True, False)),
    ):
        TOLD.clear()
        found = how(fdl.grad(lambda x, fun=fun: jnp.sum(fun(x))))(X)
        assert set(TOLD) == {still}
        np.testing.assert_allclose(found, X, rtol=1e-12)


# --- what custom rules close over ---------------------------------------------------------------------------------


def closing(table: Any) -> Any:
    """A function whose rule, half of what it should be, closes over ``table``."""

    @jax.custom_vjp
    def f(x: Any) -> Any:
        return x * table

    f.defvjp(lambda x: (x * table, None), lambda _, ct: (ct * table / 2,))
    return f


def table() -> Any:
    return jnp.arange(6.0).reshape(2, 3) * 2


CLOSURES = {
    "value": lambda x: jnp.sum(jnp.sin(closing(table())(x))),
    "in jit": lambda x: (lambda t: jnp.sum(jnp.sin(jax.jit(lambda x: closing(t)(x))(x))))(table()),
    "in scan": lambda x: (lambda t: jnp.sum(lax.scan(lambda c, _: (closing(t)(c), None), x, length=2)[0]))(table()),
    "in remat": lambda x: (lambda t: jnp.sum(jnp.sin(jax.checkpoint(lambda x: closing(t)(x))(x))))(table()),
}


@STAGED
@pytest.mark.parametrize("name", CLOSURES)
def test_a_rule_may_close_over_values_of_the_function(name: str, how: Any) -> None:
    if name != "in remat":
        assert_gradients(CLOSURES[name], how)
    else:  # JAX leaks a tracer here
        np.testing.assert_allclose(how(fdl.grad(CLOSURES[name]))(X), table() * np.cos(X * table()) / 2, rtol=1e-12)


def test_a_rule_may_close_over_another_argument() -> None:
    def run(grad: Any) -> Any:
        return jax.jit(lambda x, y: grad(lambda x: jnp.sum(closing(y * 2)(x)))(x))(X, X)

    np.testing.assert_allclose(run(fdl.grad), run(jax.grad), rtol=1e-12)


def test_no_rule_for_what_is_closed_over() -> None:
    with pytest.raises(fdl.RuleError, match="closes over a value.*differentiated"):
        jax.jit(fdl.grad(lambda x: jnp.sum(closing(jnp.sin(x))(x))))(X)

    def rule_alone(x: Any) -> Any:
        y = jnp.sin(x)

        @jax.custom_vjp
        def f(x: Any) -> Any:
            return 2 * x

        f.defvjp(lambda x: (2 * x, None), lambda _, ct: (ct * y,))
        return jnp.sum(f(x))

    with pytest.raises(fdl.RuleError, match="closes over a value.*differentiated"):
        jax.jit(fdl.grad(rule_alone))(X)


# --- what custom rules answer ---------------------------------------------------------------------------------------


def answering(bwd: Callable[..., Any]) -> Any:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return 2 * x

    f.defvjp(lambda x: (2 * x, None), bwd)
    return lambda x: jnp.sum(jnp.sin(f(jnp.sin(x))))


@STAGED
def test_wrong_answers_are_errors(how: Any) -> None:
    for bwd, error, words in (
        (lambda _, ct: (ct[0],), ValueError, r"float64\[3\].*float64\[2,3\]"),
        (lambda _, ct: (ct, ct), TypeError, "number of arguments"),
    ):
        with pytest.raises(error, match=words):
            how(fdl.grad(answering(bwd)))(X)
    with pytest.raises(AttributeError, match="defvjp"):
        fdl.grad(lambda x: jnp.sum(jax.custom_vjp(jnp.sin)(x)))(X)


@STAGED
def test_answers_in_another_precision_are_converted(how: Any) -> None:
    """JAX lets such a rule pass, and fails at the first operation that meets its answer."""
    fun = answering(lambda _, ct: ((2 * ct).astype(jnp.float32),))
    with pytest.raises(TypeError):
        jax.grad(fun)(X)
    found = how(fdl.grad(fun))(X)
    np.testing.assert_allclose(found, 2 * np.cos(2 * np.sin(X)) * np.cos(X), rtol=1e-6)
    assert found.dtype == jnp.float64


@STAGED
def test_static_arguments_by_name(how: Any) -> None:
    @functools.partial(jax.custom_vjp, nondiff_argnames=("f",))
    def applied(f: Any, x: Any) -> Any:
        return f(x)

    applied.defvjp(lambda f, x: (f(x), x), lambda f, x, ct: (ct * jnp.cos(x) / 2,))
    assert_gradients(lambda x: jnp.sum(applied(jnp.sin, x)), how)
    assert_gradients(lambda x: jnp.sum(applied(x=x, f=jnp.sin)), how)


def test_a_linear_solve_without_its_transpose() -> None:
    def solved(a: Any, b: Any) -> Any:
        return jnp.sum(lax.custom_linear_solve(lambda x: a * x, b, lambda matvec, b: b / a))

    with pytest.raises(fdl.RuleError, match=r"transpose_solve required.*f64\[2,3\]"):
        fdl.grad(solved)(X, X)


# --- what remat keeps -----------------------------------------------------------------------------------------------


def block(w: Any) -> Any:
    y = checkpoint_name(jnp.cos(w), "first")
    return jnp.sin(jax.jit(lambda y: checkpoint_name(jnp.sin(y), "second") @ y.T)(y)) ** 2


KEPT: list[tuple[str, Any, list[tuple[int, ...]]]] = [
    ("nothing_saveable", KEEP.nothing_saveable, [(2, 3)]),
    ("dots", KEEP.dots_saveable, [(2, 2), (2, 3)]),
    ("dots_without_batch", KEEP.checkpoint_dots_with_no_batch_dims, [(2, 2), (2, 3)]),
    ("names", KEEP.save_only_these_names("second"), [(2, 3), (2, 3)]),
    ("any_names_but", KEEP.save_any_names_but_these("second"), [(2, 3), (2, 3)]),
    ("both", KEEP.save_from_both_policies(KEEP.dots_saveable, KEEP.save_only_these_names("second")),
     [(2, 2), (2, 3), (2, 3)]),
    ("offloaded dots", KEEP.offload_dot_with_no_batch_dims("device", "pinned_host"), [(2, 2), (2, 3)]),
    ("offloaded names", KEEP.save_and_offload_only_these_names(
        names_which_can_be_saved=["first"], names_which_can_be_offloaded=["second"],
        offload_src="device", offload_dst="pinned_host"), [(2, 3), (2, 3), (2, 3)]),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "shapes"), [k[1:] for k in KEPT], ids=[k[0] for k in KEPT])
def test_remat_keeps_what_its_policy_names(policy: Any, shapes: list[tuple[int, ...]]) -> None:
    fun = jax.checkpoint(block, policy=policy)
    np.testing.assert_allclose(
        fdl.grad(lambda w: jnp.sum(fun(w)))(X), jax.grad(lambda w: jnp.sum(block(w)))(X), rtol=1e-12
    )
    residuals = jax.eval_shape(lambda w: fdl.vjp(fun, w, memory="keep")[1], X).residuals
    assert sorted(r.shape for r in residuals) == shapes


def test_remat_offloads_to_the_host() -> None:
    fun = jax.checkpoint(block, policy=KEEP.offload_dot_with_no_batch_dims("device", "pinned_host"))
    text = str(jax.make_jaxpr(lambda w: fdl.vjp(fun, w, memory="keep")[1](jnp.ones((2, 2))))(X))
    assert "f64<host>[2,2]" in text


@STAGED
def test_remat_in_its_other_ways(how: Any) -> None:
    for fun in (
        lambda w: jax.checkpoint(lambda n, w: block(w) * n, static_argnums=(0,))(3, w),
        jax.checkpoint(block, prevent_cse=False),
        jax.checkpoint(lambda w: jnp.sin(jax.checkpoint(block)(w))),
        lambda w: lax.scan(jax.checkpoint(lambda c, _: (jnp.sin(block(c)) @ c, None)), w, length=2)[0],
    ):
        assert_gradients(lambda w, fun=fun: jnp.sum(fun(w)), how)


def test_remat_where_nothing_is_compiled() -> None:
    with jax.disable_jit():
        found = fdl.grad(lambda w: jnp.sum(jax.checkpoint(block)(w)))(X)
    np.testing.assert_allclose(found, jax.grad(lambda w: jnp.sum(block(w)))(X), rtol=1e-12)


def test_remat_recomputes_behind_a_barrier() -> None:
    def barriers(**options: Any) -> int:
        fun = jax.checkpoint(block, **options)
        return jax.jit(fdl.grad(lambda w: jnp.sum(fun(w)))).lower(X).as_text().count("optimization_barrier")

    assert barriers() == barriers(prevent_cse=False) + 1


def test_remat_runs_the_function_where_nobody_reads_residuals() -> None:
    """``optimize_remat``: compiled, the forward pass of a rematerialised call is the function alone, not its fwd."""

    @jax.custom_vjp
    def kernel(x: Any) -> Any:
        return jnp.sin(x)

    kernel.defvjp(lambda x: (jnp.tan(x), x), lambda x, ct: (ct * jnp.cos(x),), optimize_remat=True)
    value, slope = jax.jit(fdl.value_and_grad(lambda x: jnp.sum(jax.checkpoint(lambda x: kernel(2 * x))(x))))(X)
    np.testing.assert_allclose(value, np.sum(np.sin(2 * X)))
    np.testing.assert_allclose(slope, 2 * np.cos(2 * X))


# --- names, donation, exported programs ------------------------------------------------------------------------------


def test_compiled_programs_keep_their_names() -> None:
    @jax.jit
    def layer(x: Any) -> Any:
        return jnp.sin(x) * 2

    def model(x: Any) -> Any:
        with jax.named_scope("encoder"):
            return jnp.sum(jnp.cos(layer(layer(x))))

    text = jax.jit(fdl.grad(model)).lower(X).as_text(debug_info=True)
    assert set(re.findall(r"func\.func \w+ @(\w+)", text)) == {"main", "layer", "vjp_layer"}
    assert "/encoder/" in text and "/vjp(encoder)/" in text


def test_donated_operands_survive_their_gradient() -> None:
    @functools.partial(jax.jit, donate_argnums=0)
    def used(x: Any) -> Any:
        return jnp.sin(x) * x

    x = jnp.asarray(X)
    fdl.grad(lambda x: jnp.sum(used(x)))(x)
    assert not x.is_deleted()


@STAGED
def test_exported_programs_bring_their_gradient(how: Any) -> None:
    exported = export.export(jax.jit(lambda x: jnp.sin(x) * x))(jax.ShapeDtypeStruct(X.shape, X.dtype))
    assert_gradients(lambda x: jnp.sum(exported.call(x)), how)
    inner = jax.make_jaxpr(exported.call)(X)
    call = next(e for e in _equations(inner.jaxpr) if e.primitive.name == "call_exported")
    with pytest.raises(fdl.RuleError, match="call_exported.*vjp_order"):
        how(fdl.grad(lambda x: jnp.sum(call.primitive.bind(x, **call.params)[0])))(X)


def _equations(jaxpr: Any) -> Any:
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jaxprs.core.jaxprs_in_params(eqn.params):
            yield from _equations(inner)
