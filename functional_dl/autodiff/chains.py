"""A joint graph as a chain of segments, each with ways to go back through it, from many bytes to few.

The forward is cut where few bytes cross (`functional_dl.planner.segments`).  A segment's options are minimum cuts at
rising prices of a byte.  An equation with programs inside whose residuals are large is a segment of its own; its
options are those programs planned at several levels, and loops divided into chunks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

from functional_dl.autodiff.backward import Joint, Structural
from functional_dl.autodiff.halves import Differentiation
from functional_dl.autodiff.remake import Facts, Remaking, Stage, facts_of
from functional_dl.dependence import made_of_alone
from functional_dl.jaxprs import Literal
from functional_dl.loops import carried
from functional_dl.planner.chain import Keep, Option, Segment, Split
from functional_dl.planner.graph import cost, flops, is_repeatable, reads, size_of
from functional_dl.planner.levels import AUTO, Level, divisions
from functional_dl.planner.liveness import profile
from functional_dl.planner.plan import values_to_keep
from functional_dl.planner.segments import crossing, cuts

__all__ = ["Division", "divided"]

# About how many segments a program is cut into: the dynamic program takes time with their third power.
SEGMENTS = 32
# Operations that a byte is worth, from less than a product of short vectors to whole products of matrices.
RATES = (8.0, 32.0, 128.0, 512.0, 2048.0, 1e9)
# The share of what is kept from which an equation with programs inside is worth a segment of its own.
LARGE = 0.02


@dataclass(frozen=True)
class Division:
    """How a joint graph is divided.  It serves every joint graph of the same program, at whatever levels.

    Attributes:
      cuts: the places in the program at which segments begin, and its end.
      free: variables that are at hand all the time.
      states: per segment, what has to be at hand to run it.
      bases: per segment, what its backward makes again first, so that the rest is cheap.
      choices: per segment and option, the variables that are kept, or the level of the equation that it is.
      segments: per segment, what its options take and cost.
    """

    cuts: list[int]
    free: set[Any]
    states: list[Collection[Any]]
    bases: list[Collection[Any]]
    choices: list[list[Any]]
    segments: list[Segment]

    def levels(self, schedule: Keep | Split) -> dict[int, Level]:
        """The places of equations that ``schedule`` plans at another level than the usual one, and those levels."""
        chosen = {k: self.choices[k][option] for k, option in _options(schedule)}
        return {self.cuts[k]: c for k, c in chosen.items() if isinstance(c, Level) and c != AUTO}

    def followed(self, program: Joint, schedule: Keep | Split) -> Joint:
        """``program`` with a backward that follows ``schedule``."""
        facts = replace(facts_of(program, ()), free=self.free | set(program.constvars))
        stages = []
        for k, part in enumerate(_parts(program, self.cuts)):
            kept = {
                option: _residuals(program, self.cuts[k], part) if isinstance(choice, Level) else choice
                for option, choice in enumerate(self.choices[k])
            }
            stages.append(Stage(part, kept, self.bases[k], self.states[k]))
        return Remaking(program, facts, stages).follow(schedule)


def divided(program: Joint, differentiate: Differentiation) -> Division:
    """Divide ``program``, the joint graph that ``differentiate`` gives."""
    outputs = {v for v in program.outputs if type(v) is not Literal}
    facts = facts_of(program, {*program.inputs, *outputs})
    alone = _large(program, facts)
    count = program.places[-1] + 1 if program.places else 0
    births = {v: p for eqn, p in zip(program.forward, program.places, strict=True) for v in eqn.outvars}
    deaths = {v: p for eqn, p in zip(program.forward, program.places, strict=True) for v in reads(eqn)}
    # What is cheap to make of inputs alone (masks, positions) is made where it is read.
    cheap = [eqn for eqn in program.forward if is_repeatable(eqn)]
    trivial = made_of_alone(cheap, [*program.inputs, *program.constvars])
    crosses = [v for v in births if deaths.get(v, -1) > births[v] and v not in facts.free and v not in trivial]
    across = crossing(
        [births[v] for v in crosses], [deaths[v] for v in crosses], [size_of(v.aval) for v in crosses], count
    )
    places = cuts(across, _weights(program, facts, alone), alone, SEGMENTS)
    number = _numbers(places)
    # What is alive across several segments (a skip connection) stays: in each state it would count anew.
    long = {v for v in crosses if number[deaths[v]] - number[births[v]] >= 3}
    facts = replace(facts, free=facts.free | long)
    found = Division(places, facts.free, [], [], [], [])
    for k, part in enumerate(_parts(program, places)):
        begin, end = places[k], places[k + 1]
        crossed = [v for v in crosses if births[v] < begin <= deaths[v]]
        state = values_to_keep(facts.maker, facts.free, crossed)
        forward = [eqn for eqn, p in zip(program.forward, program.places, strict=True) if begin <= p < end]
        if begin in alone:
            forward = [program.structural[begin].eqn]
            choices, options = _levelled(program.structural[begin], differentiate)
            basis: Collection[Any] = ()
        else:
            basis, choices, options = _cut(program, facts, state, part)
        found.states.append(state)
        found.bases.append(basis)
        found.choices.append(choices)
        ends = [v for eqn in forward for v in eqn.outvars if deaths.get(v, end) >= end]
        outside = {v for eqn in forward for v in reads(eqn)} - {v for eqn in forward for v in eqn.outvars}
        aside = profile(forward, outside, ends).peak
        size, work = sum(size_of(v.aval) for v in state), float(sum(cost(eqn) for eqn in forward))
        found.segments.append(Segment(size, work, aside, tuple(options)))
    return found


def _options(node: Keep | Split | None) -> Iterator[tuple[int, int]]:
    """The option of each segment in a schedule."""
    while isinstance(node, Keep):
        yield node.segment, node.option
        node = node.rest
    if node is not None:
        yield from _options(node.right)
        yield from _options(node.left)


def _numbers(places: Sequence[int]) -> list[int]:
    """For each equation, its segment."""
    return [k for k, (a, b) in enumerate(pairwise(places)) for _ in range(a, b)]


def _parts(program: Joint, places: Sequence[int]) -> list[list[Any]]:
    """The backward equations of each segment."""
    number = _numbers(places)
    parts: list[list[Any]] = [[] for _ in places[1:]]
    k = len(parts) - 1
    for eqn in program.backward:
        place = next((program.origins[v] for v in eqn.outvars if v in program.origins), None)
        k = k if place is None else min(k, number[place])
        parts[k].append(eqn)
    return parts


def _residuals(program: Joint, place: int, part: Sequence[Any]) -> list[Any]:
    """What the equation at ``place`` leaves for its backward, besides its outputs."""
    plain = {*program.structural[place].eqn.outvars}
    read = {v for eqn in part for v in reads(eqn)}
    made = [v for eqn, p in zip(program.forward, program.places, strict=True) if p == place for v in eqn.outvars]
    return [v for v in made if v in read and v not in plain]


def _large(program: Joint, facts: Facts) -> set[int]:
    """The places of equations with programs inside whose residuals are a good part of all."""
    total = sum(size_of(v.aval) for v in facts.read if v not in facts.free)
    sizes = dict.fromkeys(program.structural, 0)
    for eqn, p in zip(program.forward, program.places, strict=True):
        if p in sizes:
            sizes[p] += sum(size_of(v.aval) for v in eqn.outvars if v in facts.read)
    return {p for p, size in sizes.items() if size > LARGE * total}


def _weights(program: Joint, facts: Facts, alone: Collection[int]) -> dict[int, float]:
    """Each equation's share of all operations and of all bytes that are read again."""
    work: dict[int, float] = {}
    size: dict[int, float] = {}
    for eqn, p in zip(program.forward, program.places, strict=True):
        if p not in alone:
            work[p] = work.get(p, 0.0) + cost(eqn)
            size[p] = size.get(p, 0.0) + sum(size_of(v.aval) for v in eqn.outvars if v in facts.read)
    all_work, all_size = sum(work.values()) or 1.0, sum(size.values()) or 1.0
    return {p: work[p] / all_work + size[p] / all_size for p in work}


