"""Grid search: every combination of some values of each dimension, each trained in full."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from functional_dl.strategies.space import Space, grid
from functional_dl.strategies.strategy import Round, Tracked, require

__all__ = ["Grid"]


@dataclass(frozen=True)
class Grid:
    """The full product of the dimensions' values.

    Args:
      points: values of each interval, both its ends among them; a choice has all of its own.
    """

    points: int = 3

    def __post_init__(self) -> None:
        require(self, points=(self.points, 1))

    def start(self, space: Space, seed: int, steps: int) -> GridRun:
        """A run over a space; ``steps`` is the length of a full training. The seed changes nothing."""
        return GridRun(self, space, seed, steps)

    def budget(self, steps: int, space: Space | None = None) -> int:
        """The member-steps of a run, exactly.

        >>> from functional_dl.strategies.space import choice, uniform
        >>> Grid(points=5).budget(100, {"dropout": uniform(0.0, 0.5), "activation": choice("relu", "tanh")})
        1000
        """
        if space is None:
            raise ValueError("Grid: its budget depends on the space, and none came.")
        return math.prod(len(dimension.grid(self.points)) for dimension in space.values()) * steps


class GridRun(Tracked):
    """A run of ``Grid``: one round."""

    def __init__(self, options: Grid, space: Space, seed: int, steps: int) -> None:
        self.found = grid(space, options.points)
        super().__init__(space, seed, steps, members=len(self.found), capacity=len(self.found))

    def _next(self) -> Round | None:
        return None if self.reached else self._round(range(self.members), self.steps)

    def needed(self) -> set[int]:
        """No one: each member trains in one go."""
        return set()

    def _values(self, member: int) -> dict[str, Any]:
        return dict(self.found[member])
