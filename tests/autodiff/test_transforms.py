"""The transforms against JAX's: values, structure, dtypes, composition, and errors at least as clear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import Primitive
from jax.interpreters import mlir

import functional_dl as fdl
from tests.oracles import complex_normal, normal


def assert_tree_close(found: Any, due: Any, rtol: float = 1e-9) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(due)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(due), strict=True):
        assert jnp.result_type(a) == jnp.result_type(b)
        if jnp.result_type(a) != jax.dtypes.float0:
            np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)
        else:
            assert a.shape == b.shape


def scanned(w: Any, xs: Any) -> Any:
    def body(c: Any, x: Any) -> Any:
        c = jnp.tanh(c @ w + x)
        return c, jnp.sin(c) * x

    c, ys = lax.scan(body, jnp.zeros(w.shape[0]), xs)
    return jnp.sum(ys * ys) + jnp.sum(c)


def reverse_scan(w: Any, xs: Any) -> Any:
    def body(c: Any, x: Any) -> Any:
        return c * jnp.sin(x @ w) + 1.0, None

    return jnp.sum(lax.scan(body, jnp.ones(w.shape[1]), xs, reverse=True, unroll=2)[0])


def no_carry(w: Any, xs: Any) -> Any:
    return jnp.sum(lax.map(lambda x: jnp.sin(x @ w), xs) ** 2)


def counted(w: Any, xs: Any) -> Any:
    return jnp.sum(lax.fori_loop(0, 3, lambda i, c: jnp.sin(c @ w) * i + c, xs))


def branched(w: Any, xs: Any) -> Any:
    branches = [lambda a: jnp.sin(a), lambda a: a @ w @ w.T, lambda a: jnp.zeros_like(a)]
    return sum(jnp.sum(lax.switch(i, branches, xs)) for i in range(3))


def nested(w: Any, xs: Any) -> Any:
    @jax.jit
    def inner(a: Any) -> Any:
        return lax.cond(jnp.sum(a) > 0, jnp.cos, jnp.sin, a) @ w

    def body(c: Any, x: Any) -> Any:
        return c + jnp.sum(inner(x)), inner(x)

    c, ys = lax.scan(body, 0.0, xs)
    return c * jnp.sum(ys**2)


def rematerialised(w: Any, xs: Any) -> Any:
    block = jax.checkpoint(lambda a: jnp.sin(jnp.sin(a @ w) @ w.T))
    return jnp.sum(block(block(xs)))


def saving_dots(w: Any, xs: Any) -> Any:
    policy = jax.checkpoint_policies.dots_saveable
    return jnp.sum(jax.checkpoint(lambda a: jnp.sin(jnp.tanh(a @ w) @ w.T) * a, policy=policy)(xs))


def saving_names(w: Any, xs: Any) -> Any:
    policy = jax.checkpoint_policies.save_only_these_names("hidden")

    def block(a: Any) -> Any:
        return jnp.sin(checkpoint_name(jnp.tanh(a @ w), "hidden") @ w.T) * a

    return jnp.sum(jax.checkpoint(block, policy=policy)(xs))


def rectified(w: Any, xs: Any) -> Any:
    return jnp.sum(jax.nn.relu(xs @ w) ** 2 + jax.nn.silu(xs @ w) + jax.nn.softplus(xs @ w))


@jax.custom_vjp
def tripled(x: Any, y: Any) -> Any:
    return x * y


tripled.defvjp(lambda x, y: (x * y, (x, y)), lambda r, ct: (3 * ct * r[1], jnp.sin(r[0]) * ct))


def custom(w: Any, xs: Any) -> Any:
    return jnp.sum(tripled(jnp.sin(xs), 2 * xs)) + jnp.sum(tripled(w, w))


def attention(w: Any, xs: Any) -> Any:
    q = xs @ w
    return jnp.sum(jax.nn.softmax(q @ q.T / 3.0, axis=-1) @ q)


PROGRAMS = [scanned, reverse_scan, no_carry, counted, branched, nested, rematerialised, saving_dots, saving_names,
            rectified, custom, attention]  # fmt: skip
SQUARE_ONLY = {scanned, counted}


def arguments(program: Callable[..., Any]) -> tuple[Any, Any]:
    width = 3 if program in SQUARE_ONLY else 4
    return jnp.asarray(0.5 * normal(3, width)), jnp.asarray(normal(5, 3, seed=1))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
class TestPrograms:
    """Each program under each composition."""

    def test_eager_and_jitted(self, program: Any) -> None:
        args = arguments(program)
        due = jax.value_and_grad(program, (0, 1))(*args)
        assert_tree_close(fdl.value_and_grad(program, (0, 1))(*args), due)
        assert_tree_close(jax.jit(fdl.value_and_grad(program, (0, 1)))(*args), due)
        assert_tree_close(fdl.grad(jax.jit(program), (0, 1))(*args), due[1])

    def test_second_order(self, program: Any) -> None:
        args = arguments(program)

        def bent(grad: Any) -> Any:
            return lambda w, xs: jnp.sum(jnp.sin(grad(program)(w, xs)))

        due = jax.grad(bent(jax.grad), (0, 1))(*args)
        assert_tree_close(fdl.grad(bent(fdl.grad), (0, 1))(*args), due)
        assert_tree_close(jax.grad(bent(fdl.grad), (0, 1))(*args), due)
        assert_tree_close(fdl.grad(bent(jax.grad), (0, 1))(*args), due)

    def test_forward_over_ours(self, program: Any) -> None:
        args = arguments(program)
        # JAX refuses forward mode over its own reverse mode of a custom_vjp function; where ours was traced it has
        # become plain operations, and the oracle is the symmetric reverse over reverse.
        if program is custom:
            w, xs = args
            found = jax.jvp(jax.jit(fdl.grad(program)), args, (w, jnp.zeros_like(xs)))[1]
            assert_tree_close(found, jax.grad(lambda v: jnp.vdot(jax.grad(program)(v, xs), w))(w))
        else:
            assert_tree_close(jax.jvp(fdl.grad(program), args, args)[1], jax.jvp(jax.grad(program), args, args)[1])

    def test_batched(self, program: Any) -> None:
        w, xs = arguments(program)
        batch = jnp.stack([xs, 2 * xs])
        due = jax.vmap(jax.grad(program, (0, 1)), (None, 0))(w, batch)
        assert_tree_close(jax.vmap(fdl.grad(program, (0, 1)), (None, 0))(w, batch), due)
        assert_tree_close(jax.jit(jax.vmap(fdl.grad(program, (0, 1)), (None, 0)))(w, batch), due)

        def summed(grad: Any) -> Any:
            return grad(lambda w: jnp.sum(jax.vmap(program, (None, 0))(w, batch)))(w)

        assert_tree_close(summed(fdl.grad), summed(jax.grad))

    def test_pullback_leaves_a_jit(self, program: Any) -> None:
        args = arguments(program)
        out, pullback = jax.jit(lambda *a: fdl.vjp(program, *a))(*args)
        assert_tree_close(pullback(jnp.ones_like(out)), jax.grad(program, (0, 1))(*args))
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(pullback))


def test_third_order() -> None:
    def cube(grad: Any) -> Any:
        return grad(grad(grad(lambda x: jnp.sin(x) * x**4)))(1.3)

    assert_tree_close(cube(fdl.grad), cube(jax.grad))


def test_hessian_and_hvp() -> None:
    def fun(p: Any) -> Any:
        return jnp.sum(jnp.sin(p["a"]) * p["b"][:, None] ** 3)

    p = {"a": jnp.asarray(normal(3, 2)), "b": jnp.asarray(normal(3))}
    assert_tree_close(fdl.hessian(fun)(p), jax.hessian(fun)(p))
    assert_tree_close(fdl.hvp(fun, (p,), (p,)), jax.jvp(jax.grad(fun), (p,), (p,))[1])


def test_jacrev() -> None:
    def fun(x: Any, y: Any) -> Any:
        return {"p": jnp.outer(x, jnp.sin(y)), "q": jnp.sum(x) * y[0]}

    x, y = jnp.asarray(normal(3)), jnp.asarray(normal(2))
    assert_tree_close(fdl.jacrev(fun)(x, y), jax.jacrev(fun)(x, y))
    assert_tree_close(fdl.jacrev(fun, (0, 1))(x, y), jax.jacrev(fun, (0, 1))(x, y))
    with_aux = lambda x: (x**2, {"aux": x})
    assert_tree_close(fdl.jacrev(with_aux, has_aux=True)(x), jax.jacrev(with_aux, has_aux=True)(x))


def test_semantics_of_arguments() -> None:
    def fun(p: Any, n: int, flag: str, scale: float = 1.0) -> Any:
        return (jnp.sum(p["w"] ** n) * scale if flag == "yes" else 0.0), {"n": n, "flag": flag}

    p = {"w": jnp.asarray(normal(3)), "unused": None, "alone": jnp.ones(2)}
    found, aux = fdl.grad(fun, has_aux=True)(p, 3, "yes", scale=2.0)
    due, _ = jax.grad(fun, has_aux=True)(p, 3, "yes", scale=2.0)
    assert_tree_close(found, due)
    assert aux == {"n": 3, "flag": "yes"}
    assert_tree_close(fdl.grad(lambda a, b: a * b**2, -1)(2.0, 3.0), jax.grad(lambda a, b: a * b**2, -1)(2.0, 3.0))


def test_weak_types_follow_jax() -> None:
    for x in (1.5, np.float32(1.5), jnp.float32(1.5)):
        ours, theirs = fdl.grad(lambda x: jnp.sin(x) * x)(x), jax.grad(lambda x: jnp.sin(x) * x)(x)
        assert jax.typeof(ours) == jax.typeof(theirs)


def test_integers_get_float0() -> None:
    def fun(n: Any, x: Any) -> Any:
        return jnp.sum(x) * n

    args = (3, jnp.ones(2))
    assert_tree_close(fdl.grad(fun, (0, 1), allow_int=True)(*args), jax.grad(fun, (0, 1), allow_int=True)(*args))
    assert_tree_close(fdl.vjp(fun, *args)[1](jnp.ones(())), jax.vjp(fun, *args)[1](jnp.ones(())))


def test_holomorphic() -> None:
    z = jnp.asarray(complex_normal(3))[0]
    assert_tree_close(
        fdl.grad(lambda z: jnp.sin(z) * z, holomorphic=True)(z), jax.grad(lambda z: jnp.sin(z) * z, holomorphic=True)(z)
    )


def test_complex_inputs_with_real_outputs() -> None:
    z = jnp.asarray(complex_normal(3))
    fun = lambda z: jnp.sum(jnp.abs(z) ** 2 * jnp.real(jnp.sin(z)))
    assert_tree_close(fdl.grad(fun)(z), jax.grad(fun)(z))
    assert_tree_close(fdl.jacrev(lambda z: jnp.abs(z) ** 2)(z), jax.jacrev(lambda z: jnp.abs(z) ** 2)(z))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_low_precision_dtypes_are_kept(dtype: Any) -> None:
    w, xs = (a.astype(dtype) for a in arguments(scanned))

    def fun(w: Any) -> Any:
        return jnp.sum(jax.nn.gelu(xs @ w)).astype(jnp.float32)

    ours, theirs = fdl.grad(fun)(w), jax.grad(fun)(w)
    assert ours.dtype == theirs.dtype == dtype
    np.testing.assert_allclose(ours.astype(np.float32), theirs.astype(np.float32), rtol=0.05, atol=0.05)


def test_impure_functions_are_not_remembered() -> None:
    factor = [1.0]

    def fun(x: Any) -> Any:
        return x * factor[0]

    assert fdl.grad(fun)(1.0) == 1.0
    factor[0] = 2.0
    assert fdl.grad(fun)(1.0) == 2.0


def test_while_loop_in_a_part_without_gradient() -> None:
    def fun(x: Any) -> Any:
        steps = lax.while_loop(lambda n: n < 5, lambda n: n + 2, 0)
        return x**2 * steps

    assert_tree_close(fdl.grad(fun)(3.0), jax.grad(fun)(3.0))


UNKNOWN = Primitive("test_unknown")
UNKNOWN.def_impl(lambda x: x)
UNKNOWN.def_abstract_eval(lambda x: x)
mlir.register_lowering(UNKNOWN, mlir.lower_fun(lambda x: x, multiple_results=False))

ERRORS: list[tuple[str, type[Exception], Callable[[], Any], str]] = [
    ("vector output", TypeError, lambda: fdl.grad(lambda x: x)(jnp.ones(3)), "scalar-output.*f64\\[3\\]"),
    ("integer input", TypeError, lambda: fdl.grad(lambda x: x)(3), "int64.*allow_int"),
    ("complex output", TypeError, lambda: fdl.grad(lambda x: x + 1j)(1.0), "real-valued outputs"),
    ("string argument", TypeError, lambda: fdl.grad(lambda x: 1.0)("a"), "'a' of type str"),
    ("argnums", ValueError, lambda: fdl.grad(lambda x: x, 3)(1.0), "argument 3.*called with 1"),
    ("no pair", TypeError, lambda: fdl.grad(lambda x: x, has_aux=True)(1.0), "pair"),
    ("cotangent shape", ValueError, lambda: fdl.vjp(jnp.sin, jnp.ones(3))[1](jnp.ones(2)), "f64\\[2\\].*f64\\[3\\]"),
    ("cotangent dtype", TypeError, lambda: fdl.vjp(jnp.sin, jnp.ones(3))[1](jnp.ones(3, "f4")), "f32.*float64"),
    ("cotangent tree", ValueError, lambda: fdl.vjp(jnp.sin, 1.0)[1]((1.0,)), "structure"),
    (
        "while loop",
        fdl.RuleError,
        lambda: fdl.grad(lambda x: lax.while_loop(lambda c: c < 9, lambda c: 2 * c, x))(1.0),
        "while loop.*lax.scan",
    ),
    ("no rule", fdl.RuleError, lambda: fdl.grad(lambda x: UNKNOWN.bind(x))(3.0), "test_unknown.*~?f64\\[\\].*defvjp"),
    ("whose line", fdl.RuleError, lambda: fdl.grad(lambda x: UNKNOWN.bind(x))(3.0), "test_transforms.py:\\d+"),
    ("whose line", fdl.RuleError, lambda: fdl.grad(jax.jit(lambda x: UNKNOWN.bind(x)))(3.0), "transforms.py:\\d+"),
]


@pytest.mark.parametrize(("kind", "error", "call", "words"), ERRORS, ids=[e[0] for e in ERRORS])
def test_errors_say_what_to_do(kind: str, error: type[Exception], call: Callable[[], Any], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