def _cut(
    program: Joint, facts: Facts, state: Collection[Any], part: Sequence[Any]
) -> tuple[Collection[Any], list[Any], list[Option]]:
    """What the cheap is made of; what is kept by each option of a segment; and what the options take and cost."""
    at_hand = facts.free | set(state)
    needed = dict.fromkeys(v for eqn in part for v in reads(eqn) if v in facts.maker)
    basis = values_to_keep(facts.maker, at_hand, needed)
    choices: list[Any] = []
    options: list[Option] = []
    for rate in (0.0, *RATES):
        kept = values_to_keep(facts.maker, at_hand, needed, rate) if rate else basis
        if kept in choices:
            continue
        stage = Stage(part, {0: kept}, basis, state)
        eqns = Remaking(program, facts, [stage]).alone(0, 0)
        repeated = float(sum(map(cost, eqns)) - sum(map(cost, part)))
        choices.append(kept)
        options.append(Option(sum(size_of(v.aval) for v in kept), repeated, _transient(program, eqns)))
    return basis, choices, options


def _transient(program: Joint, eqns: Sequence[Any]) -> int:
    """What the backward equations of a segment take, beyond what the forward has left: cotangents included."""
    made = {v for eqn in eqns for v in eqn.outvars}
    outside = {v for eqn in eqns for v in reads(eqn)} - made
    gradients = [g for g in program.gradients if g is not None]
    cts = [v for v in outside if v in program.origins and v not in gradients]
    return profile(eqns, outside, gradients).peak + sum(size_of(v.aval) for v in cts)


def _levelled(structural: Structural, differentiate: Differentiation) -> tuple[list[Any], list[Option]]:
    """The levels of an equation with programs inside, and what they take and cost."""
    eqn = structural.eqn
    ends = carried(eqn) if eqn.primitive.name == "scan" else eqn.outvars
    choices: list[Any] = []
    options: list[Option] = []
    known: set[tuple[int, float, int]] = set()

    @cache
    def weigh(level: Level) -> Option:
        piece = structural.pieces(differentiate.at(level))
        assert piece.forward is not None
        given = {*piece.forward.inputs, *piece.forward.outputs[: len(eqn.outvars)]}
        left = {v for v in piece.forward.outputs[len(eqn.outvars) :] if type(v) is not Literal} - given
        back = piece.backward
        work = sum(map(flops, piece.forward.eqns)) + sum(map(flops, back.eqns))
        inside = profile(back.eqns, {*back.inputs, *back.constvars}, back.outputs).peak
        cts = sum(size_of(v.aval) for v in ends)
        return Option(sum(size_of(v.aval) for v in left), float(work), inside + cts)

    first = weigh(AUTO)
    levels = [AUTO, *[Level(rate) for rate in RATES]]
    full = weigh(levels[-1])
    # Chunks make what is kept smaller, not what an iteration needs.
    if eqn.primitive.name == "scan" and full.kept > full.transient:
        kept = [(level, weigh(level).kept) for level in (AUTO, levels[-1])]
        levels += divisions(eqn.params["length"], sum(size_of(v.aval) for v in ends), kept)
    for level in levels:
        option = weigh(level)
        option = replace(option, cost=max(0.0, option.cost - first.cost))
        key = (option.kept, option.cost, option.transient)
        if key not in known:
            known.add(key)
            choices.append(level)
            options.append(option)
    return choices, options
