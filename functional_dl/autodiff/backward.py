"""From a program to its joint graph: the forward equations and the backward equations that the rules give.

Reverse accumulation (Griewank & Walther 2008, ch. 3): equations are visited last to first; the rule of each turns
the cotangents of its outputs into cotangents of its operands; cotangents of a value used more than once add up.
Nothing runs here.  The result is a pair of equation lists over shared variables, so that what the backward reads
of the forward (the residuals) can be seen, counted and planned before anything is emitted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from functional_dl import rules
from functional_dl.autodiff.fragments import fragment
from functional_dl.autodiff.interception import LINK, PARTED
from functional_dl.autodiff.remake import remade
from functional_dl.autodiff.sweep import sweep, total, zero_graph
from functional_dl.jaxprs import (
    Atom,
    Builder,
    Graph,
    Literal,
    Var,
    close,
    describe,
    is_float,
    made_of_alone,
    open_jaxpr,
    prune,
    rename,
)
from functional_dl.rules.refs import CREATORS, WRITERS, discharged
from functional_dl.sources import reverse_source

__all__ = ["Differentiation", "Halves", "Joint", "halves", "joint", "split"]


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
    """

    inputs: list[Any]
    constvars: list[Any]
    consts: list[Any]
    forward: list[Any]
    outputs: list[Atom]
    cotangents: list[Any]
    backward: list[Any]
    gradients: list[Atom | None]


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
    differentiate: Differentiation
    ahead: Builder | None = None
    names: dict[Any, Atom] | None = None

    @property
    def outvars(self) -> Sequence[Any]:
        return self.eqn.outvars

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        eqn, seeded = self.eqn, tuple([ct is not None for ct in cts])
        piece = fragment(self.rule, eqn, self.active, seeded, self.differentiate)
        residuals: list[Atom] = []
        if piece.forward is not None:
            self.ahead = Builder()
            outs = self.ahead.splice(piece.forward, eqn.invars, eqn.source_info)
            residuals = outs[len(eqn.outvars) :]
            self.names = dict(zip(eqn.outvars, outs, strict=False))
        args = [*[ct for ct in cts if ct is not None], *eqn.outvars, *residuals, *eqn.invars]
        results = build.splice(piece.backward, args, reverse_source(eqn.source_info))
        return [(eqn.invars[k], ct) for k, ct in zip(piece.targets, results, strict=True)]


@dataclass(slots=True)
class _Mark:
    """A mark of `functional_dl.autodiff.interception`: the cotangent of what it made is that of ``source``."""

    outvars: Sequence[Any]
    source: Any

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        assert cts[0] is not None
        return [(self.source, cts[0])]


def joint(
    graph: Graph, wanted: Sequence[bool], seeded: Sequence[bool], differentiate: Differentiation | None = None
) -> Joint:
    """Differentiate ``graph``: the joint graph of its values and the cotangents of its inputs.

    Args:
      graph: the program.
      wanted: per input, whether its cotangent is wanted.
      seeded: per output, whether a cotangent arrives there.
      differentiate: how inner programs are differentiated, and by which rules.

    Raises:
      RuleError: a primitive on the way has no rule, or its rule does not fit.
    """
    differentiate = differentiate or halves
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
                steps[i] = _Equation(eqn, rule, mask, differentiate)
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
    sweep((steps[i] for i in reversed(steps)), sums, build)
    gradients = [total(v, sums, build) for v in graph.inputs]

    constvars, consts = list(graph.constvars), list(graph.consts)
    for i, step in steps.items():
        if isinstance(step, _Equation) and step.ahead is not None:
            replaced[i] = step.ahead.eqns
            constvars += step.ahead.constvars
            consts += step.ahead.consts
            names.update(step.names or {})
    ahead = [e for i, eqn in enumerate(graph.eqns) for e in replaced.get(i, (eqn,))]
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


