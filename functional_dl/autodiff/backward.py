"""From a program to its joint graph: the forward equations and the backward equations that the rules give.

Reverse accumulation (Griewank & Walther 2008, ch. 3): equations are visited last to first; the rule of each turns
the cotangents of its outputs into cotangents of its operands; cotangents of a value used more than once add up.
Nothing runs here.  The result is a pair of equation lists over shared variables, so that what the backward reads
of the forward (the residuals) can be seen, counted and planned before anything is emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jax.extend.core import jaxprs_in_params

from functional_dl import rules
from functional_dl.autodiff.fragments import Fragment, fragment
from functional_dl.autodiff.interception import LINK, PARTED
from functional_dl.autodiff.sweep import sweep, total, zero_graph
from functional_dl.jaxprs import (
    Atom,
    Builder,
    Graph,
    Literal,
    Var,
    describe,
    is_float,
    open_jaxpr,
    prune,
    rename,
)
from functional_dl.rules.refs import CREATORS, WRITERS, discharged
from functional_dl.sources import reverse_source

__all__ = ["Joint", "Structural", "joint", "lean", "split"]


# Primitives with programs inside that can be planned at several levels, and run as they are where no residual is read.
_PLANNED = frozenset(["cond", "jit", "scan"])


@dataclass(slots=True)
class Joint:
    """The joint graph of a program and its reverse pass.

    Attributes:
      inputs, constvars, consts: those of the forward program (constants of rules are added).
      forward: the forward equations; those of loops and calls already return what their backward will read.
      outputs: the program's outputs.
      cotangents: per output, the variable its cotangent is bound to; ``None`` where none arrives.
      backward: the equations of the reverse pass; they may read any forward variable.
      gradients: per input, its cotangent; ``None`` where the outputs do not depend on it.
      places: per forward equation, its place in the program that was differentiated.
      origins: per variable of the backward, the place of the equation whose reverse pass makes it; -1 where what
        arrives at an input is added up.
      structural: equations with programs inside whose forward returns residuals, by their places.
    """

    inputs: list[Any]
    constvars: list[Any]
    consts: list[Any]
    forward: list[Any]
    outputs: list[Atom]
    cotangents: list[Any]
    backward: list[Any]
    gradients: list[Atom | None]
    places: list[int] = field(default_factory=list)
    origins: dict[Any, int] = field(default_factory=dict)
    structural: dict[int, Structural] = field(default_factory=dict)


@dataclass(slots=True)
class Structural:
    """An equation with programs inside, in a joint graph.

    Attributes:
      eqn: the equation itself; what stands in its place also returns residuals.
      pieces: what it adds to the joint graph when it is differentiated by a given `Differentiation`.
      is_plain: whether the equation itself may be run where none of its residuals is read.
      residuals: what it leaves for its backward, and of each where it comes from (see `Fragment`).
    """

    eqn: Any
    pieces: Callable[[Any], Fragment]
    is_plain: bool
    residuals: dict[Any, tuple[Any, int]]


@dataclass(slots=True)
class _Equation:
    """An equation of a traced program, as a step of the sweep.

    Attributes:
      eqn, rule, active: the equation, its rule, and which operands are differentiated.
      ahead: once pulled, what replaces the equation in the forward program; ``None`` if it stays.
      names: once pulled, what its outputs are called there.
    """

    eqn: Any
    rule: rules.Rule
    active: tuple[bool, ...]
    differentiate: Any
    ahead: Builder | None = None
    names: dict[Any, Atom] | None = None
    seeded: tuple[bool, ...] = ()
    residuals: dict[Any, tuple[Any, int]] = field(default_factory=dict)

    @property
    def outvars(self) -> Sequence[Any]:
        return self.eqn.outvars

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        eqn, self.seeded = self.eqn, tuple([ct is not None for ct in cts])
        piece = self.piece(self.differentiate)
        residuals: list[Atom] = []
        if piece.forward is not None:
            self.ahead = Builder()
            outs = self.ahead.splice(piece.forward, eqn.invars, eqn.source_info, eqn.outvars)
            residuals = outs[len(eqn.outvars) :]
            pairs = zip(residuals, piece.origins, strict=False)
            self.residuals = {v: origin for v, origin in pairs if type(v) is not Literal}
            self.names = {v: out for v, out in zip(eqn.outvars, outs, strict=False) if v is not out}
        args = [*[ct for ct in cts if ct is not None], *eqn.outvars, *residuals, *eqn.invars]
        results = build.splice(piece.backward, args, reverse_source(eqn.source_info))
        return [(eqn.invars[k], ct) for k, ct in zip(piece.targets, results, strict=True)]

    def piece(self, differentiate: Any) -> Fragment:
        """What the equation adds to the joint graph."""
        return fragment(self.rule, self.eqn, self.active, self.seeded, differentiate)


@dataclass(slots=True)
class _Mark:
    """A mark of `functional_dl.autodiff.interception`: the cotangent of what it made is that of ``source``."""

    outvars: Sequence[Any]
    source: Any

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        assert cts[0] is not None
        return [(self.source, cts[0])]


def joint(
    graph: Graph,
    wanted: Sequence[bool],
    seeded: Sequence[bool],
    differentiate: Any,
    others: Mapping[int, Any] | None = None,
) -> Joint:
    """Differentiate ``graph``: the joint graph of its values and the cotangents of its inputs.

    Args:
      graph: the program.
      wanted: per input, whether its cotangent is wanted.
      seeded: per output, whether a cotangent arrives there.
      differentiate: how inner programs are differentiated, and by which rules
        (a `functional_dl.autodiff.halves.Differentiation`).
      others: what to use in its place for some equations, by their places in ``graph``.

    Raises:
      RuleError: a primitive on the way has no rule, or its rule does not fit.
    """
    others = others or {}
    if any(eqn.primitive.name in CREATORS for eqn in graph.eqns):
        graph = discharged(graph)
    active = {v for v, w in zip(graph.inputs, wanted, strict=True) if w and is_float(v.aval)}
    steps: dict[int, Any] = {}
    replaced: dict[int, list[Any]] = {}  # equations of the program, by what stands in their place
    names: dict[Any, Atom] = {}
    for i, eqn in enumerate(graph.eqns):
        mask = tuple([type(v) is not Literal and v in active for v in eqn.invars])
        if eqn.primitive is LINK:
            if mask[1]:
                steps[i] = _Mark(eqn.outvars, eqn.invars[1])
                active.update(eqn.outvars)
            names[eqn.outvars[0]] = eqn.invars[0]
            replaced[i] = []
        elif eqn.primitive is PARTED:
            primal, tangent = eqn.outvars
            if mask[0]:
                steps[i] = _Mark([tangent], eqn.invars[0])
                active.add(tangent)
            at_zero = Builder()
            names[primal], (names[tangent],) = eqn.invars[0], at_zero.splice(zero_graph(tangent.aval), [])
            replaced[i] = at_zero.eqns
        elif True in mask:
            rule = differentiate.book.find(eqn.primitive, eqn.params)
            if eqn.primitive.name in WRITERS:  # into a ref from outside: what reads it there would miss a cotangent
                fragment(rule, eqn, mask, (True,), differentiate)
            if rule.kind != "zero":
                steps[i] = _Equation(eqn, rule, mask, others.get(i, differentiate))
                active.update(v for v in eqn.outvars if is_float(v.aval))

    sums: dict[Any, list[Atom]] = {}
    cotangents: list[Any] = []
    for v, seed in zip(graph.outputs, seeded, strict=True):
        ct = None
        if seed and is_float(v.aval):
            ct = Var(v.aval.to_ct_aval())
            if type(v) is not Literal and v in active:
                sums.setdefault(v, []).append(ct)
        cotangents.append(ct)

    build = Builder()
    origins: dict[Any, int] = {}

    def backwards() -> Iterable[Any]:
        """The steps, last to first; what each has built by the time the next is asked for is its own."""
        done = 0
        for i in reversed(steps):
            yield steps[i]
            for eqn in build.eqns[done:]:
                origins.update(dict.fromkeys(eqn.outvars, i))
            done = len(build.eqns)

    sweep(backwards(), sums, build)
    done = len(build.eqns)
    gradients = [total(v, sums, build) for v in graph.inputs]
    origins.update(dict.fromkeys((v for eqn in build.eqns[done:] for v in eqn.outvars), -1))

    constvars, consts = list(graph.constvars), list(graph.consts)
    structural: dict[int, Structural] = {}
    for i, step in steps.items():
        if isinstance(step, _Equation) and step.ahead is not None:
            if step.eqn.primitive.name in _PLANNED and not step.eqn.effects:
                custom = any(map(_holds_custom_rules, jaxprs_in_params(step.eqn.params)))
                structural[i] = Structural(step.eqn, step.piece, not custom, step.residuals)
            replaced[i] = step.ahead.eqns
            constvars += step.ahead.constvars
            consts += step.ahead.consts
            names.update(step.names or {})
    ahead = [e for i, eqn in enumerate(graph.eqns) for e in replaced.get(i, (eqn,))]
    places = [i for i, eqn in enumerate(graph.eqns) for _ in replaced.get(i, (eqn,))]
    constvars, consts = constvars + build.constvars, consts + build.consts
    own = _closed_over(graph, constvars, consts, active)
    if own:
        names.update(own)
        kept = [i for i, v in enumerate(constvars) if v not in own]
        constvars, consts = [constvars[i] for i in kept], [consts[i] for i in kept]
    outputs = list(graph.outputs)
    backward = prune(build.eqns, [g for g in gradients if g is not None])
    if names:
        names = {v: _resolve(v, names) for v in names}
        ahead, backward = rename(ahead, names), rename(backward, names)
        for found in structural.values():
            (found.eqn,) = rename([found.eqn], names)
        outputs = [v if type(v) is Literal else names.get(v, v) for v in outputs]
        gradients = [g if g is None or type(g) is Literal else names.get(g, g) for g in gradients]
    return Joint(
        list(graph.inputs),
        constvars,
        consts,
        ahead,
        outputs,
        cotangents,
        backward,
        gradients,
        places,
        origins,
        structural,
    )


@lru_cache(maxsize=2048)
def _holds_custom_rules(closed: Any) -> bool:
    """Whether a program inside an equation calls custom rules.

    Differentiated once, a call of such a rule has become its forward: run as it was, it would have its rule still.
    """
    return any(
        eqn.primitive.name in ("custom_jvp_call", "custom_vjp_call")
        or any(_holds_custom_rules(inner) for inner in jaxprs_in_params(eqn.params))
        for eqn in open_jaxpr(closed).eqns
    )


def _closed_over(graph: Graph, constvars: Sequence[Any], consts: Sequence[Any], active: Collection[Any]) -> dict:
    """The constants that are values of ``graph`` itself, by what they are there.

    A custom rule may close over a value of the function it is defined in.  It is traced when that function's own
    trace is over, and so meets a tracer that is left from it; the tracer tells which variable it stands for.
    """
    tracers = {v: c.val for v, c in zip(constvars, consts, strict=True) if type(getattr(c, "val", None)) is Var}
    if not tracers:
        return {}
    made = {*graph.inputs, *graph.constvars, *(v for eqn in graph.eqns for v in eqn.outvars)}
    own = {v: source for v, source in tracers.items() if source in made and v not in made}
    for source in own.values():
        if source in active:
            raise rules.RuleError(
                f"A custom rule closes over a value ({describe(source.aval)}) that is being differentiated; it only "
                "says how to differentiate the function's arguments. Pass the value as an argument, or stop its "
                "gradient."
            )
    return own


def _resolve(v: Atom, names: dict[Any, Atom]) -> Atom:
    """Follow a chain of names to its end (a call that returns what an earlier call returned)."""
    while type(v) is not Literal and v in names:
        v = names[v]
    return v


def lean(program: Joint, outputs: Iterable[Atom], known: Collection[Any] = (), effects: bool = True) -> list[Any]:
    """The forward equations that ``outputs`` depend on; those whose residuals nobody reads as they were at first.

    Arguments are those of `functional_dl.jaxprs.prune`.
    """
    if not program.structural:
        return prune(program.forward, outputs, known, effects)
    live = {v for v in outputs if type(v) is not Literal and v not in known}
    kept: list[Any] = []
    end = len(program.forward)
    while end:
        end -= 1
        eqns = [program.forward[end]]
        place = program.places[end]
        found = program.structural.get(place)
        if found is not None and found.is_plain:
            while end and program.places[end - 1] == place:
                end -= 1
                eqns.append(program.forward[end])
            read = live.intersection(v for eqn in eqns for v in eqn.outvars)
            if read.issubset(found.eqn.outvars):
                eqns = [found.eqn]
        for eqn in eqns:
            if (effects and eqn.effects) or not live.isdisjoint(eqn.outvars):
                kept.append(eqn)
                live.update(v for v in eqn.invars if type(v) is not Literal and v not in known)
    kept.reverse()
    return kept


def split(program: Joint) -> tuple[Graph, Graph, list[Any]]:
    """Split a joint graph where the forward ends: forward graph, backward graph, and the residuals between them.

    The forward graph returns the outputs followed by the residuals; the backward graph takes the residuals and
    then the cotangents of the seeded outputs, and returns the gradients that exist.
    """
    gradients = [g for g in program.gradients if g is not None]
    made = {v for eqn in program.backward for v in eqn.outvars}
    made.update(ct for ct in program.cotangents if ct is not None)
    constants = set(program.constvars)
    read: dict[Any, None] = {}
    for v in [v for eqn in program.backward for v in eqn.invars] + gradients:
        if type(v) is not Literal and v not in made:
            read[v] = None
    residuals = [v for v in read if v not in constants]
    forward = Graph(
        program.inputs,
        [*program.outputs, *residuals],
        lean(program, [*program.outputs, *residuals]),
        program.constvars,
        program.consts,
    )
    kept = [(v, c) for v, c in zip(program.constvars, program.consts, strict=True) if v in read]
    seeds = [ct for ct in program.cotangents if ct is not None]
    backward = Graph([*residuals, *seeds], gradients, program.backward, [v for v, _ in kept], [c for _, c in kept])
    return forward, backward, residuals
