"""ASHA: successive halving that waits for no one; a place that falls free is taken at once by the next best thing."""

from __future__ import annotations

from dataclasses import dataclass

from functional_dl.strategies.halving import promotions, targets
from functional_dl.strategies.space import Space
from functional_dl.strategies.strategy import Result, Round, Tracked, diverged, ranked, require

__all__ = ["Asha"]


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving (Li et al., 2020, algorithm 2).

    Whenever a place is free: from the highest rung that has one, a member among the best ⌊m/η⌋ of the m that came to
    this rung, not promoted yet, goes on to the next; else a new member starts; else the place stays empty.  A member
    that has diverged takes no place: where the rule would promote it, it comes to the next rung as it is.

    Args:
      members: how many are drawn.
      places: how many train at a time.
      eta: η, of how many one goes on.
      least: the fewest steps of the first rung; without it there are as many rungs as in ``Halving``.

    >>> Asha(members=20, places=4).targets(steps=100)
    [11, 33, 100]
    """

    members: int
    places: int
    eta: int = 3
    least: int | None = None

    def __post_init__(self) -> None:
        require(self, members=(self.members, 1), places=(self.places, 1), eta=(self.eta, 2), least=(self.least, 1))

    def targets(self, steps: int) -> list[int]:
        """The steps of each rung."""
        return targets(steps, self.eta, promotions(self, self.members, steps, self.eta, self.least))

    def arrivals(self, steps: int) -> list[int]:
        """The most members that can come to each rung.

        The best ⌊m/η⌋ gain at most one member when one arrives, and none before the η-th: n arrivals make at most
        n − η + 1 promotions, as many as there are when each newcomer is better than all before.
        """
        most = [self.members]
        for _ in self.targets(steps)[1:]:
            most.append(max(most[-1] - self.eta + 1, 0))
        return most

    def start(self, space: Space, seed: int, steps: int) -> AshaRun:
        """A run over a space; ``steps`` is the length of a full training."""
        return AshaRun(self, space, seed, steps)

    def budget(self, steps: int, space: Space | None = None) -> int:
        """The most member-steps that a run can take; how many it does depends on the results."""
        due = self.targets(steps)
        return sum(n * (till - since) for n, since, till in zip(self.arrivals(steps), [0, *due], due, strict=False))

    def capacity(self, steps: int) -> int:
        """The most members whose states are needed at once.

        With u members not started, a rung of m members whose places are all refilled has none waiting among its best
        ⌊m/η⌋, and at most u + ``places`` more can come to it: ⌈(u + places)/η⌉ of those waiting have a chance.
        """
        rungs = len(self.targets(steps)) - 1
        waiting = [rungs * -(-(u + self.places) // self.eta) for u in range(self.members)]
        return max(min(self.places + n, self.members - u) for u, n in enumerate(waiting))


class AshaRun(Tracked):
    """A run of ``Asha``."""

    def __init__(self, options: Asha, space: Space, seed: int, steps: int) -> None:
        super().__init__(space, seed, steps, members=options.members, capacity=options.capacity(steps))
        self.options = options
        self.targets = options.targets(steps)
        self._active: dict[int, int] = {}  # the rung that each training member is on its way to
        # Who came to each rung, with its result there: a later one must not change the rung's order.
        self._rungs: list[dict[int, Result]] = [{} for _ in self.targets]
        self._promoted: list[set[int]] = [set() for _ in self.targets]
        self._begun = 0

    def _promotable(self, rung: int) -> list[int]:
        best = ranked(self._rungs[rung])[: len(self._rungs[rung]) // self.options.eta]
        return [member for member in best if member not in self._promoted[rung]]

    def _fill(self) -> bool:
        """Give a free place to someone, if there is anyone; or pass a diverged member on, which needs none."""
        for rung in range(len(self.targets) - 2, -1, -1):
            for member in self._promotable(rung)[:1]:
                self._promoted[rung].add(member)
                if diverged(self._rungs[rung][member]):
                    self._rungs[rung + 1][member] = self._rungs[rung][member]
                else:
                    self._active[member] = rung + 1
                return True
        if self._begun == self.members:
            return False
        self._active[self._begun] = 0
        self._begun += 1
        return True

    def _next(self) -> Round | None:
        while len(self._active) < self.options.places and self._fill():
            pass
        if not self._active:
            return None
        left = min(self.targets[rung] - self.reached.get(member, 0) for member, rung in self._active.items())
        return self._round(self._active, left)

    def _heard(self, told: Round) -> None:
        for member, rung in list(self._active.items()):
            if self.reached[member] == self.targets[rung]:
                del self._active[member]
                self._rungs[rung][member] = self.results[member]

    def needed(self) -> set[int]:
        """Those in training, and of those waiting in a rung all that may yet be promoted.

        That is who would be if everyone that can still come to this rung came, and was worse.
        """
        found = {member for member in self._active if member in self.reached}
        coming = self.members - self._begun
        for rung, there in enumerate(self._rungs[:-1]):
            coming += sum(target == rung for target in self._active.values())
            chance = ranked(there)[: (len(there) + coming) // self.options.eta]
            found |= {m for m in chance if m not in self._promoted[rung] and not diverged(there[m])}
            # Each that comes here promotes at most one to the next rung, besides those that are about to be.
            coming += len(self._promotable(rung))
        return found
