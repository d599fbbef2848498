"""Recording outside `jax.jit`: operations run at once on concrete values, and what a derivative goes through is noted.

Python control flow that looks at values (``if x > 0``, ``while err > tol``, ``float(x)``) therefore works as it does
under `jax.grad`: the record is the path that was taken, and the sweep reads it as it reads a traced program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
from jax.extend import core
from jax.extend.source_info_util import current

from functional_dl import rules
from functional_dl.autodiff.backward import Differentiation
from functional_dl.autodiff.fragments import Fragment, fragment, spliced
from functional_dl.autodiff.interception import absent_tangent, is_absent
from functional_dl.autodiff.sweep import Step, sweep, total
from functional_dl.avals import zeros
from functional_dl.jaxprs import (
    Atom,
    Builder,
    Graph,
    Literal,
    Var,
    bind,
    bind_on,
    close,
    evaluate,
    inlines,
    is_float,
    late_call,
    open_jaxpr,
    prune,
    trace,
)
from functional_dl.rules.custom_vjp import run_backward, run_forward

__all__ = ["Record", "record", "reverse"]


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


@dataclass(slots=True)
class _Ran:
    """An equation that ran.

    Attributes:
      eqn: the equation, over the record's variables.
      pieces: its backward for the cotangents that arrive; fixed where the forward already kept residuals for it.
      residuals: the variables of those.
    """

    eqn: Any
    rule: rules.Rule
    active: tuple[bool, ...]
    differentiate: Differentiation
    piece: Fragment | None
    seeded: tuple[bool, ...]
    residuals: Sequence[Any]

    @property
    def outvars(self) -> Sequence[Any]:
        return self.eqn.outvars

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        eqn, piece = self.eqn, self.piece
        if piece is None or piece.forward is None:
            piece = fragment(self.rule, eqn, self.active, tuple([ct is not None for ct in cts]), self.differentiate)
            given = [ct for ct in cts if ct is not None]
        else:
            given = [
                build.splice(_zeros(v.aval.to_ct_aval()), [])[0] if ct is None else ct
                for ct, v, s in zip(cts, eqn.outvars, self.seeded, strict=True)
                if s
            ]
        args = [*given, *eqn.outvars, *self.residuals, *eqn.invars]
        results = build.splice(piece.backward, args, eqn.source_info)
        return [(eqn.invars[k], ct) for k, ct in zip(piece.targets, results, strict=True)]


@dataclass(slots=True)
class _Alias:
    """The cotangent of ``made`` is that of ``source``."""

    made: Any
    source: Any

    @property
    def outvars(self) -> Sequence[Any]:
        return (self.made,)

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        return [(self.source, cts[0])]


@dataclass(slots=True)
class _Called:
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


@lru_cache(maxsize=1024)
def _zeros(aval: Any) -> Graph:
    return trace(lambda: [zeros(aval)])


@lru_cache(maxsize=4096)
def _out_avals(primitive: Any, params: tuple[tuple[str, Any], ...], avals: tuple[Any, ...]) -> list[Any]:
    return _staged(primitive, dict(params), avals).out_avals


def _staged(primitive: Any, params: dict[str, Any], avals: Sequence[Any]) -> Graph:
    def run(*xs: Any) -> Sequence[Any]:
        out = primitive.bind(*xs, **params)
        return out if primitive.multiple_results else [out]

    return trace(run, *avals)


class _Recorded(jax.core.Tracer):
    """A value that depends on what is differentiated, with the variable that stands for it in the record."""

    __slots__ = ("primal", "var")

    def __init__(self, trace: _Recorder, value: Any, var: Any) -> None:
        super().__init__(trace, jax.typeof(value))
        self.primal = value
        self.var = var

    def to_concrete_value(self) -> Any:
        """The array itself, where there is one: Python may look at it."""
        return self.primal.to_concrete_value() if isinstance(self.primal, jax.core.Tracer) else self.primal

    # JAX lets Python take ints, bools and items of a value under grad, but not floats; there is no reason to stop.
    def __float__(self) -> float:
        concrete = self.to_concrete_value()
        return super().__float__() if concrete is None else float(concrete)

    def __complex__(self) -> complex:
        concrete = self.to_concrete_value()
        return super().__complex__() if concrete is None else complex(concrete)

    def _short_repr(self) -> str:
        return f"Recorded({self.primal})"


class _Recorder(jax.core.Trace):
    """Runs operations on the trace below and writes down those that touch differentiated values."""

    def __init__(self, below: Any, kept: Record, differentiate: Differentiation) -> None:
        super().__init__()
        self.parent_trace = below
        self.requires_low = False
        self.record = kept
        self._differentiate = differentiate

    def lift(self, value: Any, var: Any) -> _Recorded:
        """``value`` as a differentiated value."""
        return _Recorded(self, value, var)

    def _lower(self, tracers: Sequence[Any]) -> tuple[list[Any], tuple[bool, ...]]:
        mine = tuple([type(t) is _Recorded and t._trace is self for t in tracers])
        return [t.primal if m else t for t, m in zip(tracers, mine, strict=True)], mine

    def stage_value(self, val: Any) -> Any:
        return val

    def process_primitive(self, primitive: Any, tracers: Any, params: Any, /) -> Any:
        values, active = self._lower(tracers)
        if True not in active:
            return bind_on(self.parent_trace, primitive, values, params)
        rule = self._differentiate.book.find(primitive, params)
        if rule.kind == "zero":
            return bind_on(self.parent_trace, primitive, values, params)
        if primitive.name == "jit" and inlines(params) and rule.kind == "structural":
            with core.set_current_trace(self):
                return evaluate(open_jaxpr(params["jaxpr"]), tracers)
        return self._run(rule, primitive, params, tracers, values, active)

    def _run(
        self,
        rule: rules.Rule,
        primitive: Any,
        params: dict[str, Any],
        tracers: Sequence[Any],
        values: Sequence[Any],
        active: tuple[bool, ...],
    ) -> Any:
        """Run one equation, with the residuals that its backward will read, and write it down."""
        kept, piece = self.record, None
        residuals: list[Any] = []
        structural = rule.kind == "structural"
        with core.set_current_trace(self.parent_trace):
            if structural:
                avals = tuple([jax.typeof(v) for v in values])
                key = (primitive, tuple(params.items()), avals)
                out_avals = _out_avals(*key) if _hashable(key) else _staged(primitive, params, avals).out_avals
                if not any(is_float(a) for a in out_avals):
                    return bind_on(self.parent_trace, primitive, values, params)
            else:
                outs = bind_on(self.parent_trace, primitive, values, params)
                outs = outs if primitive.multiple_results else [outs]
                out_avals = [jax.typeof(y) for y in outs]
            invars = [
                t.var if a else Var(jax.typeof(v)) for t, v, a in zip(tracers, values, active, strict=True)
            ]  # fmt: skip
            eqn = core.new_jaxpr_eqn(invars, [Var(a) for a in out_avals], primitive, params, core.no_effects, current())
            seeded = tuple([is_float(a) for a in out_avals])
            if structural or len(out_avals) == 1:
                piece = fragment(rule, eqn, active, seeded, self._differentiate)
            if structural:
                assert piece is not None
                if piece.forward is None:
                    outs = bind(eqn, values)
                    outs = outs if primitive.multiple_results else [outs]
                else:
                    found = evaluate(piece.forward, values)
                    outs, extra = found[: len(out_avals)], found[len(out_avals) :]
                    residuals = [Var(jax.typeof(r)) for r in extra]
                    kept.values.update(zip(residuals, extra, strict=True))
        results = [self.lift(y, v) if s else y for y, v, s in zip(outs, eqn.outvars, seeded, strict=True)]
        # Values that no backward reads are let go; if it is not known yet which cotangents arrive, all are kept.
        exact = piece is not None and (piece.forward is not None or len(out_avals) == 1)
        reads = piece.reads if exact and piece is not None else (True,) * (len(outs) + len(values))
        if any(reads):
            places = [*zip(eqn.outvars, outs, strict=True), *[(None, None)] * len(residuals)]
            for (v, y), read in zip(places, reads, strict=False):
                if read and v is not None:
                    kept.values[v] = y
            atoms = []
            for v, x, a, read in zip(invars, values, active, reads[len(places) :], strict=True):
                if read and not a:
                    v = kept.constant(x)
                elif read:
                    kept.values[v] = x
                atoms.append(v)
            eqn = eqn.replace(invars=atoms)
        kept.steps.append(_Ran(eqn, rule, active, self._differentiate, piece, seeded, residuals))
        return results if primitive.multiple_results else results[0]

    def process_custom_jvp_call(
        self, primitive: Any, fun: Any, jvp: Any, tracers: Any, /, *, symbolic_zeros: bool
    ) -> Any:
        """Run the user's rule on concrete primals and tangents of zero, writing down what the tangents go through.

        That is linear in them, so the cotangents of its outputs are sent back to its operands through it.
        """
        values, active = self._lower(tracers)
        params = {"subfuns": (fun, jvp), "symbolic_zeros": symbolic_zeros}
        if True not in active:
            with core.set_current_trace(self.parent_trace):
                return primitive.bind(*values, **params)
        if self._overridden(primitive, fun):
            return self._run_staged(primitive, params, tracers)
        kept = self.record
        inner = _Recorder(self.parent_trace, kept, self._differentiate)
        tangents = []
        with core.set_current_trace(self.parent_trace):
            for t, v, a in zip(tracers, values, active, strict=True):
                aval = jax.typeof(v)
                if a:
                    due = aval.to_tangent_aval()
                    var = Var(due)
                    kept.steps.append(_Alias(var, t.var))
                    tangents.append(inner.lift(zeros(due), var))
                else:
                    tangents.append(absent_tangent(aval, symbolic_zeros))
        with core.set_current_trace(inner):
            outs = jvp.call_wrapped(*values, *tangents)
        inner.invalidate()
        results = []
        for y, slope in zip(outs[: len(outs) // 2], outs[len(outs) // 2 :], strict=True):
            if is_absent(slope) or not (type(slope) is _Recorded and slope._trace is inner):
                results.append(y)
                continue
            var = Var(jax.typeof(y))
            kept.steps.append(_Alias(var, slope.var))
            results.append(self.lift(y, var))
        return results

    def process_custom_vjp_call(
        self,
        primitive: Any,
        fun: Any,
        fwd: Any,
        bwd: Any,
        tracers: Any,
        /,
        *,
        out_trees: Any,
        symbolic_zeros: bool,
    ) -> Any:
        """Run the user's forward now, and the user's backward when the cotangents have values."""
        values, active = self._lower(tracers)
        params = {"subfuns": (fun, fwd, bwd), "out_trees": out_trees, "symbolic_zeros": symbolic_zeros}
        if True not in active:
            with core.set_current_trace(self.parent_trace):
                return primitive.bind(*values, **params)
        if self._overridden(primitive, fun):
            return self._run_staged(primitive, params, tracers)
        kept = self.record
        with core.set_current_trace(self.parent_trace):
            outs, residuals = run_forward(fwd, out_trees, values, active)
        outvars = [Var(jax.typeof(y)) for y in outs]
        out_avals, in_avals = [v.aval for v in outvars], [jax.typeof(v) for v in values]

        def call(kept: Sequence[Any], cts: Sequence[Any]) -> Sequence[Any]:
            return run_backward(bwd, kept, cts, out_avals, in_avals, symbolic_zeros)

        operands = [(t.var if a else Var(jax.typeof(v)), a) for t, v, a in zip(tracers, values, active, strict=True)]
        kept.steps.append(_Called(outvars, operands, [kept.constant(r) for r in residuals], call))
        return [self.lift(y, v) if is_float(v.aval) else y for y, v in zip(outs, outvars, strict=True)]

    def _overridden(self, primitive: Any, fun: Any) -> bool:
        name = lambda: str(fun.debug_info.func_src_info).split(" ", 1)[0]  # noqa: E731
        return self._differentiate.book.override(primitive.name, name) is not None

    def _run_staged(self, primitive: Any, params: dict[str, Any], tracers: Sequence[Any]) -> Any:
        """Trace a call that the user has a rule for into the equation it is, and run that."""
        graph = _staged(primitive, params, [jax.typeof(t) for t in tracers])
        (eqn,) = graph.eqns
        given = {
            **dict(zip(graph.inputs, tracers, strict=True)),
            **dict(zip(graph.constvars, graph.consts, strict=True)),
        }
        operands = [v.val if type(v) is Literal else given[v] for v in eqn.invars]
        rule = self._differentiate.book.find(eqn.primitive, eqn.params)
        return self._run(rule, eqn.primitive, eqn.params, operands, *self._lower(operands))

    def __getattr__(self, name: str) -> Any:
        # What else JAX may ask of a trace (shard_map, calls of older versions) is traced into a program and run as one.
        if not name.startswith("process_"):
            raise AttributeError(name)

        def process(primitive: Any, fun: Any, tracers: Any, /, *args: Any, **kwargs: Any) -> Any:
            values, active = self._lower(tracers)

            def on(operands: Sequence[Any]) -> Any:
                with core.take_current_trace() as here:
                    return getattr(here, name)(primitive, fun, operands, *args, **kwargs)

            if True not in active:
                with core.set_current_trace(self.parent_trace):
                    return on(values)
            return self._run_program(lambda *xs: on(xs), tracers, values, active)

        return process

    def process_call(self, *args: Any, **kwargs: Any) -> Any:
        return self.__getattr__("process_call")(*args, **kwargs)

    def _run_program(
        self, fun: Callable[..., Any], tracers: Sequence[Any], values: Sequence[Any], active: tuple[bool, ...]
    ) -> list[Any]:
        kept, avals = self.record, [jax.typeof(v) for v in values]
        with core.set_current_trace(self.parent_trace):
            closed = close(trace(lambda *xs: list(fun(*xs)), *avals))
            outs_avals = open_jaxpr(closed).out_avals
            seeded = tuple([is_float(a) for a in outs_avals])
            call = rules.Call(None, {}, avals, outs_avals, active, seeded)
            piece = spliced(self._differentiate(closed, active, seeded).spliced(), call)
            assert piece.forward is not None
            found = evaluate(piece.forward, values)
        outs, extra = found[: len(outs_avals)], found[len(outs_avals) :]
        residuals = [Var(jax.typeof(r)) for r in extra]
        kept.values.update(zip(residuals, extra, strict=True))
        invars = [t.var if a else Var(v) for t, v, a in zip(tracers, avals, active, strict=True)]
        eqn = late_call(lambda *xs: [], invars, outs_avals)
        rule = rules.Rule("program", "structural")
        kept.steps.append(_Ran(eqn, rule, active, self._differentiate, piece, seeded, residuals))
        return [self.lift(y, v) if s else y for y, v, s in zip(outs, eqn.outvars, seeded, strict=True)]


def _hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True


def record(
    fun: Callable[..., Sequence[Any]], leaves: Sequence[Any], differentiate: Differentiation
) -> tuple[list[Any], list[Any], Record]:
    """Run ``fun`` on ``leaves``, differentiating with respect to the floating ones.

    Returns:
      The outputs as plain values; per output, its variable in the record (``None`` where no derivative goes
      through it); and the record.
    """
    kept = Record()
    with core.take_current_trace() as below:
        recorder = _Recorder(below, kept, differentiate)
        lifted = []
        for x in leaves:
            var = Var(jax.typeof(x))
            kept.inputs.append(var)
            lifted.append(recorder.lift(x, var) if is_float(var.aval) else x)
        with core.set_current_trace(recorder):
            outs = fun(*lifted)
    values, mine = recorder._lower(outs)
    recorder.invalidate()
    return values, [y.var if m else None for y, m in zip(outs, mine, strict=True)], kept


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
