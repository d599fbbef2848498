"""Programs inside a primitive: differentiate it as one that computes the same; apply one of scalars to arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array, lax

from functional_dl.avals import manual_type
from functional_dl.jaxprs import Graph, Literal, bind, close, evaluate, open_jaxpr, trace
from functional_dl.rules.table import Augmented, Call

__all__ = ["as_program", "elementwise"]


def as_program(call: Call, differentiate: Callable[..., Any], program: Callable[..., Sequence[Any]]) -> Augmented:
    """The equation stays as it is; its backward runs ``program`` on the operands again, and then in reverse.

    So nothing but operands is kept, and what the primitive does well forwards it goes on doing.

    Args:
      call: the equation.
      differentiate: the engine's reverse mode for inner programs, as structural rules are handed it.
      program: operands → outputs, the same as the primitive's.
    """
    inner = differentiate(close(trace(program, *call.in_avals)), call.active, call.seeded)
    m = len(call.out_avals)

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        outs = evaluate(open_jaxpr(inner.forward), operands)
        read = inner.residuals(operands, outs[:m], outs[m:])
        gradients = evaluate(open_jaxpr(inner.backward), [*read, *[cts[i] for i in inner.seeds]])
        return inner.spread(gradients, len(operands))

    return Augmented(None, backward)


def elementwise(scalars: Graph, *operands: Array) -> list[Array]:
    """Apply a program of scalars to every entry of arrays of one shape."""

    varying = frozenset().union(*[manual_type(jax.typeof(x)).varying for x in operands])

    def one(*values: Array) -> list[Array]:
        return _evaluate_varying(scalars, values) if varying else evaluate(scalars, values)

    fun: Callable[..., Any] = one
    for _ in range(operands[0].ndim):
        fun = jax.vmap(fun)
    return list(fun(*operands))


def _evaluate_varying(graph: Graph, args: Sequence[Any]) -> list[Any]:
    """Run a program that was traced for values that are the same on all devices on values that vary.

    Inside a `jax.shard_map` operands of one equation vary along the same axes; constants of the program are made to.
    Functions with rules of their own go by what they compute.
    """
    env = dict(zip([*graph.constvars, *graph.inputs], [*graph.consts, *args], strict=True))
    for eqn in graph.eqns:
        values = [v.val if type(v) is Literal else env[v] for v in eqn.invars]
        varying = frozenset().union(*[manual_type(jax.typeof(x)).varying for x in values])
        values = [_vary(x, lack) if (lack := varying - manual_type(jax.typeof(x)).varying) else x for x in values]
        inner = eqn.params.get("jaxpr" if eqn.primitive.name == "jit" else "call_jaxpr")
        outs = bind(eqn, values) if inner is None else _evaluate_varying(open_jaxpr(inner), values)
        if inner is None and not eqn.primitive.multiple_results:
            outs = [outs]
        env.update(zip(eqn.outvars, outs, strict=True))
    return [v.val if type(v) is Literal else env[v] for v in graph.outputs]


def _vary(x: Any, axes: frozenset[Any]) -> Any:
    return lax.pcast(x, tuple(axes), to="varying")
