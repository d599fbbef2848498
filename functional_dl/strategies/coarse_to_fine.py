"""Coarse to fine: rounds of random search, each in a smaller part of the space, around the best members so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from functional_dl.strategies.space import Space, draw, narrowed
from functional_dl.strategies.strategy import Round, Tracked, diverged, ranked, require

__all__ = ["CoarseToFine"]


@dataclass(frozen=True)
class CoarseToFine:
    """Random search, then random search again in the part of the space where the best members were.

    Args:
      members: members of each round; all of them train in full.
      rounds: how often; the first is over the whole space.
      best: around how many of the best members so far the next round's space lies.
      share: what share of its width each interval keeps from round to round; a choice keeps the best members' values.

    >>> CoarseToFine(members=8, rounds=2).budget(steps=100)
    1600
    """

    members: int
    rounds: int = 2
    best: int = 3
    share: float = 0.3

    def __post_init__(self) -> None:
        require(self, members=(self.members, 1), rounds=(self.rounds, 1), best=(self.best, 1))
        if not 0 < self.share <= 1:
            raise ValueError(f"CoarseToFine: share is {self.share!r}; due is a number in (0, 1].")

    def start(self, space: Space, seed: int, steps: int) -> CoarseToFineRun:
        """A run over a space; ``steps`` is the length of a full training."""
        return CoarseToFineRun(self, space, seed, steps)

    def budget(self, steps: int, space: Space | None = None) -> int:
        """The member-steps of a run."""
        return self.members * self.rounds * steps


class CoarseToFineRun(Tracked):
    """A run of ``CoarseToFine``: round r, counted from 0, has the members from r·members on."""

    def __init__(self, options: CoarseToFine, space: Space, seed: int, steps: int) -> None:
        super().__init__(space, seed, steps, members=options.members * options.rounds, capacity=options.members)
        self.options = options
        self.spaces = [space]

    def _next(self) -> Round | None:
        done = len(self.reached)
        return self._round(range(done, done + self.options.members), self.steps) if done < self.members else None

    def needed(self) -> set[int]:
        """No one: each member trains in one go."""
        return set()

    def _heard(self, told: Round) -> None:
        best = [m for m in ranked(self.results) if not diverged(self.results[m])][: self.options.best]
        # Always a part of the whole space, so that a later round may move away from where an earlier one was led.
        # Where every member has diverged, nothing says where to look.
        share = self.options.share ** len(self.spaces)
        self.spaces.append(narrowed(self.space, [self.values(m) for m in best], share) if best else self.space)

    def _values(self, member: int) -> dict[str, Any]:
        before = member // self.options.members
        if before >= len(self.spaces):
            raise ValueError(f"Member {member} is not known yet; its space is when round {before - 1} is over.")
        return draw(self.spaces[before], self.seed, member)
