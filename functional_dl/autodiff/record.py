"""What ran outside `jax.jit`, as steps of the reverse sweep, with the values that their backward reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from functional_dl import rules
from functional_dl.autodiff.fragments import Fragment, fragment
from functional_dl.autodiff.halves import Differentiation
from functional_dl.autodiff.sweep import Step, sweep, total, zero_graph
from functional_dl.avals import zeros
from functional_dl.jaxprs import Atom, Builder, Graph, Literal, Var, is_float, late_call, prune

__all__ = ["Alias", "Called", "Ran", "Record", "reverse"]


class Record:
    """What ran: steps in order, and the values that their backward reads.

    Attributes:
      steps: the operations that a derivative goes through.
      values: what the variables stand for that the backward reads.
      inputs: the variables of the differentiated inputs.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.values: dict[Any, Any] = {}
        self.inputs: list[Any] = []
        self._constants: dict[int, Any] = {}

    def constant(self, value: Any) -> Any:
        """The variable of a value that is not differentiated."""
        var = self._constants.get(id(value))
        if var is None or self.values.get(var) is not value:
            self._constants[id(value)] = var = Var(jax.typeof(value))
            self.values[var] = value
        return var

    def keep(self, values: Sequence[Any]) -> list[Any]:
        """New variables for ``values``, which the backward reads."""
        made = [Var(jax.typeof(x)) for x in values]
        self.values.update(zip(made, values, strict=True))
        return made


@dataclass(slots=True)
class Ran:
    """An equation that ran.

    Attributes:
      eqn: the equation, over the record's variables.
      rule, active, differentiate: by which rule, in which operands, it is differentiated.
      piece: its fragment for cotangents of all its outputs; ``None`` where there is none, or it is not known yet.
      residuals: the variables of the residuals that the fragment's forward kept.
    """

    eqn: Any
    rule: rules.Rule
    active: tuple[bool, ...]
    differentiate: Differentiation
    piece: Fragment | None
    residuals: Sequence[Any]

    @property
    def outvars(self) -> Sequence[Any]:
        return self.eqn.outvars

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        eqn, piece, residuals = self.eqn, self.piece, self.residuals
        given = [ct for ct in cts if ct is not None]
        if piece is None or piece.forward is None:
            piece = fragment(self.rule, eqn, self.active, tuple([ct is not None for ct in cts]), self.differentiate)
            if piece.forward is not None:
                # Its residuals were not to be had when it ran: they are made now.
                residuals = build.splice(piece.forward, eqn.invars, eqn.source_info)[len(eqn.outvars) :]
        else:
            given = [
                build.splice(zero_graph(v.aval.to_ct_aval()), [])[0] if ct is None else ct
                for ct, v in zip(cts, eqn.outvars, strict=True)
                if is_float(v.aval)
            ]
        args = [*given, *eqn.outvars, *residuals, *eqn.invars]
        results = build.splice(piece.backward, args, eqn.source_info)
        return [(eqn.invars[k], ct) for k, ct in zip(piece.targets, results, strict=True)]


@dataclass(slots=True)
class Alias:
    """The cotangent of ``made`` is that of ``source``."""

    made: Any
    source: Any

    @property
    def outvars(self) -> Sequence[Any]:
        return (self.made,)

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        return [(self.source, cts[0])]


@dataclass(slots=True)
class Called:
    """A backward that is a Python function of the user's, called when cotangents have values."""

    outvars: Sequence[Any]
    operands: Sequence[tuple[Any, bool]]
    residuals: Sequence[Any]
    call: Callable[..., Sequence[Any]]

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        arriving = [i for i, ct in enumerate(cts) if ct is not None]
        n, call = len(self.residuals), self.call
        wanted = [i for i, (_, moved) in enumerate(self.operands) if moved]

        def run(*values: Any) -> list[Any]:
            given = dict(zip(arriving, values[n:], strict=True))
            found = call(values[:n], [given.get(i) for i in range(len(cts))])
            avals = [self.operands[i][0].aval.to_ct_aval() for i in wanted]
            return [zeros(a) if found[i] is None else found[i] for i, a in zip(wanted, avals, strict=True)]

        targets = [self.operands[i][0] for i in wanted]
        eqn = late_call(run, [*self.residuals, *[cts[i] for i in arriving]], [v.aval.to_ct_aval() for v in targets])
        build.eqns.append(eqn)
        return list(zip(targets, eqn.outvars, strict=True))


def reverse(kept: Record, outs: Sequence[Any], seeds: Sequence[Atom | None]) -> tuple[Graph, list[bool]]:
    """The backward of what ran.

    Args:
      kept: the record.
      outs: per output, its variable (``None`` where no derivative goes through it).
      seeds: per output, its cotangent (``None`` where none arrives).

    Returns:
      The graph of the cotangents of those inputs that get one, whose constants are the values it reads; and which
      inputs those are.
    """
    sums: dict[Any, list[Atom]] = {}
    for v, ct in zip(outs, seeds, strict=True):
        if v is not None and ct is not None:
            sums.setdefault(v, []).append(ct)
    build = Builder()
    sweep(reversed(kept.steps), sums, build)
    gradients = [total(v, sums, build) for v in kept.inputs]
    ends = [g for g in gradients if g is not None]
    eqns = prune(build.eqns, ends)
    values = {**kept.values, **dict(zip(build.constvars, build.consts, strict=True))}
    read = {v: None for eqn in eqns for v in eqn.invars if type(v) is not Literal and v in values}
    read.update((v, None) for v in ends if type(v) is not Literal and v in values)
    return Graph([], ends, eqns, list(read), [values[v] for v in read]), [g is not None for g in gradients]
