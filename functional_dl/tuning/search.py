"""A search: rounds of a strategy on a population, finalists with several seeds, and the best tested once."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functional_dl.strategies.space import Space, member_seed
from functional_dl.strategies.strategy import Result, Strategy, ranked
from functional_dl.tuning.population import Member, Population
from functional_dl.tuning.problem import Problem, numbers_among
from functional_dl.tuning.trials import Line, Trials

__all__ = ["Finalist", "Found", "Progress", "SearchError", "run_search"]


class SearchError(ValueError):
    """A search that came to nothing: what was tried, and what to do."""


@dataclass(frozen=True)
class Progress:
    """Where a search is, at the beginning of a round or at its end.

    Attributes:
      round: which, from 0.
      made: the steps that its members have made so far.
      due: the steps that they have made at its end.
      member_steps: how many steps all members have made so far.
      metrics: of its members, on the validation part; ``None`` at the beginning of a round.
      finals: whether it is the finalists' round, which are trained with further seeds.
    """

    round: int
    made: Mapping[int, int]
    due: Mapping[int, int]
    member_steps: int
    metrics: Mapping[int, Mapping[str, float]] | None
    finals: bool


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Finalist:
    """One of the best members, trained with several seeds.

    Attributes:
      member: which.
      values: its hyperparameters.
      seeds: of its trainings, the member's own first.
      metrics: on the validation part, of each training.
    """

    member: int
    values: Mapping[str, Any]
    seeds: tuple[int, ...]
    metrics: tuple[Mapping[str, float], ...]

    @property
    def result(self) -> Result:
        """The means over the seeds."""
        return Result(*(statistics.fmean(m[name] for m in self.metrics) for name in ("score", "loss")))

    def spread(self, name: str) -> float:
        """The standard deviation of a metric over the seeds; 0 of a single one."""
        found = [m[name] for m in self.metrics]
        return statistics.stdev(found) if len(found) > 1 else 0.0


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
      values: the best finalist's hyperparameters: that of the best mean validation score over its seeds.
      seed: the seed of its first training.
      finalists: best first.
      test: the best's metrics on the test part, one for each seed; empty without a test part.  Of no other member
        anything was tested.
      standing: (member, steps, result) of all members, best first.
      lines: every result.
      member_steps: the steps made by the strategy, and by the finalists.
      finished: whether it came to its end; a search that was stopped has no finalists.
    """

    values: Mapping[str, Any]
    seed: int
    finalists: tuple[Finalist, ...]
    test: tuple[Mapping[str, float], ...]
    standing: tuple[tuple[int, int, Result], ...]
    lines: tuple[Line, ...]
    member_steps: tuple[int, int]
    finished: bool = True


