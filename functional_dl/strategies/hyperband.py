"""Hyperband: successive halvings from many short trainings to few full ones, as no one knows how soon a score tells."""

from __future__ import annotations

from dataclasses import dataclass

from functional_dl.strategies.halving import Bracket, BracketsRun, bracket, cost, floor_log
from functional_dl.strategies.space import Space
from functional_dl.strategies.strategy import require

__all__ = ["Hyperband"]


@dataclass(frozen=True)
class Hyperband:
    """Hyperband (Li et al., 2018, algorithm 1): brackets s = s_max … 0, each a successive halving of its own members.

    Bracket s has ⌈(s_max+1)/(s+1) η^s⌉ members and a first rung of R η^−s steps, with s_max = ⌊log_η(R/least)⌋; if
    every rung is thought to begin anew, each costs about (s_max+1) R member-steps, and less here, where members go on.

    Args:
      eta: η, of how many one goes on.
      least: the fewest steps of a rung; without it R η^−4, which makes five brackets (where R allows): in the paper's
        tables R counts the shortest trainings that say anything, and a single step is none.

    >>> [[rung.members for rung in one] for one in Hyperband(least=1).brackets(steps=81)]
    [[81, 27, 9, 3, 1], [34, 11, 3, 1], [15, 5, 1], [8, 2], [5]]
    """

    eta: int = 3
    least: int | None = None

    def __post_init__(self) -> None:
        require(self, eta=(self.eta, 2), least=(self.least, 1))

    def brackets(self, steps: int) -> list[Bracket]:
        """The schedule for a full training of so many steps."""
        if self.least is None:
            most = min(4, floor_log(steps, self.eta))
        elif self.least <= steps:
            most = floor_log(steps // self.least, self.eta)
        else:
            raise ValueError(f"Hyperband: a rung is to have {self.least} steps at least; "
                             f"due is no more than a full training's, {steps}.")  # fmt: skip
        # ⌈a/b⌉ in whole numbers is −⌊−a/b⌋.
        sizes = {s: -(-(most + 1) * self.eta**s // (s + 1)) for s in range(most, -1, -1)}
        return [bracket(members, steps, self.eta, s) for s, members in sizes.items()]

    def start(self, space: Space, seed: int, steps: int) -> BracketsRun:
        """A run over a space; ``steps`` is the length of a full training."""
        return BracketsRun(self.brackets(steps), space, seed, steps)

    def budget(self, steps: int, space: Space | None = None) -> int:
        """The member-steps of a run, exactly."""
        return cost(self.brackets(steps))
