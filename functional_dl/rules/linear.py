"""Transpose a map given in forward mode: trace it at fixed primals, differentiate it in the tangents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from functional_dl.jaxprs import Graph, bind_trailing, close, open_jaxpr, prune, trace
from functional_dl.rules.table import Call, Spliced

__all__ = ["transposed"]


def transposed(
    call: Call, differentiate: Callable[..., Any], jvp: Callable[..., tuple[Sequence[Any], Sequence[Any]]]
) -> Spliced:
    """The reverse pass of ``call`` from its forward-mode derivative.

    What comes of tracing ``jvp`` is linear in the tangents, so its reverse pass with respect to them, by our own
    rules, is its transpose, and reads no tangent; were one read all the same (a rule that is linear but does not
    look it), zero serves, since a linear map has the same derivative everywhere.

    Args:
      call: the equation.
      differentiate: the engine's reverse mode for inner programs.
      jvp: ``jvp(*operands, *tangents) -> (outputs, output tangents)``, with a tangent for each active operand.
    """
    n, m = len(call.in_avals), len(call.out_avals)
    moved = [i for i, a in enumerate(call.active) if a]

    def both(*values: Any) -> Sequence[Any]:
        ys, slopes = jvp(*values)
        return [*ys, *[t for t, s in zip(slopes, call.seeded, strict=True) if s]]

    linear = trace(both, *call.in_avals, *[call.in_avals[i].to_tangent_aval() for i in moved])
    inner = differentiate(
        close(linear), (*[False] * n, *[True] * len(moved)), (*[False] * m, *[True] * sum(call.seeded))
    )
    ahead = open_jaxpr(inner.forward)
    outs = m + sum(call.seeded)
    residuals = inner.residuals(ahead.inputs, ahead.outputs[:outs], ahead.outputs[outs:])
    outputs = [*ahead.outputs[:m], *residuals]
    forward = Graph(ahead.inputs, outputs, prune(ahead.eqns, outputs), ahead.constvars, ahead.consts)
    targets = tuple(moved[i - n] for i in inner.targets)
    return Spliced(bind_trailing(forward, n), open_jaxpr(inner.backward), targets)
