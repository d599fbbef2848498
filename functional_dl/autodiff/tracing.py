"""Trace a user's function: pytrees in, pytrees out, with everything that is not an array carried round the trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.tree_util import tree_flatten, tree_structure, tree_unflatten

from functional_dl.jaxprs import Graph, trace

__all__ = ["Traced", "trace_function"]


class Traced(NamedTuple):
    """A traced function.

    Attributes:
      graph: from the argument leaves to the array leaves of the outputs, those of ``aux`` last.
      out_tree: structure of the output.
      out_count: how many leaves of the graph's outputs belong to the output proper.
      aux_tree: structure of the auxiliary output (of the empty tuple, without one).
      aux_leaves: one entry per auxiliary leaf: ``None`` for an array of the graph, else a 1-tuple with the object.
    """

    graph: Graph
    out_tree: Any
    out_count: int
    aux_tree: Any
    aux_leaves: Sequence[tuple[Any] | None]

    def aux(self, arrays: Sequence[Any]) -> Any:
        """Put the auxiliary output together again from its array leaves."""
        found = iter(arrays)
        return tree_unflatten(self.aux_tree, [next(found) if a is None else a[0] for a in self.aux_leaves])


def _is_array(x: Any) -> bool:
    try:
        jax.typeof(x)
    except TypeError:
        return False
    return True


def trace_function(fun: Callable[..., Any], args: Sequence[Any], has_aux: bool) -> Traced:
    """Trace ``fun(*args)``.

    Raises:
      TypeError: ``has_aux`` and the output is no pair, or an output leaf is no array.
    """
    leaves, in_tree = tree_flatten(tuple(args))
    seen: dict[str, Any] = {}

    def flat(*values: Any) -> list[Any]:
        out = fun(*tree_unflatten(in_tree, values))
        aux: Any = ()
        if has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise TypeError(
                    f"{_name(fun)} with has_aux=True must return a pair (output, aux); "
                    f"it returned {tree_structure(out)}."
                )
            out, aux = out
        outs, seen["out_tree"] = tree_flatten(out)
        for x in outs:
            if not _is_array(x):
                raise TypeError(
                    f"{_name(fun)} must return arrays; it returned {x!r} of type {type(x).__name__}. "
                    "Return other things through has_aux=True."
                )
        extras, seen["aux_tree"] = tree_flatten(aux)
        seen["aux_leaves"] = [None if _is_array(x) else (x,) for x in extras]
        seen["out_count"] = len(outs)
        return [*outs, *[x for x in extras if _is_array(x)]]

    graph = trace(flat, *leaves)
    return Traced(graph, seen["out_tree"], seen["out_count"], seen["aux_tree"], seen["aux_leaves"])


def _name(fun: Callable[..., Any]) -> str:
    return getattr(fun, "__name__", repr(fun))