def _paces(known: Mapping[str, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    """Paces as they were before JSON made texts of their keys."""
    return {kind: {int(chunk): pace for chunk, pace in own.items()} for kind, own in known.items()}


class _Search:
    """A search under way: the strategy's run, the population, and what is written down of both."""

    def __init__(
        self,
        problem: Problem,
        space: Space,
        strategy: Strategy,
        seed: int,
        trials: Trials,
        resume: bool,
        devices: Sequence[Any] | None,
        limit: int | None,
        report: Report,
        finalists: int,
        seeds: int,
    ) -> None:
        self.problem, self.seed, self.trials, self._report = problem, seed, trials, report
        self.run = strategy.start(space, seed, problem.steps)
        self._facts = {
            "seed": seed, "strategy": repr(strategy), "space": repr(dict(sorted(space.items()))),
            "finalists": finalists, "seeds": seeds,
        }  # fmt: skip
        self._known = trials.resume(self._facts) if resume else trials.begin()
        self._replayed = int(self._known.get("rounds", 0))
        self._made: dict[int, int] = {}
        self._repeats: dict[int, tuple[int, int]] = {}  # finalists' further trainings: of whom, and the how manieth
        self.member_steps = 0
        first = self.member(0).values
        numbers, capacity = numbers_among(problem, first, list(first)), self.run.capacity + finalists
        self.population = Population(
            problem, numbers, self.member, devices, limit, capacity, _paces(self._known.get("paces", {}))
        )

    def member(self, member: int) -> Member:
        """Who a member is."""
        of, repeat = self._repeats.get(member, (member, 0))
        values = dict(self.run.values(of))
        sown = values.pop(self.problem.sown, None)
        if sown is None:
            return Member(values, member_seed(self.seed, of, repeat))
        return Member(values, int(sown) if repeat == 0 else member_seed(int(sown), of, repeat))

    def round(self, number: int, until: Mapping[int, int], finals: bool = False) -> Mapping[int, Mapping[str, float]]:
        """Train members until they have made so many of the problem's steps; their metrics.

        Steps are in proportion to a member's own training.  A round that was run before is read.
        """
        if number < self._replayed:
            before = {line.member: line for line in self.trials.lines if line.round == number}
            self._advance({i: line.steps for i, line in before.items()})
            return {i: line.metrics for i, line in before.items()}
        self.restore()
        goal = {i: round(x * self.population.length(i) / self.problem.steps) for i, x in until.items()}
        # A finalist whose state nobody needed any more begins anew.
        made = {i: self._made.get(i, 0) if i in self.population.held else 0 for i in goal}
        self._report(Progress(number, made, goal, self.member_steps, None, finals))
        measured = self.population.run({i: goal[i] - made[i] for i in goal})
        metrics = {i: measured[i] for i in goal}  # in the strategy's order, whatever row they are in
        self._made.update({i: steps for i, steps in made.items() if i in self._made})
        self._advance(goal)
        self.trials.append([self._line(number, i, found) for i, found in metrics.items()])
        self._report(Progress(number, made, goal, self.member_steps, metrics, finals))
        return metrics

    def settle(self, number: int, needed: Collection[int]) -> None:
        """After a round: let go of whom nobody needs, and store the others."""
        if number >= self._replayed:
            self.population.retain(needed)
            self.trials.save(self.population, number + 1, self._facts)

    def restore(self) -> None:
        """Put stored members back, before the first thing that needs them."""
        if self._known:
            self.trials.restored(self.population, self._known)
            self._known = {}

    def repeats(self, members: Sequence[int], seeds: int, free: int) -> dict[int, list[int]]:
        """Trainings of each of these members with so many seeds: itself, and new ones, numbered from ``free``."""
        trainings = {}
        for member in members:
            more = list(range(free, free + seeds - 1))
            self._repeats.update({i: (member, k) for k, i in enumerate(more, 1)})
            trainings[member] = [member, *more]
            free += len(more)
        return trainings

    def _advance(self, goal: Mapping[int, int]) -> None:
        self.member_steps += sum(steps - self._made.get(i, 0) for i, steps in goal.items())
        self._made.update(goal)

    def _line(self, number: int, member: int, metrics: Mapping[str, float]) -> Line:
        of, repeat = self._repeats.get(member, (member, 0))
        values, seed = dict(self.run.values(of)), self.member(member).seed
        return Line(number, member, seed, values, self._made[member], dict(metrics), of if repeat else None)


def run_search(
    problem: Problem,
    space: Space,
    strategy: Strategy,
    seed: int = 0,
    finalists: int = 3,
    seeds: int = 3,
    trials: Trials | None = None,
    resume: bool = False,
    devices: Sequence[Any] | None = None,
    limit: int | None = None,
    report: Report = lambda progress: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Found:
    """Search a space.

    Args:
      problem: what is trained.
      space: the hyperparameters.
      strategy: who is trained, and how far.
      seed: of the members' hyperparameters and of their own seeds.
      finalists: how many of the best are compared over several seeds.
      seeds: how many trainings each finalist gets; the first is the member's own.
      trials: where results and the population are kept, after every round.
      resume: go on with what ``trials`` holds.
      devices: what to run on; by default all there are.
      limit: the bytes that a device may hold.
      report: called at the beginning and at the end of each round.
      stopping: asked after each round.

    Raises:
      SnapshotError: ``resume`` of what is not there or of another search; a new search in the folder of another.
      SearchError: no member came to a finite score.
      ValueError: not even one member fits on the device.
    """
    trials = Trials(None) if trials is None else trials
    search = _Search(problem, space, strategy, seed, trials, resume, devices, limit, report, finalists, seeds)
    run, number = search.run, 0
    while (asked := run.ask()) is not None:
        metrics = search.round(number, {job.member: job.start + asked.steps for job in asked.jobs})
        run.tell({i: Result(m["score"], m["loss"]) for i, m in metrics.items()})
        search.settle(number, run.needed() | {i for i, _, _ in run.standing()[:finalists]})
        number += 1
        if stopping():
            standing = tuple(run.standing())
            return Found({}, 0, (), (), standing, tuple(trials.lines), (search.member_steps, 0), finished=False)
    return _decided(search, number, finalists, seeds)


def _decided(search: _Search, number: int, count: int, seeds: int) -> Found:
    """Train the finalists with several seeds, take the best by validation, and test it."""
    run, standing, spent = search.run, tuple(search.run.standing()), search.member_steps
    chosen = [i for i, _, result in standing[:count] if math.isfinite(result.score) and math.isfinite(result.loss)]
    if not chosen:
        raise SearchError(f"none of {len(standing)} members came to a finite score: the space wants other bounds.")
    trainings = search.repeats(chosen, seeds, free=1 + max(i for i, _, _ in standing))
    everyone = [i for own in trainings.values() for i in own]
    # Members that are at their end make no step and are only measured again: all are in one round.
    metrics = search.round(number, dict.fromkeys(everyone, search.problem.steps), finals=True)
    search.settle(number, everyone)
    compared = {
        i: Finalist(i, run.values(i), tuple(search.member(j).seed for j in own), tuple(metrics[j] for j in own))
        for i, own in trainings.items()
    }
    order = ranked({i: finalist.result for i, finalist in compared.items()})
    best = compared[order[0]]
    search.restore()
    tested = search.population.test(trainings[best.member])
    return Found(
        best.values, best.seeds[0], tuple(compared[i] for i in order), tuple(tested[i] for i in sorted(tested)),
        standing, tuple(search.trials.lines), (spent, search.member_steps - spent),
    )  # fmt: skip
