"""Random search: members drawn from the space, each trained in full."""

from __future__ import annotations

from dataclasses import dataclass

from functional_dl.strategies.space import Space
from functional_dl.strategies.strategy import Round, Tracked, require

__all__ = ["Random"]


@dataclass(frozen=True)
class Random:
    """Random search (Bergstra & Bengio, 2012): where few dimensions matter, it tries more values of them than a grid.

    Args:
      members: how many are drawn.

    >>> Random(members=20).budget(steps=100)
    2000
    """

    members: int

    def __post_init__(self) -> None:
        require(self, members=(self.members, 1))

    def start(self, space: Space, seed: int, steps: int) -> RandomRun:
        """A run over a space; ``steps`` is the length of a full training."""
        return RandomRun(space, seed, steps, members=self.members, capacity=self.members)

    def budget(self, steps: int, space: Space | None = None) -> int:
        """The member-steps of a run, exactly."""
        return self.members * steps


class RandomRun(Tracked):
    """A run of ``Random``: one round."""

    def _next(self) -> Round | None:
        return None if self.reached else self._round(range(self.members), self.steps)

    def needed(self) -> set[int]:
        """No one: each member trains in one go."""
        return set()
