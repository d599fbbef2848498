"""The cheapest way through a chain of segments, forward and back, in a given number of bytes.

A program is cut into consecutive segments.  Each can keep of its forward what one of its options says, or nothing at
all; then it has to be run again from the state at the start of some earlier segment.  Beaumont, Eyraud-Dubois,
Herrmann, Joly and Shilova ("Optimal checkpointing for heterogeneous chains", 2019) find the cheapest schedule in which
states stay until their segment's backward is done, by dynamic programming over (first segment, last segment, bytes);
this is their recursion with several options per segment.  In few bytes it halves the chain again and again, as Griewank
& Walther ("Revolve", 2000) do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Chain", "Keep", "Option", "Segment", "Split"]


@dataclass(frozen=True)
class Option:
    """One way to go back through a segment.

    Attributes:
      kept: bytes that stay from the segment's forward until its backward.
      cost: operations that the backward repeats.
      transient: bytes that the backward needs for itself, beyond those kept.
    """

    kept: int
    cost: float
    transient: int


@dataclass(frozen=True)
class Segment:
    """A stretch of a program.

    Attributes:
      state: bytes of what must be at hand to run it.
      cost: operations to run its forward.
      forward: bytes that its forward needs for itself.
      options: ways to go back through it.
    """

    state: int
    cost: float
    forward: int
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Keep:
    """Run ``segment`` forward, keeping what its option says; go through the ``rest``; then go back through it."""

    segment: int
    option: int
    rest: Keep | Split | None


@dataclass(frozen=True)
class Split:
    """Run forward to segment ``at``, keeping only the state there; go through ``right``; then run ``left`` again."""

    at: int
    right: Keep | Split
    left: Keep | Split


class Chain:
    """The cheapest schedules of a chain of segments for every number of bytes.

    Args:
      segments: in the order of the forward.
      places: into how many parts the bytes are divided; sizes are rounded up to them.

    Example:
      >>> segment = Segment(state=1, cost=10, forward=0, options=(Option(kept=4, cost=0, transient=2),))
      >>> chain = Chain([segment] * 3)
      >>> [(size, cost) for size, cost, _ in chain.frontier()]
      [(7, 30.0), (8, 20.0), (12, 10.0), (16, 0.0)]
    """

    def __init__(self, segments: Sequence[Segment], places: int = 1000) -> None:
        self._segments = segments
        top = sum(s.state + max(o.kept for o in s.options) for s in segments)
        top += max(max(s.forward, *[o.transient for o in s.options]) for s in segments)
        self._unit = max(1, -(-top // places))
        self._places = -(-top // self._unit) + len(segments) * 2 + 1
        self._solve()

    def _units(self, size: int) -> int:
        return -(-size // self._unit)

    def _solve(self) -> None:
        count, width = len(self._segments), self._places
        self._best = np.full((count, count, width), np.inf)
        # What the best choice was: an option (0, 1, …), or, from -1 down, the segment at which to split.
        self._choice = np.zeros((count, count, width), np.int32)
        prefix = np.concatenate([[0.0], np.cumsum([s.cost for s in self._segments])])
        for first in reversed(range(count)):
            here = self._segments[first]
            for last in range(first, count):
                best, choice = self._best[first, last], self._choice[first, last]
                for number, option in enumerate(here.options):
                    kept, need = self._units(option.kept), self._units(option.kept + option.transient)
                    need = max(need, self._units(here.forward))
                    found = np.full(width, np.inf)
                    if first == last:
                        found[need:] = here.cost + option.cost
                    else:
                        kept += self._units(self._segments[first + 1].state)
                        found[kept:] = here.cost + option.cost + self._best[first + 1, last, : width - kept]
                        found[:need] = np.inf
                    better = found < best
                    best[better], choice[better] = found[better], number
                for at in range(first + 1, last + 1):
                    state = self._units(self._segments[at].state)
                    found = np.full(width, np.inf)
                    found[state:] = self._best[at, last, : width - state] + (prefix[at] - prefix[first])
                    found += self._best[first, at - 1]
                    better = found < best
                    best[better], choice[better] = found[better], -at
        self._total = prefix[-1]

    def frontier(self) -> list[tuple[int, float, Keep | Split]]:
        """The schedules that no other beats in both bytes and operations repeated, with these; fewest bytes first."""
        costs = self._best[0, -1]
        found: list[tuple[int, float, Keep | Split]] = []
        for place in range(self._places):
            if np.isfinite(costs[place]) and (not found or costs[place] < found[-1][1] + self._total - 1e-9):
                schedule = self._schedule(0, len(self._segments) - 1, place)
                found.append((place * self._unit, float(costs[place] - self._total), schedule))
        return found

    def _schedule(self, first: int, last: int, place: int) -> Keep | Split:
        choice = int(self._choice[first, last, place])
        if choice < 0:
            at = -choice
            state = self._units(self._segments[at].state)
            return Split(at, self._schedule(at, last, place - state), self._schedule(first, at - 1, place))
        if first == last:
            return Keep(first, choice, None)
        kept = self._units(self._segments[first].options[choice].kept)
        kept += self._units(self._segments[first + 1].state)
        return Keep(first, choice, self._schedule(first + 1, last, place - kept))
