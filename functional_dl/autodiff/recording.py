"""Recording outside `jax.jit`: operations run at once on concrete values, and what a derivative goes through is noted.

Python control flow that looks at values (``if x > 0``, ``while err > tol``, ``float(x)``) therefore works as it does
under `jax.grad`: the record is the path that was taken, and the sweep reads it as it reads a traced program.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
from jax.extend import core
from jax.extend.source_info_util import current

from functional_dl import rules
from functional_dl.autodiff.fragments import Fragment, fragment, hashable, spliced
from functional_dl.autodiff.halves import Differentiation
from functional_dl.autodiff.interception import is_absent
from functional_dl.autodiff.record import Alias, Called, Ran, Record
from functional_dl.autodiff.recorded_refs import RecordedRef, on_refs
from functional_dl.avals import zeros
from functional_dl.jaxprs import (
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
    trace,
)
from functional_dl.rules.book import function_name
from functional_dl.rules.custom_rules import absent_tangent
from functional_dl.rules.custom_vjp import run_backward, run_forward
from functional_dl.rules.refs import CREATORS, WRITERS

__all__ = ["record"]


def _out_avals_of(primitive: Any, params: dict[str, Any], values: Sequence[Any]) -> list[Any]:
    key = (primitive, tuple(params.items()), tuple([jax.typeof(v) for v in values]))
    return (_out_avals if hashable(key) else _out_avals.__wrapped__)(*key)


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

    __slots__ = ("_primal", "_var")

    def __init__(self, trace: _Recorder, value: Any, var: Any) -> None:
        super().__init__(trace, jax.typeof(value))
        self._primal = value
        self._var = var

    def to_concrete_value(self) -> Any:
        """The array itself, where there is one: Python may look at it."""
        return self._primal.to_concrete_value() if isinstance(self._primal, jax.core.Tracer) else self._primal

    # JAX lets Python take ints, bools and items of a value under grad, but not floats; there is no reason to stop.
    def __float__(self) -> float:
        concrete = self.to_concrete_value()
        return super().__float__() if concrete is None else float(concrete)

    def __complex__(self) -> complex:
        concrete = self.to_concrete_value()
        return super().__complex__() if concrete is None else complex(concrete)

    def _short_repr(self) -> str:
        return f"Recorded({self._primal})"


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
        return [t._primal if m else t for t, m in zip(tracers, mine, strict=True)], mine

    def stage_value(self, val: Any) -> Any:
        return val if type(val) is _Recorded and val._trace is self else self.parent_trace.stage_value(val)

    def process_primitive(self, primitive: Any, tracers: Any, params: Any, /) -> Any:
        if primitive.name in CREATORS or any(type(t) is RecordedRef and t._trace is self for t in tracers):
            with core.set_current_trace(self):
                return on_refs(self, primitive, tracers, params)
        values, active = self._lower(tracers)
        if True not in active:
            return bind_on(self.parent_trace, primitive, values, params)
        rule = self._differentiate.book.find(primitive, params)
        if primitive.name in WRITERS:  # into a ref from outside: what reads it there would miss a cotangent
            raise rules.RuleError(f"No gradient goes through primitive '{primitive.name}': {rule.reason}.")
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
        """Run one equation and write it down: one that has residuals of its own with those, any other as it is."""
        with core.set_current_trace(self.parent_trace):
            outs: Sequence[Any] | None = None
            if rule.kind == "structural":
                out_avals = _out_avals_of(primitive, params, values)
            else:
                out = bind_on(self.parent_trace, primitive, values, params)
                outs = out if primitive.multiple_results else [out]
                out_avals = [jax.typeof(y) for y in outs]
            floating = tuple([is_float(a) for a in out_avals])
            invars = [t._var if a else Var(jax.typeof(v)) for t, v, a in zip(tracers, values, active, strict=True)]
            eqn = core.new_jaxpr_eqn(invars, [Var(a) for a in out_avals], primitive, params, core.no_effects, current())
            piece = None
            if any(floating) and (outs is None or (len(floating) == 1 and rule.kind != "refused")):
                # Which cotangents will arrive is known if there can be only one.  For others, residuals are kept as
                # if all did; a rule that refuses that is asked again when it is known.
                with contextlib.suppress(rules.RuleError):
                    piece = fragment(rule, eqn, active, floating, self._differentiate)
            residuals: Sequence[Any] = []
            if outs is None and piece is not None and piece.forward is not None:
                found = evaluate(piece.forward, values)
                outs, residuals = found[: len(floating)], self.record.keep(found[len(floating) :])
            elif outs is None:
                out = bind(eqn, values)
                outs = out if primitive.multiple_results else [out]
        if any(floating):
            exact = piece is not None and (piece.forward is not None or len(floating) == 1)
            eqn = self._keep(eqn, outs, values, active, len(residuals), piece if exact else None)
            self.record.steps.append(Ran(eqn, rule, active, self._differentiate, piece, residuals))
        results = [self.lift(y, v) if f else y for y, v, f in zip(outs, eqn.outvars, floating, strict=True)]
        return results if primitive.multiple_results else results[0]

    def _keep(
        self,
        eqn: Any,
        outs: Sequence[Any],
        values: Sequence[Any],
        active: Sequence[bool],
        residuals: int,
        piece: Fragment | None,
    ) -> Any:
        """Keep the outputs and operands that the backward reads (all of them if it is not known), and let others go."""
        m = len(outs)
        reads = piece.reads if piece is not None else (True,) * (m + residuals + len(values))
        for v, y, read in zip(eqn.outvars, outs, reads[:m], strict=True):
            if read:
                self.record.values[v] = y
        operands = reads[m + residuals :]
        if not any(operands):
            return eqn
        atoms = []
        for v, x, a, read in zip(eqn.invars, values, active, operands, strict=True):
            if read and a:
                self.record.values[v] = x
            atoms.append(self.record.constant(x) if read and not a else v)
        return eqn.replace(invars=atoms)

    def process_custom_jvp_call(
        self, primitive: Any, fun: Any, jvp: Any, tracers: Any, /, *, symbolic_zeros: bool
    ) -> Any:
        """Run the user's rule on concrete primals and tangents of zero, writing down what the tangents go through.

        That is linear in them, so the cotangents of its outputs are sent back to its operands through it.
        """
        values, active = self._lower(tracers)
        params = {"subfuns": (fun, jvp), "symbolic_zeros": symbolic_zeros}
        done = self._without_rule(primitive, fun, params, tracers, values, active)
        if done is not None:
            return done
        kept = self.record
        inner = _Recorder(self.parent_trace, kept, self._differentiate)
        tangents = []
        with core.set_current_trace(self.parent_trace):
            for t, v, a in zip(tracers, values, active, strict=True):
                aval = jax.typeof(v)
                if a:
                    due = aval.to_tangent_aval()
                    var = Var(due)
                    kept.steps.append(Alias(var, t._var))
                    tangents.append(inner.lift(zeros(due), var))
                else:
                    tangents.append(absent_tangent(aval, symbolic_zeros))
        with core.set_current_trace(inner):
            outs = jvp.call_wrapped(*values, *tangents)
        # A rule that is compiled whole gives its values, too, as if they depended on the tangents.
        ys, slopes = inner._lower(outs[: len(outs) // 2])[0], outs[len(outs) // 2 :]
        inner.invalidate()
        results = []
        for y, slope in zip(ys, slopes, strict=True):
            if is_absent(slope) or not (type(slope) is _Recorded and slope._trace is inner):
                results.append(y)
                continue
            var = Var(jax.typeof(y))
            kept.steps.append(Alias(var, slope._var))
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
        done = self._without_rule(primitive, fun, params, tracers, values, active)
        if done is not None:
            return done
        kept = self.record
        with core.set_current_trace(self.parent_trace):
            outs, residuals = run_forward(fwd, out_trees, values, active)
        outvars = [Var(jax.typeof(y)) for y in outs]
        out_avals, in_avals = [v.aval for v in outvars], [jax.typeof(v) for v in values]

        def call(kept: Sequence[Any], cts: Sequence[Any]) -> Sequence[Any]:
            return run_backward(bwd, kept, cts, out_avals, in_avals, symbolic_zeros)

        operands = [(t._var if a else Var(jax.typeof(v)), a) for t, v, a in zip(tracers, values, active, strict=True)]
        kept.steps.append(Called(outvars, operands, [kept.constant(r) for r in residuals], call))
        return [self.lift(y, v) if is_float(v.aval) else y for y, v in zip(outs, outvars, strict=True)]

    def _without_rule(
        self,
        primitive: Any,
        fun: Any,
        params: dict[str, Any],
        tracers: Sequence[Any],
        values: Sequence[Any],
        active: tuple[bool, ...],
    ) -> Any:
        """Run a call whose own rule has no say: nothing is differentiated, or a rule of the user's stands in its place.

        ``None`` if it has.
        """
        if True not in active:
            with core.set_current_trace(self.parent_trace):
                return primitive.bind(*values, **params)
        return self._run_staged(primitive, params, tracers) if self._overridden(primitive, fun) else None

    def _overridden(self, primitive: Any, fun: Any) -> bool:
        return self._differentiate.book.override(primitive.name, lambda: function_name(fun.debug_info)) is not None

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
            def on(operands: Sequence[Any]) -> Any:
                with core.take_current_trace() as here:
                    return getattr(here, name)(primitive, fun, operands, *args, **kwargs)

            answer: list[Any] = []

            def program(*xs: Any) -> list[Any]:
                answer[:] = [on(xs)]
                return list(answer[0])

            results = self._run_program(program, tracers)
            # shard_map answers with a tree of JAX's own, that its caller takes apart.
            return answer[0].update(results) if hasattr(answer[0], "update") else results

        return process

    def process_call(self, *args: Any, **kwargs: Any) -> Any:
        return self.__getattr__("process_call")(*args, **kwargs)

    def _run_program(self, fun: Callable[..., Any], tracers: Sequence[Any]) -> list[Any]:
        kept = self.record
        with core.set_current_trace(self.parent_trace):
            graph = trace(fun, *[jax.typeof(x) for x in self._lower(tracers)[0]])
            # What the function closed over is an operand as well: it may be differentiated.
            tracers = [*graph.consts, *tracers]
            graph = Graph([*graph.constvars, *graph.inputs], graph.outputs, graph.eqns)
            values, active = self._lower(tracers)
            if True not in active:
                return evaluate(graph, values)
            avals, outs_avals, closed = graph.in_avals, graph.out_avals, close(graph)
            seeded = tuple([is_float(a) for a in outs_avals])
            call = rules.Call(None, {}, avals, outs_avals, active, seeded)
            piece = spliced(self._differentiate(closed, active, seeded).spliced(), call)
            assert piece.forward is not None
            found = evaluate(piece.forward, values)
        outs, residuals = found[: len(outs_avals)], kept.keep(found[len(outs_avals) :])
        invars = [t._var if a else Var(v) for t, v, a in zip(tracers, avals, active, strict=True)]
        eqn = late_call(lambda *xs: [], invars, outs_avals)
        rule = rules.Rule("program", "structural")
        kept.steps.append(Ran(eqn, rule, active, self._differentiate, piece, residuals))
        return [self.lift(y, v) if s else y for y, v, s in zip(outs, eqn.outvars, seeded, strict=True)]


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
    return values, [y._var if m else None for y, m in zip(outs, mine, strict=True)], kept
