"""Inner programs: each is differentiated by the engine itself, planned, and split into a forward and a backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from functional_dl import rules
from functional_dl.autodiff.backward import Joint, joint, split
from functional_dl.autodiff.remake import remade
from functional_dl.dependence import made_of_alone
from functional_dl.jaxprs import Graph, Literal, close, is_staged, open_jaxpr
from functional_dl.planner.levels import AUTO, Level

__all__ = ["Differentiation", "Halves", "halves"]


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
      program: the joint graph that was split.
      is_body: whether it is the body of a loop.
    """

    forward: Any
    backward: Any
    sources: tuple[tuple[str, int], ...]
    stored: tuple[Any, ...]
    targets: tuple[int, ...]
    seeds: tuple[int, ...]
    program: Joint
    is_body: bool

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
        return rules.Spliced(forward, open_jaxpr(self.backward), self.targets, self)

    def spread(self, gradients: Sequence[Any], count: int) -> list[Any]:
        """One entry per input, ``None`` where there is no gradient."""
        found = dict(zip(self.targets, gradients, strict=True))
        return [found.get(i) for i in range(count)]


@dataclass(frozen=True)
class Differentiation:
    """The engine's reverse mode for the inner programs of calls and loops, by the rules of ``book``.

    Called as ``differentiate(closed, active, seeded, loop)``: a closed jaxpr; per input, whether its cotangent is
    wanted; per output, whether one arrives there; and, if it is the body of a loop, how many constants and carries
    it has.  What it gives is remembered by the program's identity.

    Attributes:
      book: the rules.
      level: how programs are planned; ``None`` to keep all that the rules read.
      budget: bytes that the intermediates of the whole program may take at the peak, 0 for as few as can be; ``None``
        if they are not counted.
    """

    book: rules.Rulebook
    level: Level | None = AUTO
    budget: int | None = None

    @staticmethod
    def by(overrides: Mapping[str, Any] | None, memory: str | int = "auto") -> Differentiation:
        """By the standard rules, with ``overrides`` in their place; keeping what ``memory`` says.

        Raises:
          ValueError: ``memory`` is neither a policy nor a number of bytes.
        """
        book = rules.Rulebook(overrides) if overrides else rules.STANDARD
        if isinstance(memory, (int, float)) and not isinstance(memory, bool) and memory > 0:
            return Differentiation(book, AUTO, int(memory))
        if memory not in POLICIES:
            named = ", ".join(map(repr, POLICIES))
            raise ValueError(f"memory is one of {named} or a positive number of bytes; got {memory!r}.")
        return Differentiation(book, None if memory == "keep" else AUTO, 0 if memory == "least" else None)

    def at(self, level: Level | None) -> Differentiation:
        """The same rules at another level."""
        return replace(self, level=level, budget=None)

    @property
    def is_staged(self) -> bool:
        """Whether programs are traced: under `jax.jit`, and where bytes are counted, for which all must be known."""
        return self.budget is not None or is_staged()

    @property
    def chunk(self) -> int:
        """How many iterations of a loop run in one piece; 0 for all of them."""
        return 0 if self.level is None else self.level.chunk

    @property
    def divided(self) -> Differentiation:
        """The one for a program that holds a loop divided into chunks."""
        return self if self.level is None else self.at(self.level.divided)

    def __call__(
        self,
        closed: Any,
        active: tuple[bool, ...],
        seeded: tuple[bool, ...],
        loop: tuple[int, int] | None = None,
    ) -> Halves:
        own = replace(self, budget=None) if self.budget is not None else self
        return _halves(own, rules.generation(), closed, tuple(active), tuple(seeded), loop)

    def plan(self, program: Joint, loop: tuple[int, int] | None = None) -> Joint:
        """``program`` with a backward that reads what ``memory`` lets it.

        Outside loops, inputs and outputs are at hand.  In the body of a loop with ``loop`` constants and carries,
        the carries are not: what is kept of them is stacked over the iterations.
        """
        if self.level is None:
            return program
        if loop is None:
            free = {*program.inputs, *(v for v in program.outputs if type(v) is not Literal)}
        else:
            consts, carry = loop
            free = {*program.inputs[:consts], *program.inputs[consts + carry :]}
            free |= {v for v in program.outputs[carry:] if type(v) is not Literal}
            free |= made_of_alone(program.forward, [*program.inputs[:consts], *program.constvars])
        return remade(program, free, self.level.rate)


POLICIES = ("keep", "auto", "least")
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
    inner = differentiate if differentiate.level is None else differentiate.at(differentiate.level.inside)
    program = differentiate.plan(joint(open_jaxpr(closed), active, seeded, inner), loop)
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
        program,
        loop is not None,
    )
