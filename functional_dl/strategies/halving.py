"""Successive halving: many members train a little, the best of them longer, the best of those longer still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from functional_dl.strategies.space import Space
from functional_dl.strategies.strategy import Round, Tracked, ranked, require

__all__ = ["Bracket", "BracketsRun", "Halving", "Rung", "promotions", "targets"]


class Rung(NamedTuple):
    """How many members train to how many steps, counted from the start of their training."""

    members: int
    steps: int


Bracket = tuple[Rung, ...]


def floor_log(x: int, base: int) -> int:
    """The largest s with base^s ≤ x, in whole numbers: a logarithm of 243 to the base 3 is 4.999…"""
    s = 0
    while base ** (s + 1) <= x:
        s += 1
    return s


def promotions(who: object, members: int, steps: int, eta: int, least: int | None) -> int:
    """How many times members are promoted: as often as leaves one of them, and the first rung ``least`` steps.

    >>> promotions(None, members=20, steps=100, eta=3, least=None), promotions(None, 81, steps=100, eta=3, least=10)
    (2, 2)
    """
    if least is not None and least > steps:
        raise ValueError(f"{type(who).__name__}: the first rung is to have {least} steps at least; "
                         f"due is no more than a full training's, {steps}.")  # fmt: skip
    return min(floor_log(members, eta), floor_log(steps // (least or 1), eta))


def targets(steps: int, eta: int, promotions: int) -> list[int]:
    """The steps of each rung, R η^(k−s) for k = 0 … s, to the nearest whole step; the last is R itself.

    >>> targets(100, eta=3, promotions=2)
    [11, 33, 100]
    """
    parts = [eta ** (promotions - k) for k in range(promotions + 1)]
    return [(2 * steps + part) // (2 * part) for part in parts]


def bracket(members: int, steps: int, eta: int, promotions: int) -> Bracket:
    """The rungs of one successive halving: ⌊n η^−k⌋ members at rung k."""
    return tuple(Rung(members // eta**k, target) for k, target in enumerate(targets(steps, eta, promotions)))


def cost(brackets: Sequence[Bracket]) -> int:
    """The member-steps of brackets: a member that goes on does not begin anew."""
    before = [(0, *(rung.steps for rung in one[:-1])) for one in brackets]
    return sum(rung.members * (rung.steps - start)
               for one, starts in zip(brackets, before, strict=True)
               for rung, start in zip(one, starts, strict=True))  # fmt: skip


@dataclass(frozen=True)
class Halving:
    """Successive halving (Jamieson & Talwalkar, 2016; as SuccessiveHalving in Li et al., 2018, algorithm 1).

    All n members train R η^−s steps, the best ⌊n/η⌋ go on to R η^(1−s), the best ⌊n/η²⌋ to R η^(2−s), and so on to R.
    A member that has diverged goes on only where there are not enough others, so the budget is known beforehand.

    Args:
      members: n, how many are drawn.
      eta: η, of how many one goes on.
      least: the fewest steps of the first rung; without it s is ⌊log_η n⌋, so that fewer than η reach the end
        (or ⌊log_η R⌋, where R is too short for that).

    >>> Halving(members=20).rungs(steps=100)
    (Rung(members=20, steps=11), Rung(members=6, steps=33), Rung(members=2, steps=100))
    """

    members: int
    eta: int = 3
    least: int | None = None

    def __post_init__(self) -> None:
        require(self, members=(self.members, 1), eta=(self.eta, 2), least=(self.least, 1))

    def rungs(self, steps: int) -> Bracket:
        """The schedule for a full training of so many steps."""
        return bracket(self.members, steps, self.eta, promotions(self, self.members, steps, self.eta, self.least))

    def start(self, space: Space, seed: int, steps: int) -> BracketsRun:
        """A run over a space; ``steps`` is the length of a full training."""
        return BracketsRun([self.rungs(steps)], space, seed, steps)

    def budget(self, steps: int, space: Space | None = None) -> int:
        """The member-steps of a run, exactly."""
        return cost([self.rungs(steps)])


class BracketsRun(Tracked):
    """Brackets one after the other, each with new members."""

    def __init__(self, brackets: Sequence[Bracket], space: Space, seed: int, steps: int) -> None:
        sizes = [one[0].members for one in brackets]
        super().__init__(space, seed, steps, members=sum(sizes), capacity=max(sizes))
        self._left = [list(one) for one in brackets]
        self._going: list[int] = []

    def _next(self) -> Round | None:
        if not self._left:
            return None
        rung, *later = self._left[0]
        if not self._going:
            self._going = list(range(len(self.reached), len(self.reached) + rung.members))
        start = self.reached.get(self._going[0], 0)
        return self._round(self._going, rung.steps - start, later[0].members if later else None)

    def _heard(self, told: Round) -> None:
        del self._left[0][0]
        if self._left[0]:
            self._going = ranked({member: self.results[member] for member in self._going})[: self._left[0][0].members]
        else:
            del self._left[0]
            self._going = []

    def needed(self) -> set[int]:
        """Those that were promoted."""
        return {member for member in self._going if member in self.reached}
