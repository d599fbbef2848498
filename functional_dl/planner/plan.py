"""Policy: which forward values to keep for a backward pass, so that the others can be made again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import inf
from typing import Any

from functional_dl.avals import manual_type
from functional_dl.planner.graph import flops, is_pure, is_repeatable, reads, size_of
from functional_dl.planner.min_cut import smallest_keep

__all__ = ["values_to_keep"]


def values_to_keep(
    maker: Mapping[Any, Any], free: Collection[Any], needed: Iterable[Any], rate: float = 0.0
) -> set[Any]:
    """The variables of a forward program with the fewest bytes from which those ``needed`` can be made again.

    Args:
      maker: per variable, the equation of the forward that makes it.
      free: variables that are at hand anyway.
      needed: the variables that the backward reads.
      rate: how many operations a byte is worth.  At 0 no expensive equation is repeated
        (`functional_dl.planner.graph.is_repeatable`); above, the bytes kept and ``1 / rate`` for each operation
        repeated are the fewest in sum.
    """
    wanted = [v for v in needed if v not in free]
    # Only what they can be made of is looked at: most of a forward is not.
    index: dict[Any, int] = {v: i for i, v in enumerate(wanted)}
    nodes: list[Any] = list(wanted)  # variables; and equations of several outputs, whose price is paid once
    sizes, made_of, prices = [], [], []

    def place(node: Any) -> int:
        if node not in index:
            index[node] = len(nodes)
            nodes.append(node)
        return index[node]

    for node in nodes:  # grows as it is walked
        whole = isinstance(node, _Run)
        eqn: Any = node.eqn if whole else maker.get(node)
        parts: list[int] | None = None
        price = 0
        if eqn is not None:
            cheap = is_repeatable(eqn)
            if not cheap and rate > 0 and not whole and len(eqn.outvars) > 1 and is_pure(eqn):
                parts = [place(_Run(eqn))]
            elif cheap or (rate > 0 and is_pure(eqn)):
                parts = [place(u) for u in reads(eqn) if u not in free]
                price = 0 if cheap or rate == inf else int(flops(eqn) / rate)
        sizes.append(sum(size_of(v.aval) for v in eqn.outvars) + 1 if whole else _price(node.aval))
        made_of.append(parts)
        prices.append(price)
    kept = smallest_keep(sizes, made_of, (), range(len(wanted)), prices)
    return {_before(nodes[i], maker, free) for i in kept}


def _before(v: Any, maker: Mapping[Any, Any], free: Collection[Any]) -> Any:
    """What an expensive equation made, of which ``v`` is made alone in no more bytes; else ``v`` itself.

    A contraction's result has been stored anyway, the sum of it and a bias has not.
    """
    u = v
    while (eqn := maker.get(u)) is not None and is_repeatable(eqn):
        operands = [w for w in dict.fromkeys(reads(eqn)) if not _at_hand(w, maker, free)]
        if len(operands) != 1 or _price(operands[0].aval) > _price(v.aval):
            return v
        (u,) = operands
    return u


def _at_hand(v: Any, maker: Mapping[Any, Any], free: Collection[Any]) -> bool:
    """Whether ``v`` is free, or a broadcast or the like of what is."""
    eqn = maker.get(v)
    return v in free or (eqn is not None and is_repeatable(eqn) and all(w in free for w in reads(eqn)))


class _Run:
    """An equation with several outputs: it costs as much to make one of them again as to make them all."""

    __slots__ = ("eqn",)

    def __init__(self, eqn: Any) -> None:
        self.eqn = eqn

    def __hash__(self) -> int:
        return id(self.eqn)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Run) and self.eqn is other.eqn


def _price(aval: Any) -> int:
    """The bytes of a value, out of all proportion where it had better not be kept at all.

    Where the type says that a sum over devices is put off, JAX does not let a value leave a `jax.shard_map` over axes
    that are not explicit.
    """
    kind = manual_type(aval)
    return size_of(aval) << 20 if kind is not None and (kind.unreduced or kind.reduced) else size_of(aval)
