"""The chain's dynamic program against a search through all schedules, step by step."""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functional_dl.planner.chain import Chain, Keep, Option, Segment, Split


def played(segments: Any, schedule: Any) -> tuple[int, float]:
    """The peak and the operations of a schedule, played out with the bytes alive at every step."""
    peak, spent = 0, 0.0

    def see(now: int) -> None:
        nonlocal peak
        peak = max(peak, now)

    def run(node: Any, first: int, last: int, alive: int) -> None:
        nonlocal spent
        if isinstance(node, Split):
            assert first < node.at <= last
            for segment in segments[first : node.at]:
                see(alive + segment.forward)
                spent += segment.cost
            run(node.right, node.at, last, alive + segments[node.at].state)
            run(node.left, first, node.at - 1, alive)
            return
        assert isinstance(node, Keep) and node.segment == first and (node.rest is None) == (first == last)
        option = segments[first].options[node.option]
        see(alive + segments[first].forward)
        spent += segments[first].cost + option.cost
        if node.rest is not None:
            run(node.rest, first + 1, last, alive + option.kept + segments[first + 1].state)
        see(alive + option.kept + option.transient)

    run(schedule, 0, len(segments) - 1, 0)
    return peak, spent - sum(s.cost for s in segments)


def cheapest(segments: Any, size: int) -> float:
    """The fewest operations by Dijkstra's search: what is stored, where the forward stands, what is still to go back.

    It knows nothing of the recursion: at every step it may run the next segment forward (with any option or none, and
    keeping the state that it reaches or not), start again from a stored state, or go back.  What is stored stays until
    its segment's backward is done.
    """
    last = len(segments) - 1
    # (where the forward stands, states stored, {segment: option} kept, last segment whose backward is missing)
    start = (0, frozenset([0]), frozenset(), last)
    queue: list[Any] = [(0.0, 0, start)]
    seen: dict[Any, float] = {}
    count = 0
    total = sum(s.cost for s in segments)
    while queue:
        cost, _, node = heapq.heappop(queue)
        if seen.get(node, float("inf")) <= cost:
            continue
        seen[node] = cost
        at, states, kept, back = node
        if back < 0:
            return cost - total
        alive = sum(segments[i].state for i in states if i) + sum(segments[i].options[o].kept for i, o in kept)
        options = dict(kept)

        def push(more: float, node: Any, cost: float = cost) -> None:
            nonlocal count
            count += 1
            heapq.heappush(queue, (cost + more, count, node))

        if back in options:
            option = segments[back].options[options[back]]
            if back in states and alive + option.transient <= size:
                left = frozenset((i, o) for i, o in kept if i < back)
                push(option.cost, (-1, frozenset(i for i in states if i < back or not i), left, back - 1))
        for i in states:
            if i <= back and i != at:
                push(0, (i, states, kept, back))
        if 0 <= at <= back and alive + segments[at].forward <= size:
            ahead = at + 1
            for number, option in enumerate([None, *segments[at].options]):
                if option is not None and (at in options or at not in states):
                    continue
                now = kept if option is None else kept | {(at, number - 1)}
                for stored in (False, True):
                    there = states | {ahead} if stored and ahead <= last else states
                    grown = sum(segments[i].state for i in there if i) + sum(
                        segments[i].options[o].kept for i, o in now
                    )
                    if grown <= size:
                        push(segments[at].cost, (ahead if ahead <= last else -1, there, now, back))
    return float("inf")


@st.composite
def chains(draw: st.DrawFn) -> Any:
    small, large = st.integers(1, 6), st.integers(0, 20)
    segments = []
    for _ in range(draw(st.integers(1, 4))):
        options = tuple(
            Option(draw(small), draw(st.integers(0, 3)), draw(large)) for _ in range(draw(st.integers(1, 2)))
        )
        segments.append(Segment(draw(small), draw(st.integers(1, 9)), draw(large), options))
    return segments


@settings(max_examples=200)
@given(chains())
def test_cheapest(segments: Any) -> None:
    frontier = Chain(segments).frontier()
    for size, cost, schedule in frontier:
        peak, spent = played(segments, schedule)
        assert peak <= size and spent == pytest.approx(cost), "the schedule does what it says"
        assert cheapest(segments, size) == pytest.approx(cost), "and nothing is cheaper"
    if frontier[0][0] > 0:
        assert cheapest(segments, frontier[0][0] - 1) == float("inf"), "nothing is smaller"


@given(chains())
def test_more_bytes_never_cost_more(segments: Any) -> None:
    frontier = Chain(segments).frontier()
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(frontier))


def test_halving() -> None:
    """In the fewest bytes a chain of equal segments is halved: states grow with the logarithm of its length."""
    segment = Segment(state=10, cost=1, forward=0, options=(Option(kept=100, cost=0, transient=50),))
    smallest = {n: Chain([segment] * n).frontier()[0][0] for n in (1, 4, 16, 32)}
    assert smallest[1] == 150 and smallest[32] <= 150 + 10 * 6, smallest
