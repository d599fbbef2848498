"""A joint graph whose intermediates fit a number of bytes: the plans there are, and the cheapest that fits.

A dynamic program finds the cheapest schedules of the program's segments (`functional_dl.autodiff.chains`); each can be
made, and what it takes at its peak counted (`functional_dl.planner.liveness`).  Which plans there are does not depend
on the budget, and the search among them goes by bisection, so that more bytes never cost more operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from functional_dl.autodiff.backward import Joint, joint, lean
from functional_dl.autodiff.chains import Division, divided
from functional_dl.autodiff.halves import Differentiation
from functional_dl.jaxprs import Graph, Literal
from functional_dl.planner.chain import Chain, Keep, Split
from functional_dl.planner.levels import AUTO
from functional_dl.planner.liveness import Profile, profile

__all__ = ["BudgetError", "Plan", "Plans", "differentiated", "memory_of", "schedule_of", "shown"]


class BudgetError(ValueError):
    """A budget that cannot be met."""


@dataclass(frozen=True)
class Plan:
    """One way to run a program and its reverse pass.

    Attributes:
      program: the joint graph.
      memory: what is alive while it runs, as far as the graph tells.
      repeated: operations that the backward runs again; those that are cheaper than a load are not counted.
    """

    program: Joint
    memory: Profile
    repeated: float


class Plans:
    """The plans for a program, from the fewest bytes to the fewest operations."""

    def __init__(
        self, graph: Graph, wanted: Sequence[bool], seeded: Sequence[bool], differentiate: Differentiation
    ) -> None:
        self._graph, self._wanted, self._seeded = graph, wanted, seeded
        self._auto = differentiate.at(AUTO)
        self._base = joint(graph, wanted, seeded, self._auto)
        self._made: dict[int, Plan] = {}

    @cached_property
    def auto(self) -> Plan:
        """The plan that repeats nothing expensive, in the fewest bytes."""
        program = self._auto.plan(self._base)
        return Plan(program, memory_of(program), 0.0)

    @cached_property
    def _division(self) -> Division:
        return divided(self._base, self._auto)

    @cached_property
    def _schedules(self) -> list[tuple[int, float, Keep | Split]]:
        return Chain(self._division.segments).frontier() if self._division.segments else []

    def _plan(self, number: int) -> Plan:
        """The plan that follows schedule ``number``; after the last comes ``auto``."""
        if number == len(self._schedules):
            return self.auto
        if number not in self._made:
            _, repeated, schedule = self._schedules[number]
            levels = self._division.levels(schedule)
            others = {place: self._auto.at(level) for place, level in levels.items()}
            program = joint(self._graph, self._wanted, self._seeded, self._auto, others) if others else self._base
            program = self._division.followed(program, schedule)
            self._made[number] = Plan(program, memory_of(program), repeated)
        return self._made[number]

    @property
    def least(self) -> Plan:
        """The plan with the lowest peak."""
        # The dynamic program counts a segment's bytes as if it stood alone: the lowest of its schedules by its own
        # count need not be the lowest by that of the whole program.
        return min((self._plan(k) for k in (0, 1, len(self._schedules)) if k <= len(self._schedules)), key=_weight)

    def within(self, budget: int) -> Plan:
        """The plan that repeats the fewest operations in ``budget`` bytes.

        Raises:
          BudgetError: there is none.
        """
        if self.auto.memory.peak <= budget:
            return self.auto
        low, high = -1, len(self._schedules)  # bisection is monotone in the budget even where peaks are not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._plan(middle).memory.peak <= budget else (low, middle)
        if low >= 0:
            return self._plan(low)
        if self.least.memory.peak <= budget:
            return self.least
        raise BudgetError(
            f"A budget of {shown(budget)} cannot be met: the smallest reachable peak of the intermediates is "
            f"{shown(self.least.memory.peak)}. Give at least that, or make the inputs smaller."
        )


def _weight(plan: Plan) -> tuple[int, float]:
    return plan.memory.peak, plan.repeated


def differentiated(
    graph: Graph, wanted: Sequence[bool], seeded: Sequence[bool], differentiate: Differentiation
) -> Joint:
    """The joint graph of ``graph``, planned as ``differentiate`` says.

    Raises:
      BudgetError: the intermediates do not fit the budget in any way that was found.
    """
    if differentiate.budget is None:
        return differentiate.plan(joint(graph, wanted, seeded, differentiate))
    plans = Plans(graph, wanted, seeded, differentiate)
    return (plans.within(differentiate.budget) if differentiate.budget else plans.least).program


def shown(size: float) -> str:
    """A number of bytes for people."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} bytes"


def schedule_of(program: Joint) -> tuple[list[Any], list[Any]]:
    """The forward and the backward equations of a joint graph as they will run."""
    outputs = [*program.outputs, *[g for g in program.gradients if g is not None]]
    read = [v for eqn in program.backward for v in eqn.invars]
    return lean(program, [*outputs, *read]), program.backward


def memory_of(program: Joint) -> Profile:
    """What is alive while a joint graph runs, forward and then backward."""
    forward, backward = schedule_of(program)
    outputs = [*program.outputs, *[g for g in program.gradients if g is not None]]
    free = {*program.inputs, *program.constvars, *[ct for ct in program.cotangents if ct is not None]}
    return profile([*forward, *backward], free, [v for v in outputs if type(v) is not Literal])
