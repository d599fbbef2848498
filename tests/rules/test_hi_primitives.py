"""A user's primitives that are Python objects (`jax.experimental.hijax`), each with its derivative in its own way."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import hijax
from jax.interpreters import ad

import functional_dl as fdl
from tests.oracles import normal
from tests.rules.contract import assert_contract, case

HiPrim = getattr(hijax, "HiPrim", None) or hijax.VJPHiPrimitive
NEW = jax.__version_info__ >= (0, 11)
X, Y = normal(2, 3), normal(2, 3, seed=1)


class Product(HiPrim):
    """x y, a number beside it, and nothing said of derivatives."""

    def __init__(self, x: Any, y: Any) -> None:
        self.in_avals = ({"x": jax.typeof(x)}, jax.typeof(y))
        self.out_aval = [jax.typeof(x), jax.typeof(np.int32(0))]
        self.params = {}
        super().__init__()

    def expand(self, tree: Any, y: Any) -> Any:
        return [tree["x"] * y, jnp.int32(3)]

    def batch(self, axis_data: Any, args: Any, dims: Any) -> Any:
        raise NotImplementedError


class ByVjp(Product):
    def vjp_fwd(self, perturbed: Any, tree: Any, y: Any) -> Any:
        assert perturbed == ({"x": True}, True)
        return self(tree, y), (tree["x"], {"y": y})

    def vjp_bwd_retval(self, kept: Any, cts: Any) -> Any:
        ct, none = cts
        assert isinstance(none, ad.Zero)
        return {"x": ct * kept[1]["y"]}, ct * kept[0]


class ByAccumulating(ByVjp):
    def vjp_bwd(self, kept: Any, cts: Any, tree: Any, y: Any) -> None:  # type: ignore[override]
        tree["x"].accum(cts[0] * kept[1]["y"] / 2)
        tree["x"].accum(cts[0] * kept[1]["y"] / 2)
        y.accum(cts[0] * kept[0])


class ByJvp(Product):
    def jvp(self, primals: Any, tangents: Any) -> Any:
        (tree, y), (tree_dot, y_dot) = primals, tangents
        out = self(tree, y)
        slope = lax.full_like(y, 0)
        if not isinstance(tree_dot["x"], ad.Zero):
            slope += tree_dot["x"] * y
        if not isinstance(y_dot, ad.Zero):
            slope += tree["x"] * y_dot
        return out, [slope, ad.Zero(self.out_aval[1].to_tangent_aval())]


if NEW:

    class ByLin(Product):
        def lin(self, perturbed: Any, tree: Any, y: Any) -> Any:
            return self(tree, y), (tree["x"], y)

        def linearized(self, kept: Any, tree_dot: Any, y_dot: Any) -> Any:
            (x, y), x_dot = kept, tree_dot["x"]
            slope = lax.full_like(y, 0)
            slope = slope if isinstance(x_dot, ad.Zero) else slope + x_dot * y
            slope = slope if isinstance(y_dot, ad.Zero) else slope + x * y_dot
            return [slope, ad.Zero(self.out_aval[1].to_tangent_aval())]

        vjp_fwd, vjp_bwd_retval = hijax.vjp_from_lin
        jvp = hijax.jvp_from_lin

    class Tripled(HiPrim):
        """3 x: a linear map whose forward mode is itself."""

        def __init__(self, x: Any) -> None:
            self.in_avals, self.out_aval, self.params = (jax.typeof(x),), jax.typeof(x), {}
            super().__init__()

        def expand(self, x: Any) -> Any:
            return 3 * x

        def jvp(self, primals: Any, tangents: Any) -> Any:
            return self(*primals), self(*tangents)

        def transpose(self, ct: Any, x: Any) -> None:  # type: ignore[override]
            x.accum(self(ct))

        lin, linearized = hijax.linearize_from_jvp
        vjp_fwd, vjp_bwd_retval = hijax.vjp_from_jvp


def product(kind: Any) -> Any:
    return lambda x, y: jnp.sin(kind(x, y)({"x": x}, y)[0])


STATED = [ByVjp, *([ByAccumulating, ByLin] if NEW else [])]


@pytest.mark.parametrize("kind", STATED, ids=lambda k: k.__name__)
def test_as_jax_has_it(kind: Any) -> None:
    assert_contract(case("call_hi_primitive", product(kind), X, Y))
    found = jax.jit(fdl.grad(lambda x: jnp.sum(lax.map(lambda r: product(kind)(r, r), x))))(X)
    np.testing.assert_allclose(found, np.cos(X * X) * 2 * X, rtol=1e-12)


@pytest.mark.parametrize("kind", [Product, ByJvp], ids=lambda k: k.__name__)
def test_where_jax_refuses(kind: Any) -> None:
    """JAX's reverse mode asks for ``vjp_fwd`` alone; a forward mode, or what the primitive expands to, says as much."""
    assert_contract(case("call_hi_primitive", product(kind), X, Y, refused=1))


@pytest.mark.skipif(not NEW, reason="before JAX 0.11 there is no transpose to state that reverse mode would use")
def test_a_linear_map_by_its_own_transpose() -> None:
    assert_contract(case("call_hi_primitive", lambda x: jnp.sin(Tripled(x)(x)), X))


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="the switches are of JAX 0.12")
@pytest.mark.parametrize("switch", ["jax_custom_vjp3", "jax_custom_jvp3", "jax_remat3"])
def test_custom_rules_and_remat_of_the_coming_kind(switch: str) -> None:
    """Functions with rules of their own are such primitives where JAX is so configured."""
    before = getattr(jax.config, switch)
    jax.config.update(switch, True)
    try:

        @jax.custom_vjp
        def f(x: Any, n: Any) -> Any:
            return jnp.sin(x) * n

        f.defvjp(lambda x, n: (f(x, n), (x, n)), lambda r, c: (c * jnp.cos(r[0]) * r[1] / 2, None))

        @jax.custom_jvp
        def g(x: Any) -> Any:
            return jnp.sin(x)

        g.defjvp(lambda p, t: (g(*p), t[0] * jnp.cos(p[0]) / 2))

        def fun(x: Any) -> Any:
            return jnp.sum(jax.checkpoint(lambda x: f(x, 3) * jnp.sin(g(x)))(x))

        def second(grad: Any) -> Any:
            return grad(lambda x: jnp.sum(jnp.sin(grad(fun)(x))))

        np.testing.assert_allclose(fdl.grad(fun)(X), jax.grad(fun)(X), rtol=1e-12)
        np.testing.assert_allclose(jax.jit(second(fdl.grad))(X), second(jax.grad)(X), rtol=1e-12)
    finally:
        jax.config.update(switch, before)
