"""Minimum cut: the fewest bytes from which everything that is needed can be made again.

Values are nodes, split into a way in and a way out whose capacity is the value's size; what cannot be made again
hangs on the source, what is needed on the sink.  A cut is then a set of values to keep, and every needed value is
kept or can be made from kept ones.  The smallest is found by maximum flow (Ford & Fulkerson 1956).  The idea to
divide forward and backward passes so is from Chen et al. 2016 and its descendants (see DESIGN.md, section 9).

Where making a value again has a price, an edge from the source to its way in bears it: it is cut exactly if the value
is made again (the project-selection problem, Picard 1976).  A price per operation, in bytes, then trades operations
for bytes, and going through the prices gives the convex hull of all trades.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

__all__ = ["smallest_keep"]

_LIMIT = 2**31 - 1  # scipy's flows are 32-bit integers


def smallest_keep(
    sizes: Sequence[int],
    made_of: Sequence[Collection[int] | None],
    free: Collection[int],
    needed: Collection[int],
    prices: Sequence[int] | None = None,
) -> set[int]:
    """The set of values with the smallest total size, and price of the rest, from which all ``needed`` can be made.

    Args:
      sizes: bytes of each value.
      made_of: per value, those that it is made of; ``None`` if it must not be made again.
      free: values that are at hand anyway, at no cost.
      needed: values that have to be at hand or made.
      prices: per value, what making it again counts for, in bytes; nothing if left out.

    Returns:
      The values to keep, none of them free.

    Example:
      >>> # 0 is an input, 1 = expensive(0), 2 = cheap(1) and 3 = cheap(2); 3 and 2 are needed, and 1 is the smallest.
      >>> smallest_keep([8, 4, 16, 16], [None, None, [1], [2]], free=[0], needed=[2, 3])
      {1}
    """
    at_hand = set(free)
    # A needed value that must not be made again is kept in any case.
    forced = {v for v in needed if v not in at_hand and made_of[v] is None}
    at_hand |= forced
    wanted = [v for v in dict.fromkeys(needed) if v not in at_hand]
    # Only what the needed values are made of matters.
    reached, stack = set(wanted), list(wanted)
    while stack:
        for u in made_of[stack.pop()] or ():
            if u not in reached and u not in at_hand:
                reached.add(u)
                stack.append(u)
    prices = [0] * len(sizes) if prices is None else prices
    if all(made_of[v] is not None and not prices[v] for v in reached):
        return forced  # the rest can be made of what is at hand
    node = {v: i for i, v in enumerate(sorted(reached))}
    count = len(node)
    unit = -(-sum(sizes[v] for v in reached) * 2 // _LIMIT) or 1
    source, sink = 2 * count, 2 * count + 1
    # A cut of finite capacity exists (all needed values themselves): any more than it costs is infinite.
    infinite = min(sum(-(-sizes[v] // unit) for v in reached) + 1, _LIMIT)
    tails, heads, capacities = [], [], []

    def edge(tail: int, head: int, capacity: int) -> None:
        tails.append(tail)
        heads.append(head)
        capacities.append(capacity)

    for v, i in node.items():
        edge(2 * i, 2 * i + 1, -(-sizes[v] // unit))
        parts = made_of[v]
        if parts is None:
            edge(source, 2 * i, infinite)
        elif prices[v]:
            edge(source, 2 * i, min(-(-prices[v] // unit), infinite))
        for u in sorted(set(parts or ()) - at_hand):
            edge(2 * node[u] + 1, 2 * i, infinite)
    for v in wanted:
        edge(2 * node[v] + 1, sink, infinite)
    graph = csr_array(
        (np.array(capacities, np.int32), (np.array(tails), np.array(heads))), shape=(2 * count + 2, 2 * count + 2)
    )
    flow = maximum_flow(graph, source, sink).flow
    # Of cuts of equal size the one nearest to the sink is taken, so that least is made again: what can still reach the
    # sink lies on its side; the cut is the values of which only the way out can.
    left = (graph - flow).tocsc()
    seen, queue = {sink}, deque([sink])
    while queue:
        head = queue.popleft()
        for k in range(left.indptr[head], left.indptr[head + 1]):
            tail = int(left.indices[k])
            if left.data[k] > 0 and tail not in seen:
                seen.add(tail)
                queue.append(tail)
    return forced | {v for v, i in node.items() if 2 * i + 1 in seen and 2 * i not in seen}
