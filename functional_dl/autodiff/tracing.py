"""Trace a user's function: pytrees in, pytrees out, with everything that is not an array carried round the trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.tree_util import tree_flatten, tree_structure, tree_unflatten

from functional_dl.autodiff.halves import Differentiation
from functional_dl.autodiff.interception import intercept
from functional_dl.jaxprs import Graph, trace

__all__ = ["Flat", "trace_function"]


class Flat:
    """A function of pytrees as a function of array leaves that returns array leaves, those of ``aux`` last.

    Attributes (known once it has been called):
      out_tree: structure of the output.
      out_count: how many of the leaves that it returns belong to the output proper.
    """

    def __init__(self, fun: Callable[..., Any], in_tree: Any, has_aux: bool) -> None:
        self._fun, self._in_tree, self._has_aux = fun, in_tree, has_aux
        self.out_tree: Any = None
        self.out_count = 0
        self._aux_tree: Any = None
        self._aux_leaves: list[tuple[Any] | None] = []

    def __call__(self, *values: Any) -> list[Any]:
        """Call the function.

        Raises:
          TypeError: ``has_aux`` and the output is no pair, or an output leaf is no array.
        """
        fun = self._fun
        out, aux = fun(*tree_unflatten(self._in_tree, values)), ()
        if self._has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise TypeError(
                    f"{_name(fun)} with has_aux=True must return a pair (output, aux); "
                    f"it returned {tree_structure(out)}."
                )
            out, aux = out
        outs, self.out_tree = tree_flatten(out)
        for x in outs:
            if not _is_array(x):
                raise TypeError(
                    f"{_name(fun)} must return arrays; it returned {x!r} of type {type(x).__name__}. "
                    "Return other things through has_aux=True."
                )
        extras, self._aux_tree = tree_flatten(aux)
        # None for an array among the returned leaves, else a 1-tuple with the object itself.
        self._aux_leaves = [None if _is_array(x) else (x,) for x in extras]
        self.out_count = len(outs)
        return [*outs, *[x for x in extras if _is_array(x)]]

    def aux(self, arrays: Sequence[Any]) -> Any:
        """Put the auxiliary output together again from its array leaves."""
        found = iter(arrays)
        return tree_unflatten(self._aux_tree, [next(found) if a is None else a[0] for a in self._aux_leaves])


def _is_array(x: Any) -> bool:
    try:
        jax.typeof(x)
    except TypeError:
        return False
    return True


def trace_function(flat: Flat, leaves: Sequence[Any], differentiate: Differentiation) -> Graph:
    """Trace ``flat`` at ``leaves`` into a program, with the rules of custom JVP calls run where they are met."""
    return trace(intercept(flat, differentiate.book), *leaves)


def _name(fun: Callable[..., Any]) -> str:
    return getattr(fun, "__name__", repr(fun))
