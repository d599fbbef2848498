"""From a program to its joint graph: the forward equations and the backward equations that the rules give.

Reverse accumulation (Griewank & Walther 2008, ch. 3): equations are visited last to first; the rule of each turns
the cotangents of its outputs into cotangents of its operands; cotangents of a value used more than once add up.
Nothing runs here.  The result is a pair of equation lists over shared variables, so that what the backward reads
of the forward (the residuals) can be seen, counted and planned before anything is emitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jax import lax

from functional_dl import rules
from functional_dl.autodiff.fragments import fragment
from functional_dl.jaxprs import Atom, Builder, Graph, Literal, Var, close, is_float, open_jaxpr, prune, rename, trace

__all__ = ["Halves", "Joint", "halves", "joint"]


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


@lru_cache(maxsize=1024)
def _add(aval: Any) -> Graph:
    return trace(lambda a, b: [lax.add(a, b)], aval, aval)


def joint(graph: Graph, wanted: Sequence[bool], seeded: Sequence[bool]) -> Joint:
    """Differentiate ``graph``: the joint graph of its values and the cotangents of its inputs.

    Args:
      graph: the program.
      wanted: per input, whether its cotangent is wanted.
      seeded: per output, whether a cotangent arrives there.

    Raises:
      RuleError: a primitive on the way has no rule, or its rule does not fit.
    """
    active = {v for v, w in zip(graph.inputs, wanted, strict=True) if w and is_float(v.aval)}
    steps: dict[int, tuple[rules.Rule | None, tuple[bool, ...]]] = {}
    for i, eqn in enumerate(graph.eqns):
        mask = tuple([type(v) is not Literal and v in active for v in eqn.invars])
        if True in mask:
            rule = rules.lookup(eqn.primitive.name)
            if rule is None or rule.kind != "zero":
                steps[i] = (rule, mask)
                active.update(v for v in eqn.outvars if is_float(v.aval))

    sums: dict[Any, list[Atom]] = {}
    cotangents: list[Any] = []
    for v, seed in zip(graph.outputs, seeded, strict=True):
        ct = None
        if seed and is_float(v.aval):
            ct = Var(v.aval.to_tangent_aval())
            if type(v) is not Literal and v in active:
                sums.setdefault(v, []).append(ct)
        cotangents.append(ct)

    build = Builder()

    def total(v: Any) -> Atom | None:
        """The cotangent of ``v``: the sum of all that its uses have sent."""
        terms = sums.pop(v, None)
        if terms is None:
            return None
        ct = terms[0]
        for term in terms[1:]:
            (ct,) = build.splice(_add(v.aval.to_tangent_aval()), [ct, term])
        return ct

    forward: dict[int, list[Any]] = {}
    constvars, consts = list(graph.constvars), list(graph.consts)
    names: dict[Any, Atom] = {}
    for i in reversed(steps):
        eqn = graph.eqns[i]
        cts = [total(v) for v in eqn.outvars]
        mask_ct = tuple([ct is not None for ct in cts])
        if True not in mask_ct:
            continue
        rule, mask = steps[i]
        piece = fragment(rule, eqn, mask, mask_ct, halves)
        residuals: list[Atom] = []
        if piece.forward is not None:
            ahead = Builder()
            outs = ahead.splice(piece.forward, eqn.invars, eqn.source_info)
            constvars += ahead.constvars
            consts += ahead.consts
            residuals = outs[len(eqn.outvars) :]
            names.update(zip(eqn.outvars, outs[: len(eqn.outvars)], strict=True))
            forward[i] = ahead.eqns
        args = [*[ct for ct in cts if ct is not None], *eqn.outvars, *residuals, *eqn.invars]
        results = build.splice(piece.backward, args, eqn.source_info)
        for k, ct in zip(piece.targets, results, strict=True):
            sums.setdefault(eqn.invars[k], []).append(ct)

    gradients = [total(v) if v in sums else None for v in graph.inputs]
    ahead_eqns = [e for i, eqn in enumerate(graph.eqns) for e in forward.get(i, (eqn,))]
    outputs = list(graph.outputs)
    backward = prune(build.eqns, [g for g in gradients if g is not None])
    if names:
        names = {v: _resolve(v, names) for v in names}
        ahead_eqns, backward = rename(ahead_eqns, names), rename(backward, names)
        outputs = [v if type(v) is Literal else names.get(v, v) for v in outputs]
        gradients = [g if g is None or type(g) is Literal else names.get(g, g) for g in gradients]
    return Joint(
        list(graph.inputs),
        constvars + build.constvars,
        consts + build.consts,
        ahead_eqns,
        outputs,
        cotangents,
        backward,
        gradients,
    )


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


@lru_cache(maxsize=2048)
def halves(closed: Any, active: tuple[bool, ...], seeded: tuple[bool, ...]) -> Halves:
    """Differentiate the inner program of a call or a loop; remembered by the program's identity.

    Args:
      closed: a closed jaxpr.
      active: per input, whether its cotangent is wanted.
      seeded: per output, whether a cotangent arrives there.
    """
    program = joint(open_jaxpr(closed), active, seeded)
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
