"""Policy: which forward values to keep for a backward pass, and in what groups to make the others again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from functional_dl.avals import manual_type
from functional_dl.jaxprs import Literal
from functional_dl.planner.graph import is_repeatable, reads, size_of
from functional_dl.planner.min_cut import smallest_keep

__all__ = ["values_to_keep"]


def values_to_keep(forward: Sequence[Any], free: Collection[Any], needed: Sequence[Any]) -> set[Any]:
    """The variables of a forward program with the fewest bytes from which those ``needed`` can be made again.

    No expensive equation is repeated (`functional_dl.planner.graph.is_repeatable`).

    Args:
      forward: the equations, in order.
      free: variables that are at hand anyway.
      needed: the variables that the backward reads.
    """
    index: dict[Any, int] = {}
    variables: list[Any] = []
    made_of: list[list[int] | None] = []

    def number(v: Any) -> int:
        if v not in index:
            index[v] = len(variables)
            variables.append(v)
            made_of.append(None)
        return index[v]

    for eqn in forward:
        operands = [number(v) for v in reads(eqn)]
        again = is_repeatable(eqn)
        for v in eqn.outvars:
            made_of[number(v)] = operands if again else None
    wanted = [number(v) for v in needed if type(v) is not Literal]
    at_hand = [number(v) for v in free]
    kept = smallest_keep([_price(v.aval) for v in variables], made_of, at_hand, wanted)
    return {variables[i] for i in kept}


def _price(aval: Any) -> int:
    """The bytes of a value, out of all proportion where it had better not be kept at all.

    Where the type says that a sum over devices is put off, JAX does not let a value leave a `jax.shard_map` over axes
    that are not explicit.
    """
    kind = manual_type(aval)
    return size_of(aval) << 20 if kind is not None and (kind.unreduced or kind.reduced) else size_of(aval)
