"""Trace a rule on a mesh with explicit axes, where JAX may be unable to infer the shardings of its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax.sharding import auto_axes

from functional_dl.avals import has_explicit_sharding
from functional_dl.jaxprs import Graph, trace

__all__ = ["trace_backward"]


def trace_backward(
    run: Callable[..., list[Any]], targets: list[int], in_avals: Sequence[Any], avals: Sequence[Any]
) -> Graph:
    """Trace ``run``, which notes in ``targets`` the operands (of types ``in_avals``) whose cotangents it gives.

    The sharding in the type of a cotangent is that of its operand, but on the way to it a rule may reshape or index
    what cannot be followed axis by axis.  Where JAX refuses, the rule is traced again with all axes automatic: then
    only its ends have stated shardings, and the compiler chooses those in between.
    """
    try:
        return trace(run, *avals)
    except Exception:
        if not any(has_explicit_sharding(a) for a in avals):
            raise
        targets.clear()
        try:
            return _trace_automatic(run, targets, in_avals, avals)
        except Exception:
            targets.clear()
        raise


def _trace_automatic(
    run: Callable[..., list[Any]], targets: list[int], in_avals: Sequence[Any], avals: Sequence[Any]
) -> Graph:
    def note(*values: Any) -> tuple[()]:
        run(*values)
        return ()

    trace(lambda *values: auto_axes(note, out_sharding=())(*values), *avals)
    shardings = [in_avals[i].to_ct_aval().sharding for i in targets]
    targets.clear()
    return trace(lambda *values: auto_axes(run, out_sharding=shardings)(*values), *avals)
