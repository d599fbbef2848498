"""Rules of reductions by a program of the user's: over axes and over windows, in any monoid, of several operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
import numpy as np
from jax import Array, lax

from functional_dl.jaxprs import Graph, open_jaxpr
from functional_dl.rules.equivalents import as_program, elementwise
from functional_dl.rules.table import Augmented, Call, RuleError, structural

__all__: list[str] = []


def _known(call: Call, *names: str) -> list[Any]:
    """The parameters of ``call`` by name; one that JAX has added is an error, not a silently wrong gradient."""
    unknown = call.params.keys() - set(names)
    if unknown:
        raise RuleError(f"The rule for {call.primitive.name} does not know the parameter {', '.join(sorted(unknown))}.")
    return [call.params[name] for name in names]


def _fold(combine: Graph, starts: Sequence[Array], xs: Sequence[Array]) -> list[Array]:
    """Reduce the first axis of each of ``xs`` by ``combine``: scalars so far, scalars next → scalars.

    Neighbours are combined, then neighbours of these, which keeps the order: JAX asks of ``combine`` that it be
    associative, not that it commute.  ``starts`` comes in once, at the front.
    """
    rest = xs[0].shape[1:]
    while (n := xs[0].shape[0]) > 1:
        even = n - n % 2
        first, second = ([lax.slice_in_dim(x, i, even, 2) for x in xs] for i in (0, 1))
        halves = elementwise(combine, *first, *second)
        xs = [lax.concatenate([h, lax.slice_in_dim(x, even, n)], 0) for h, x in zip(halves, xs, strict=True)]
    starts = [lax.broadcast(v, rest) for v in starts]
    if xs[0].shape[0] == 0:
        return starts
    return elementwise(combine, *starts, *[lax.squeeze(x, (0,)) for x in xs])


@structural("reduce")
def reduce(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = start ∘ x₁ ∘ x₂ ∘ … along axes, for an associative ∘.   The cotangents of that fold, taken as a tree.

    ``start`` counts once, and gets a cotangent.
    """
    _, combine, axes = _known(call, "computation", "jaxpr", "dimensions")

    def program(*operands: Array) -> Sequence[Array]:
        half = len(operands) // 2
        xs = operands[:half]
        kept = [d for d in range(xs[0].ndim) if d not in axes]
        shape = (prod(xs[0].shape[d] for d in axes), *[xs[0].shape[d] for d in kept])
        flat = [lax.reshape(lax.transpose(x, (*sorted(axes), *kept)), shape) for x in xs]
        return _fold(open_jaxpr(combine), operands[half:], flat)

    return as_program(call, differentiate, program)


@structural("reduce_window")
def reduce_window(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y[t] = start ∘ the entries of the window at t, in order.   The cotangents of that fold over windows cut out.

    The padding and the holes of a dilated operand hold ``start``.  The windows take as many times the memory of y
    as they have entries.
    """
    combine, consts, windows, strides, padding, dilation, holes = _known(
        call, "jaxpr", "consts", "window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation"
    )
    graph = open_jaxpr(combine)
    graph.consts = list(consts)
    config = [(lo, hi, d - 1) for (lo, hi), d in zip(padding, dilation, strict=True)]
    out_shape = call.out_avals[0].shape

    def cut(x: Array, start: Array) -> Array:
        """All windows, flattened along a new first axis."""
        x = lax.pad(x, start, config)
        for d, (n, window, stride, hole) in enumerate(zip(out_shape, windows, strides, holes, strict=True)):
            places = np.arange(window)[:, None] * hole + np.arange(n) * stride
            x = jax.numpy.take(x, places, axis=2 * d, mode="clip")  # axis d became window and place
        order = (*range(0, 2 * len(windows), 2), *range(1, 2 * len(windows), 2))
        return lax.reshape(lax.transpose(x, order), (prod(windows), *out_shape))

    def program(*operands: Array) -> Sequence[Array]:
        half = len(operands) // 2
        xs, starts = operands[:half], operands[half:]
        return _fold(graph, starts, [cut(x, start) for x, start in zip(xs, starts, strict=True)])

    return as_program(call, differentiate, program)
