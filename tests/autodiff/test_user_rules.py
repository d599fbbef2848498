"""Rules of the user's own: registered for new primitives, put in place of ours for one call, taken from a JVP."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

import functional_dl as fdl
from functional_dl.rules import entries
from tests.oracles import normal


def primitive(name: str, fun: Any, jvp: Any = None) -> Primitive:
    """A new elementwise primitive, as a library would make it."""
    made = Primitive(name)
    made.def_impl(fun)
    made.def_abstract_eval(lambda x, **params: x)
    mlir.register_lowering(made, mlir.lower_fun(fun, multiple_results=False))
    batching.defvectorized(made)
    if jvp is not None:
        ad.primitive_jvps[made] = jvp
    return made


def cube_jvp(primals: Any, tangents: Any) -> Any:
    ((x,), (t,)) = primals, tangents
    return cube_p.bind(x), 3 * x**2 * ad.instantiate_zeros(t)


cube_p = primitive("test_cube", lambda x: x * x * x, cube_jvp)
tripled_p = primitive("test_tripled", lambda x: 3 * x)
linear_p = primitive("test_linear", lambda x: 5 * x)
ad.primitive_jvps[linear_p] = lambda p, t: (linear_p.bind(*p), linear_p.bind(ad.instantiate_zeros(t[0])))
bare_p = primitive("test_bare", lambda x: x)
X = normal(3, 4)


@pytest.fixture
def tripled_rule() -> Any:
    @fdl.defvjp(tripled_p)
    def rule(ct: Any, y: Any, x: Any) -> Any:
        return (3 * ct,)

    return rule


class TestRegistration:
    """`defvjp`."""

    @pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jitted"])
    def test_rule_is_used(self, tripled_rule: Any, transform: Any) -> None:
        def fun(x: Any) -> Any:
            return jnp.sum(lax.map(lambda row: tripled_p.bind(jnp.sin(row)) ** 2, x))

        np.testing.assert_allclose(
            transform(fdl.grad(fun))(X), 18 * jnp.sin(X) * jnp.cos(X), rtol=1e-12, err_msg="gradient"
        )
        fdl.check_vjp(fdl.grad(fun), (X,))

    def test_registering_again_replaces(self, tripled_rule: Any) -> None:
        program = jax.jit(lambda x: jax.jit(tripled_p.bind)(x))  # an inner program that is remembered
        assert fdl.grad(program)(1.0) == 3.0
        fdl.defvjp(tripled_p, lambda ct, y, x: (7 * ct,))
        assert fdl.grad(program)(1.0) == 7.0

    @pytest.mark.parametrize(
        ("call", "words"),
        [
            (lambda: fdl.defvjp("sin", lambda ct, y, x: (ct,)), "'sin'.*rules=.*'sin'"),
            (lambda: fdl.defvjp("floor", lambda ct, y, x: (ct,)), "'floor' \\(zero\\)"),
            (lambda: fdl.defvjp(3, lambda ct: ct), "Primitive or its name.*3"),
            (lambda: fdl.defvjp("test_new", 3), "function.*'test_new'.*3"),
        ],
    )
    def test_errors(self, call: Any, words: str) -> None:
        before = entries()
        with pytest.raises(fdl.RuleError, match=words):
            call()
        assert entries() == before

    def test_wrong_answers_are_caught(self) -> None:
        fdl.defvjp(tripled_p, lambda ct, y, x: (jnp.sum(ct),))
        with pytest.raises(fdl.RuleError, match="test_tripled gave operand 0 a cotangent f64\\[\\].*f64\\[3,4\\]"):
            fdl.grad(lambda x: jnp.sum(tripled_p.bind(x)))(X)
        fdl.defvjp(tripled_p, lambda ct, y, x: (ct, ct))
        with pytest.raises(fdl.RuleError, match="2 cotangents.*1 operands"):
            fdl.grad(lambda x: jnp.sum(tripled_p.bind(x)))(X)


TRANSFORMS = [("eager", lambda f: f), ("jitted", jax.jit), ("inner jit", None), ("scan", None)]


def under(kind: str, fun: Any, rules: Any) -> Any:
    """The gradient of Σ fun(x) with ``rules``, the program reaching fun in the way of ``kind``."""
    inner = {
        "inner jit": lambda x: jnp.sum(jax.jit(fun)(x)),
        "scan": lambda x: jnp.sum(lax.scan(lambda c, row: (c, fun(row)), 0.0, x)[1]),
    }.get(kind, lambda x: jnp.sum(fun(x)))
    grad = fdl.grad(inner, rules=rules)
    return jax.jit(grad) if kind == "jitted" else grad


@pytest.mark.parametrize("kind", [k for k, _ in TRANSFORMS])
class TestOverrides:
    """``rules=``."""

    def test_straight_through(self, kind: str) -> None:
        rules = {"round": lambda ct, y, x, **params: (ct,)}
        found = under(kind, lambda x: jnp.round(x) ** 2, rules)(X)
        np.testing.assert_allclose(found, 2 * jnp.round(X))
        assert not np.any(under(kind, lambda x: jnp.round(x) ** 2, None)(X)), "the table is as it was"

    def test_guided_backpropagation(self, kind: str) -> None:
        """Springenberg et al. 2015: a ReLU passes on what is positive in both directions."""
        rules = {"custom_jvp_call:relu": lambda ct, y, x: (jnp.where((x > 0) & (ct > 0), ct, 0.0),)}
        weights = jnp.where(jnp.arange(4) % 2 == 0, 1.0, -1.0)
        found = under(kind, lambda x: jax.nn.relu(x) * jnp.broadcast_to(weights, x.shape), rules)(X)
        np.testing.assert_allclose(found, jnp.where((X > 0) & (jnp.broadcast_to(weights, X.shape) > 0), 1.0, 0.0))

    def test_clipped_cotangents(self, kind: str) -> None:
        rules = {"tanh": lambda ct, y, x, **params: (jnp.clip(ct * (1 - y * y), -0.1, 0.1),)}
        found = under(kind, lambda x: 3 * jnp.tanh(x), rules)(X)
        np.testing.assert_allclose(found, jnp.clip(3 * (1 - jnp.tanh(X) ** 2), -0.1, 0.1), rtol=1e-12)

    def test_stopped(self, kind: str) -> None:
        found = under(kind, lambda x: jnp.sin(x) * x, {"sin": None})(X)
        np.testing.assert_allclose(found, jnp.sin(X), rtol=1e-12)

    def test_called_functions(self, kind: str) -> None:
        @jax.jit
        def named(x: Any, y: Any) -> Any:
            return x * y

        rules = {"jit:named": lambda ct, y, a, b: (10 * ct, None)}
        np.testing.assert_allclose(under(kind, lambda x: named(x, x), rules)(X), jnp.full_like(X, 10))


def test_overrides_may_close_over_traced_values() -> None:
    def loss(x: Any, bound: Any) -> Any:
        rules = {"sin": lambda ct, y, x, **params: (jnp.clip(ct * jnp.cos(x), -bound, bound),)}
        return fdl.grad(lambda x: jnp.sum(jnp.sin(x)), rules=rules)(x)

    for bound in (0.1, 0.2):
        np.testing.assert_allclose(jax.jit(loss)(X, bound), jnp.clip(jnp.cos(X), -bound, bound))
        np.testing.assert_allclose(loss(X, bound), jnp.clip(jnp.cos(X), -bound, bound))


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"sin": 3}, "functions.*3 for 'sin'"),
        ({"sin:f": lambda ct, y, x: (ct,)}, "'sin:f'.*may follow only jit, "),
        ({3: lambda ct, y, x: (ct,)}, "names of primitives.*for 3"),
    ],
)
def test_override_errors(rules: Any, words: str) -> None:
    with pytest.raises(fdl.RuleError, match=words):
        fdl.grad(jnp.sin, rules=rules)


class TestForeign:
    """Primitives with only a JVP, registered by their library in JAX."""

    def test_its_jvp_is_sent_backward(self) -> None:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for run in (lambda f: f, jax.jit):
                found = run(fdl.grad(lambda x: jnp.sum(cube_p.bind(jnp.sin(x)))))(X)
                np.testing.assert_allclose(found, 3 * jnp.sin(X) ** 2 * jnp.cos(X), rtol=1e-12)
            second = fdl.grad(lambda x: jnp.sum(fdl.grad(lambda x: jnp.sum(cube_p.bind(x)))(x) ** 2))(X)
            np.testing.assert_allclose(second, 36 * X**3, rtol=1e-12)
        assert len([w for w in said if "test_cube" in str(w.message)]) <= 1, "said once"

    @pytest.mark.parametrize(
        ("foreign", "words"),
        [(bare_p, "'test_bare' \\(f64.*no JVP.*defvjp\\('test_bare'"), (linear_p, "'test_linear'.*made of itself")],
        ids=["no JVP", "linear"],
    )
    def test_what_has_none_is_refused(self, foreign: Any, words: str) -> None:
        with pytest.raises(fdl.RuleError, match=words):
            fdl.grad(lambda x: foreign.bind(x) * 2)(1.0)
        assert fdl.grad(lambda x: foreign.bind(lax.stop_gradient(x)) * x)(2.0) != 0

    def test_nothing_with_a_rule_takes_this_way(self) -> None:
        """What the table knows never reaches JAX's JVP: the warning would say so, and warnings are errors here."""
        fun = lambda x: jnp.sum(jnp.sort(jnp.sin(x) @ x.T) ** 2) + jnp.max(x)
        np.testing.assert_allclose(fdl.grad(fun)(X), jax.grad(fun)(X), rtol=1e-9)
