"""Median stopping: all members train side by side, and who has never been as good as the others are is stopped."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from functional_dl.strategies.space import Space
from functional_dl.strategies.strategy import Round, Tracked, diverged, require

__all__ = ["MedianStopping"]


@dataclass(frozen=True)
class MedianStopping:
    """The median stopping rule (Golovin et al., 2017, section 3.2.2).

    After every interval a member is stopped if its best score so far is strictly worse than the median of the other
    members' running averages, the mean of all their scores up to the same step.  The others are those that came to
    this step; in the paper, whose trials do not train side by side, they are the completed ones.  A member that has
    diverged is stopped at once.

    Args:
      members: how many are drawn.
      every: the steps from one judgement to the next.
      grace: no member is judged before it has made so many steps; without it, from the first interval on.

    >>> MedianStopping(members=20, every=10).budget(steps=100)
    2000
    """

    members: int
    every: int
    grace: int | None = None

    def __post_init__(self) -> None:
        require(self, members=(self.members, 1), every=(self.every, 1), grace=(self.grace, 0))

    def start(self, space: Space, seed: int, steps: int) -> MedianStoppingRun:
        """A run over a space; ``steps`` is the length of a full training."""
        return MedianStoppingRun(self, space, seed, steps)

    def budget(self, steps: int, space: Space | None = None) -> int:
        """The most member-steps that a run can take: those of one in which no one is stopped."""
        return self.members * steps


class MedianStoppingRun(Tracked):
    """A run of ``MedianStopping``."""

    def __init__(self, options: MedianStopping, space: Space, seed: int, steps: int) -> None:
        super().__init__(space, seed, steps, members=options.members, capacity=options.members)
        self.options = options
        self._going = list(range(options.members))
        self._scores: dict[int, list[float]] = {member: [] for member in self._going}

    def _next(self) -> Round | None:
        made = self.reached.get(self._going[0], 0) if self._going else self.steps
        left = self.steps - made
        return self._round(self._going, min(self.options.every, left)) if left else None

    def _heard(self, told: Round) -> None:
        made = told.jobs[0].start + told.steps
        for member in self._going:
            self._scores[member].append(math.inf if diverged(self.results[member]) else self.results[member].score)
        averages = {member: _mean(self._scores[member]) for member in self._going}
        alive = [member for member in self._going if not diverged(self.results[member])]
        if made >= (self.options.grace or 0):
            alive = [m for m in alive if not self._stopped(m, [x for i, x in averages.items() if i != m])]
        self._going = alive

    def _stopped(self, member: int, others: list[float]) -> bool:
        return bool(others) and min(self._scores[member]) > statistics.median(others)

    def needed(self) -> set[int]:
        """Those that were not stopped and are not at their end."""
        return {member for member in self._going if 0 < self.reached.get(member, 0) < self.steps}


def _mean(scores: list[float]) -> float:
    if math.inf in scores:
        return math.inf
    # No less than the least of them: rounding must not stop a member for being just like the others.
    return max(min(scores), math.fsum(score / len(scores) for score in scores))
