"""What the engine relies on in JAX's intermediate representation, so that a new JAX fails here with a sentence."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core

from functional_dl import jaxprs
from functional_dl.loops import scan_layout
from functional_dl.rules.book import called_name


def only_equation(fun: Any, *args: Any) -> Any:
    (eqn,) = jax.make_jaxpr(fun)(*args).jaxpr.eqns
    return eqn


def test_scan_operands_are_constants_carry_and_slices() -> None:
    w, xs = jnp.ones(2), jnp.ones((5, 3))
    eqn = only_equation(lambda w, c, xs: lax.scan(lambda c, x: (c + jnp.sum(w), x * c), c, xs), w, 0.0, xs)
    assert scan_layout(eqn.params) == (1, 1), "scan no longer says how many constants and carries it has"
    assert [v.aval.shape for v in eqn.invars] == [(2,), (), (5, 3)], "scan's operands changed their order"
    assert [v.aval.shape for v in eqn.outvars] == [(), (5, 3)], "scan's outputs changed their order"
    assert {"jaxpr", "length", "reverse", "unroll"} <= eqn.params.keys()


def test_cond_operands_start_with_the_index() -> None:
    jaxpr = jax.make_jaxpr(lambda p, x: lax.cond(p, jnp.sin, jnp.cos, x))(True, 1.0).jaxpr
    eqn = jaxpr.eqns[-1]
    assert eqn.primitive.name == "cond" and eqn.invars[0].aval.dtype == jnp.int32
    names = [branch.jaxpr.eqns[0].primitive.name for branch in eqn.params["branches"]]
    assert names == ["cos", "sin"], "cond's branches are no longer in the order of the index"


def test_while_operands_are_constants_then_carry() -> None:
    jaxpr = jax.make_jaxpr(lambda n, x: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, c[1] * x), (0, 1.0)))
    (eqn,) = jaxpr(3, 2.0).jaxpr.eqns
    assert (eqn.params["cond_nconsts"], eqn.params["body_nconsts"], len(eqn.invars)) == (1, 1, 4)


def test_jit_parameters_can_be_edited() -> None:
    eqn = only_equation(jax.jit(lambda x: x * 2), 1.0)
    due = {"jaxpr", "in_shardings", "out_shardings", "in_layouts", "out_layouts", "donated_invars", "name", "inline"}
    assert due <= eqn.params.keys(), f"jit lost {due - eqn.params.keys()}"


def test_inlining_leaves_no_call_behind() -> None:
    graph = jaxprs.trace(lambda x: [jnp.sin(x) * x], 1.0)
    staged = jax.make_jaxpr(lambda x: jaxprs.evaluate(graph, [x]))(1.0)
    assert [e.primitive.name for e in staged.jaxpr.eqns] == ["sin", "mul"]


def test_graphs_close_and_open() -> None:
    table = np.arange(3.0, dtype=np.float32)
    graph = jaxprs.trace(lambda x: [x * table], jax.core.ShapedArray((3,), jnp.float32))
    again = jaxprs.open_jaxpr(jaxprs.close(graph))
    assert len(again.consts) == len(graph.consts)
    np.testing.assert_array_equal(jaxprs.evaluate(again, [np.ones(3, np.float32)])[0], table)


def test_custom_rules_come_with_their_functions() -> None:
    @jax.custom_jvp
    def twice(x: Any) -> Any:
        return 2 * x

    twice.defjvp(lambda p, t: (twice(*p), 3 * t[0]))
    eqn = only_equation(twice, 1.0)
    _, jvp = eqn.primitive.get_bind_params(eqn.params)["subfuns"]
    assert [float(x) for x in jvp.call_wrapped(1.0, 1.0)] == [2.0, 3.0]

    @jax.custom_vjp
    def thrice(x: Any) -> Any:
        return 3 * x

    thrice.defvjp(lambda x: (3 * x, (x, x + 1)), lambda r, ct: (ct * r[1],))
    eqn = only_equation(thrice, 1.0)
    _, fwd, _ = eqn.primitive.get_bind_params(eqn.params)["subfuns"]
    found = fwd.call_wrapped(1.0, True)
    _, tree, forwarded = eqn.params["out_trees"]()
    assert tree.num_leaves == 2 and len(forwarded) == 2
    assert [float(x) for x in found] == [2.0, 3.0], "fwd no longer returns own residuals, then outputs"


def test_traces_stand_on_each_other() -> None:
    assert not jaxprs.is_staged()
    seen = []
    jax.vmap(lambda x: seen.append(jaxprs.is_staged()) or x)(jnp.ones(2))
    jax.jit(jax.vmap(lambda x: seen.append(jaxprs.is_staged()) or x))(jnp.ones(2))
    assert seen == [False, True]


class Passing(jax.core.Trace):
    """A trace that passes everything on, and notes what it was asked: what our own traces are made like."""

    def __init__(self, below: Any, seen: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.parent_trace = below
        self.requires_low = False
        self.seen = seen

    def process_primitive(self, primitive: Any, tracers: Any, params: Any, /) -> Any:
        self.seen.append((primitive.name, params))
        return jaxprs.bind_on(self.parent_trace, primitive, tracers, params)

    def process_custom_jvp_call(self, primitive: Any, fun: Any, jvp: Any, tracers: Any, /, **how: Any) -> Any:
        self.seen.append((fun.debug_info.func_src_info.split(" ", 1)[0], how))
        with core.set_current_trace(self.parent_trace):
            return primitive.bind(*tracers, subfuns=(fun, jvp), **how)

    def process_custom_vjp_call(self, primitive: Any, fun: Any, fwd: Any, bwd: Any, tracers: Any, /, **how: Any) -> Any:
        self.seen.append((fun.debug_info.func_src_info.split(" ", 1)[0], how))
        with core.set_current_trace(self.parent_trace):
            return primitive.bind(*tracers, subfuns=(fun, fwd, bwd), **how)


@pytest.mark.parametrize("run", [lambda f: f, jax.jit], ids=["eager", "staged"])
def test_a_trace_of_our_own_sees_every_operation(run: Any) -> None:
    @jax.custom_vjp
    def halved(x: Any) -> Any:
        return x / 2

    halved.defvjp(lambda x: (x / 2, None), lambda _, ct: (ct / 2,))
    seen: list[tuple[str, Any]] = []

    def under(x: Any) -> Any:
        with core.take_current_trace() as below, core.set_current_trace(Passing(below, seen)):
            return halved(jax.nn.relu(lax.sin(x)))

    assert float(run(under)(1.0)) == float(jnp.sin(1.0) / 2)
    kinds = dict(seen)
    assert {"sin", "relu", "halved"} <= kinds.keys(), f"a trace under {run} was asked for {list(kinds)}"
    assert kinds["relu"].keys() == {"symbolic_zeros"}, "custom_jvp calls carry more than they did"
    assert kinds["halved"].keys() == {"out_trees", "symbolic_zeros"}, "custom_vjp calls carry more than they did"


def test_tracers_of_our_own_have_an_aval_and_may_be_concrete() -> None:
    class Wrapped(jax.core.Tracer):
        __slots__ = ("_inside",)

        def __init__(self, trace: Any, x: Any) -> None:
            super().__init__(trace, jax.typeof(x))
            self._inside = x

        def to_concrete_value(self) -> Any:
            return self._inside

    value = jnp.float32(2.5)
    with core.take_current_trace() as below:
        x = Wrapped(Passing(below, []), value)
    assert x.aval.dtype == np.float32 and bool(x) and int(x) == 2, "a tracer's concrete value is no longer asked for"


def test_an_invalid_trace_is_noticed() -> None:
    with core.take_current_trace() as below:
        trace = Passing(below, [])
    x = jax.core.Tracer(trace, jax.typeof(1.0))
    trace.invalidate()
    with pytest.raises(jax.errors.UnexpectedTracerError):
        lax.sin(x)


def test_called_functions_are_named() -> None:
    eqn = only_equation(jax.nn.relu, 1.0)
    assert called_name(eqn.primitive.name, eqn.params) == "relu"
    eqn = only_equation(jax.jit(lambda x: jnp.linalg.norm(x)), jnp.ones(2))
    assert called_name("jit", eqn.params) == "<lambda>"


def test_jnp_functions_inline_while_they_are_traced() -> None:
    seen: list[tuple[str, Any]] = []
    with core.take_current_trace() as below, core.set_current_trace(Passing(below, seen)):
        jnp.sin(1.0)
    assert seen[0][0] == "jit" and jaxprs.inlines(seen[0][1]), "jnp.sin is no longer an inlined jit"
    assert not jaxprs.inlines(only_equation(jax.jit(lambda x: x * 2), 1.0).params)


def test_cotangent_types() -> None:
    aval = jax.core.ShapedArray((2, 3), np.dtype(np.float32), weak_type=True)
    for tangent in (aval.to_tangent_aval(), aval.to_ct_aval()):
        assert (tangent.shape, tangent.dtype, tangent.weak_type) == ((2, 3), np.float32, True)
    assert jax.core.ShapedArray((2,), np.dtype(np.int32)).to_tangent_aval().dtype == jax.dtypes.float0


DOORS = [
    "Var", "Literal", "Primitive", "new_jaxpr_eqn", "jaxprs_in_params", "take_current_trace", "set_current_trace",
    "no_effects",
]  # fmt: skip


@pytest.mark.parametrize("name", DOORS)
def test_public_doors(name: str) -> None:
    assert hasattr(core, name)


def test_linear_solves_carry_four_programs() -> None:
    eqn = jax.make_jaxpr(lambda a, b: lax.custom_linear_solve(lambda x: a * x, b, lambda f, b: b, lambda f, b: b))(
        2.0, 3.0
    ).jaxpr.eqns[-1]
    assert eqn.params["jaxprs"]._fields == ("matvec", "vecmat", "solve", "transpose_solve")
    assert eqn.params["const_lengths"]._fields == eqn.params["jaxprs"]._fields


def test_remat_says_whether_it_stems_from_a_derivative() -> None:
    eqn = only_equation(jax.checkpoint(jnp.sin), 1.0)
    assert eqn.params.keys() == {"jaxpr", "prevent_cse", "differentiated", "policy"}


def test_linear_calls_bring_their_transpose() -> None:
    eqn = only_equation(lambda x: jax.custom_derivatives.linear_call(lambda r, x: r * x, lambda r, x: x, 2.0, x), 1.0)
    transpose, consts = eqn.params["transpose_thunk"]()
    assert (eqn.params["num_callee_consts"], eqn.params["num_res"], len(consts)) == (0, 1, 0)
    assert len(jaxprs.open_jaxpr(transpose).inputs) == len(jaxprs.open_jaxpr(eqn.params["callee"]).inputs) == 2


def test_a_forward_kept_whole_says_what_it_returns() -> None:
    @jax.custom_vjp
    def f(x: Any) -> Any:
        return jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), (x, x + 1)), lambda r, ct: (ct,), optimize_remat=True)
    eqn = jax.make_jaxpr(lambda x: jax.vjp(f, x)[0])(1.0).jaxpr.eqns[0]
    assert eqn.primitive.name == "remat_opt"
    assert (eqn.params["num_consts"], eqn.params["num_res"], len(eqn.outvars)) == (0, 1, 2)
    program, consts = eqn.params["fun_jaxpr_thunk"]()
    assert len(jaxprs.open_jaxpr(program).outputs) == 1 and not consts


def test_tracers_that_are_left_over_tell_their_variable() -> None:
    left: list[Any] = []
    closed = jax.make_jaxpr(lambda x: [left.append(jnp.sin(x)), jnp.cos(x)][1])(1.0)
    again = jaxprs.trace(lambda: [left[0] * 2])
    (value,) = [c for c in again.consts if isinstance(c, jax.core.Tracer)]
    assert value is left[0] and value.val in [v for eqn in closed.jaxpr.eqns for v in eqn.outvars]


def test_refs_say_what_they_hold_and_what_is_read() -> None:
    def fun(x: Any, i: Any) -> Any:
        ref = jax.new_ref(x)
        ref[i, 1:3] = ref[0, ::2]
        return jax.freeze(ref)

    eqns = jax.make_jaxpr(fun)(jnp.ones((2, 4)), 1).jaxpr.eqns
    assert [e.primitive.name for e in eqns] == ["new_ref", "get", "swap", "freeze"]
    assert eqns[0].outvars[0].aval.inner_aval.shape == (2, 4)
    assert {e.input for e in eqns[2].effects} == {eqns[0].outvars[0]}, "effects no longer name a ref's variable"
    (index,) = jax.tree.unflatten(eqns[2].params["tree"], eqns[2].invars[2:])
    assert type(index).__name__ == "NDIndexer" and index.int_indexer_shape == ()
    assert index.indices[0] is eqns[2].invars[2]
    assert (index.indices[1].start, index.indices[1].size, index.indices[1].stride) == (1, 2, 1)


def test_scopes_can_be_put_into_others() -> None:
    def fun(x: Any) -> Any:
        with jax.named_scope("block"):
            return jnp.sin(x)

    stack = only_equation(fun, 1.0).source_info.name_stack
    assert str(type(stack)().transform("vjp") + stack) == "vjp(block)"


@pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="custom_root is a custom JVP call before")
def test_roots_bring_their_functions() -> None:
    eqn = only_equation(lambda a: lax.custom_root(lambda x: x - a, a, lambda f, x: x, lambda g, y: y), 2.0)
    assert eqn.primitive.name == "call_hi_primitive"
    prim = eqn.params["_prim"]
    assert type(prim).__name__ == "CustomRoot" and len(prim.in_tree.children()) == 4
    assert callable(prim.f) and callable(prim.tangent_solve)
