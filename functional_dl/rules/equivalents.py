"""Programs inside a primitive: differentiate it as one that computes the same; apply one of scalars to arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array

from functional_dl.jaxprs import Graph, close, evaluate, open_jaxpr, trace
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

    def one(*values: Array) -> list[Array]:
        return evaluate(scalars, values)

    fun: Callable[..., Any] = one
    for _ in range(operands[0].ndim):
        fun = jax.vmap(fun)
    return list(fun(*operands))