@dataclass(frozen=True)
class Halves:
    """An inner program split into a forward that keeps residuals and a backward that reads them.

    Attributes:
      forward: closed jaxpr, inputs → outputs + stored residuals.
      backward: closed jaxpr, residuals + cotangents of the seeded outputs → gradients of the inputs in ``targets``.
      sources: per residual, where it comes from: ``("input", i)``, ``("output", j)`` or ``("stored", k)``.
      stored: abstract values of the stored residuals.
      targets: the inputs that get a gradient.
      seeds: the outputs whose cotangents the backward takes.
    """

    forward: Any
    backward: Any
    sources: tuple[tuple[str, int], ...]
    stored: tuple[Any, ...]
    targets: tuple[int, ...]
    seeds: tuple[int, ...]

    def residuals(self, operands: Sequence[Any], outputs: Sequence[Any], stored: Sequence[Any]) -> list[Any]:
        """Gather the residuals in the order in which ``backward`` takes them."""
        places = {"input": operands, "output": outputs, "stored": stored}
        return [places[kind][i] for kind, i in self.sources]

    def spliced(self) -> rules.Spliced:
        """The two halves as graphs that share their residuals."""
        ahead = open_jaxpr(self.forward)
        outs = len(ahead.outputs) - len(self.stored)
        residuals = self.residuals(ahead.inputs, ahead.outputs[:outs], ahead.outputs[outs:])
        forward = Graph(ahead.inputs, [*ahead.outputs[:outs], *residuals], ahead.eqns, ahead.constvars, ahead.consts)
        return rules.Spliced(forward, open_jaxpr(self.backward), self.targets)

    def spread(self, gradients: Sequence[Any], count: int) -> list[Any]:
        """One entry per input, ``None`` where there is no gradient."""
        found = dict(zip(self.targets, gradients, strict=True))
        return [found.get(i) for i in range(count)]


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
        prune(program.forward, [*program.outputs, *residuals]),
        program.constvars,
        program.consts,
    )
    kept = [(v, c) for v, c in zip(program.constvars, program.consts, strict=True) if v in read]
    seeds = [ct for ct in program.cotangents if ct is not None]
    backward = Graph([*residuals, *seeds], gradients, program.backward, [v for v, _ in kept], [c for _, c in kept])
    return forward, backward, residuals


@dataclass(frozen=True)
class Differentiation:
    """The engine's reverse mode for the inner programs of calls and loops, by the rules of ``book``.

    Called as ``differentiate(closed, active, seeded, loop)``: a closed jaxpr; per input, whether its cotangent is
    wanted; per output, whether one arrives there; and, if it is the body of a loop, how many constants and carries
    it has.  What it gives is remembered by the program's identity.

    Attributes:
      book: the rules.
      memory: what is kept of the forward: ``"keep"``, all that the rules read; ``"auto"``, the fewest bytes from
        which the rest can be made again without repeating an expensive operation.
    """

    book: rules.Rulebook
    memory: str = "auto"

    @staticmethod
    def by(overrides: Mapping[str, Any] | None, memory: str = "auto") -> Differentiation:
        """By the standard rules, with ``overrides`` in their place; keeping what ``memory`` says."""
        if memory not in POLICIES:
            raise ValueError(f"memory is one of {', '.join(map(repr, POLICIES))}; got {memory!r}.")
        return Differentiation(rules.Rulebook(overrides) if overrides else rules.STANDARD, memory)

    def __call__(
        self,
        closed: Any,
        active: tuple[bool, ...],
        seeded: tuple[bool, ...],
        loop: tuple[int, int] | None = None,
    ) -> Halves:
        return _halves(self, rules.generation(), closed, tuple(active), tuple(seeded), loop)

    def plan(self, program: Joint, loop: tuple[int, int] | None = None) -> Joint:
        """``program`` with a backward that reads what ``memory`` lets it.

        Outside loops, inputs and outputs are at hand.  In the body of a loop with ``loop`` constants and carries,
        the carries are not: what is kept of them is stacked over the iterations.
        """
        if self.memory == "keep":
            return program
        if loop is None:
            free = {*program.inputs, *(v for v in program.outputs if type(v) is not Literal)}
        else:
            consts, carry = loop
            free = {*program.inputs[:consts], *program.inputs[consts + carry :]}
            free |= {v for v in program.outputs[carry:] if type(v) is not Literal}
            free |= made_of_alone(program.forward, [*program.inputs[:consts], *program.constvars])
        return remade(program, free, tie=loop is None)


POLICIES = ("keep", "auto")
halves = Differentiation(rules.STANDARD)


@lru_cache(maxsize=2048)
def _halves(
    differentiate: Differentiation,
    generation: int,
    closed: Any,
    active: tuple[bool, ...],
    seeded: tuple[bool, ...],
    loop: tuple[int, int] | None,
) -> Halves:
    del generation  # in the key only
    program = differentiate.plan(joint(open_jaxpr(closed), active, seeded, differentiate), loop)
    forward, backward, residuals = split(program)
    inputs = {v: i for i, v in enumerate(program.inputs)}
    outputs = {v: i for i, v in reversed(list(enumerate(program.outputs))) if type(v) is not Literal}
    sources: list[tuple[str, int]] = []
    stored: list[Any] = []
    for v in residuals:
        if v in inputs:
            sources.append(("input", inputs[v]))
        elif v in outputs:
            sources.append(("output", outputs[v]))
        else:
            sources.append(("stored", len(stored)))
            stored.append(v)
    forward.outputs = [*program.outputs, *stored]
    return Halves(
        close(forward),
        close(backward),
        tuple(sources),
        tuple(v.aval for v in stored),
        tuple(i for i, g in enumerate(program.gradients) if g is not None),
        tuple(i for i, ct in enumerate(program.cotangents) if ct is not None),
    )
