"""The interface of a tuning strategy: it asks for rounds of training, is told the results, and decides who goes on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from functional_dl.strategies.space import Space, draw

__all__ = ["Job", "Result", "Round", "Run", "Strategy", "Tracked", "diverged", "ranked", "require"]


class Result(NamedTuple):
    """What a member has reached: lower is better, and a NaN in either is worse than anything."""

    score: float
    loss: float


class Job(NamedTuple):
    """A member to train, and the steps it has made already (0: it is to be initialised)."""

    member: int
    start: int


class Round(NamedTuple):
    """Jobs that all advance by the same number of steps.

    Attributes:
      jobs: who trains; no member twice.
      steps: by how many steps each of them advances, at least 1.
      keep: afterwards the best ``keep`` of them, by ``ranked``, go on; ``None``: the next ``ask`` says who does.
    """

    jobs: tuple[Job, ...]
    steps: int
    keep: int | None = None


def diverged(result: Result) -> bool:
    """Whether a NaN came up: no further step can mend that."""
    return math.isnan(result.score) or math.isnan(result.loss)


def ranked(results: Mapping[int, Result]) -> list[int]:
    """Members, best first: by score, then loss, then member; after all of them those with a NaN in score or loss.

    >>> ranked({0: Result(0.2, 0.9), 1: Result(0.1, 0.5), 2: Result(0.1, 0.4), 3: Result(0.0, float("nan"))})
    [2, 1, 0, 3]
    """

    def key(member: int) -> tuple[bool, float, float, int]:
        score, loss = (math.inf if math.isnan(x) else x for x in results[member])
        return diverged(results[member]), score, loss, member

    return sorted(results, key=key)


class Run(Protocol):
    """One run of a strategy: a state machine without clock or randomness, so that the same results replay it."""

    @property
    def members(self) -> int:
        """How many members there can be at most; they are numbered from 0."""

    @property
    def capacity(self) -> int:
        """The most members whose states are needed at once: those of a round's jobs and of ``needed``."""

    @property
    def finished(self) -> set[int]:
        """Members that have reached the full number of steps."""

    def ask(self) -> Round | None:
        """What to do next, the same until it is told; ``None``: nothing, the run is over."""

    def tell(self, results: Mapping[int, Result]) -> None:
        """What came of the round that ``ask`` gave, for all of its jobs."""

    def values(self, member: int) -> dict[str, Any]:
        """The member's hyperparameters, by their config keys."""

    def needed(self) -> set[int]:
        """Members whose states a later round may go on from; the others' may be thrown away."""

    def standing(self) -> list[tuple[int, int, Result]]:
        """(member, steps, result) of all that have trained, best first: the first one is the search's answer."""


class Strategy(Protocol):
    """The options of a strategy; ``start`` makes a run of it."""

    def start(self, space: Space, seed: int, steps: int) -> Run:
        """A run over a space, whose members are drawn by ``seed``; ``steps`` is the length of a full training."""

    def budget(self, steps: int, space: Space | None = None) -> int:
        """The member-steps of a run; only a grid's depend on the space."""


class Tracked(ABC):
    """What all runs share: the round that is out, and the steps and the last result of each member.

    A strategy says in ``_next`` what to do next and in ``_heard``, if it cares, what to make of the results.
    """

    def __init__(self, space: Space, seed: int, steps: int, members: int, capacity: int) -> None:
        require(self, steps=(steps, 1))
        self.space, self.seed, self.steps, self.members, self.capacity = space, seed, steps, members, capacity
        self.reached: dict[int, int] = {}
        self.results: dict[int, Result] = {}
        self._out: Round | None = None

    @abstractmethod
    def _next(self) -> Round | None: ...

    @abstractmethod
    def needed(self) -> set[int]: ...

    def _heard(self, told: Round) -> None:  # noqa: B027  # most have nothing to do here
        """The results of this round are in ``self.results``."""

    def _round(self, members: Iterable[int], steps: int, keep: int | None = None) -> Round:
        return Round(tuple(Job(member, self.reached.get(member, 0)) for member in members), steps, keep)

    def ask(self) -> Round | None:
        if self._out is None:
            self._out = self._next()
        return self._out

    def tell(self, results: Mapping[int, Result]) -> None:
        due = {job.member for job in self._out.jobs} if self._out else set()
        if not self._out or set(results) != due:
            raise ValueError(f"Results came for members {sorted(results)}; due are those of the last round asked for, "
                             f"{sorted(due) or 'and none is out'}.")  # fmt: skip
        told, self._out = self._out, None
        for job in told.jobs:
            self.reached[job.member] = job.start + told.steps
            self.results[job.member] = Result(*map(float, results[job.member]))
        self._heard(told)

    def values(self, member: int) -> dict[str, Any]:
        if not 0 <= member < self.members:
            raise ValueError(f"There is no member {member}; due is one from 0 to {self.members - 1}.")
        return self._values(member)

    def _values(self, member: int) -> dict[str, Any]:
        return draw(self.space, self.seed, member)

    @property
    def finished(self) -> set[int]:
        return {member for member, steps in self.reached.items() if steps >= self.steps}

    def standing(self) -> list[tuple[int, int, Result]]:
        # A score after few steps says little beside one after many, so those that went further come first; but
        # whoever went far and came to nothing is no answer.
        order = ranked(self.results)
        lost = {m for m, result in self.results.items() if diverged(result) or result.score == math.inf}
        order.sort(key=lambda member: (member in lost, -self.reached[member]))
        return [(member, self.reached[member], self.results[member]) for member in order]


def require(who: object, **options: tuple[int | None, int]) -> None:
    """Raises unless each option, given as (value, least), is a whole number that is no less, or ``None``."""
    for name, (value, least) in options.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ValueError(f"{type(who).__name__}: {name} is {value!r}; due is a whole number, at least {least}.")
