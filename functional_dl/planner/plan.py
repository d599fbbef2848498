"""Policy: which forward values to keep for a backward pass, so that the others can be made again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from functional_dl.avals import manual_type
from functional_dl.planner.graph import is_repeatable, reads, size_of
from functional_dl.planner.min_cut import smallest_keep

__all__ = ["values_to_keep"]


def values_to_keep(maker: Mapping[Any, Any], free: Collection[Any], needed: Iterable[Any]) -> set[Any]:
    """The variables of a forward program with the fewest bytes from which those ``needed`` can be made again.

    No expensive equation is repeated (`functional_dl.planner.graph.is_repeatable`).

    Args:
      maker: per variable, the equation of the forward that makes it.
      free: variables that are at hand anyway.
      needed: the variables that the backward reads.
    """
    wanted = [v for v in needed if v not in free]
    # Only what they can be made of is looked at: most of a forward is not.
    index = {v: i for i, v in enumerate(wanted)}
    variables, made_of = list(wanted), []
    for v in variables:  # grows as it is walked
        eqn = maker.get(v)
        parts: list[int] | None = None
        if eqn is not None and is_repeatable(eqn):
            parts = []
            for u in reads(eqn):
                if u not in free:
                    if u not in index:
                        index[u] = len(variables)
                        variables.append(u)
                    parts.append(index[u])
        made_of.append(parts)
    kept = smallest_keep([_price(v.aval) for v in variables], made_of, (), range(len(wanted)))
    return {variables[i] for i in kept}


def _price(aval: Any) -> int:
    """The bytes of a value, out of all proportion where it had better not be kept at all.

    Where the type says that a sum over devices is put off, JAX does not let a value leave a `jax.shard_map` over axes
    that are not explicit.
    """
    kind = manual_type(aval)
    return size_of(aval) << 20 if kind is not None and (kind.unreduced or kind.reduced) else size_of(aval)
