"""The one door to JAX's intermediate representation: trace, open, splice, prune, evaluate, point at source lines.

Everything else in the engine works on `Graph`, a jaxpr taken apart into lists that can be rearranged.  What JAX
itself promises about jaxprs, and what this module relies on, is pinned in ``tests/test_jax_contracts.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jax.sharding import get_abstract_mesh

from functional_dl.avals import describe, is_float, is_ref

__all__ = [
    "Atom",
    "Builder",
    "Graph",
    "Literal",
    "Var",
    "bind",
    "bind_on",
    "bind_trailing",
    "close",
    "count_equations",
    "describe",
    "evaluate",
    "inlines",
    "is_float",
    "is_ref",
    "is_staged",
    "late_call",
    "open_jaxpr",
    "prune",
    "rename",
    "rename_to",
    "trace",
]

Var = core.Var
Literal = core.Literal
Atom = Any  # Var | Literal
Equation = Any  # core.JaxprEqn


@dataclass(slots=True)
class Graph:
    """A program taken apart: equations in order, between inputs and outputs.

    Attributes:
      inputs: the variables that arguments bind.
      outputs: what the program returns: variables or literals.
      eqns: JAX equations, each after those it reads from.
      constvars: variables bound to ``consts``.
      consts: arrays (or tracers of an enclosing transform) that the traced function closed over.
    """

    inputs: list[Any]
    outputs: list[Atom]
    eqns: list[Equation]
    constvars: list[Any] = field(default_factory=list)
    consts: list[Any] = field(default_factory=list)

    @property
    def in_avals(self) -> list[Any]:
        """Abstract values of the inputs."""
        return [v.aval for v in self.inputs]

    @property
    def out_avals(self) -> list[Any]:
        """Abstract values of the outputs."""
        return [v.aval for v in self.outputs]


def trace(fun: Callable[..., Sequence[Any]], *args: Any) -> Graph:
    """Trace ``fun``, which takes arrays and returns a flat sequence of arrays.

    Args:
      fun: the function.  It is called anew each time: JAX's cache, which goes by identity, would keep what an
        impure function did the first time.
      *args: arrays or abstract values.
    """
    return open_jaxpr(jax.make_jaxpr(lambda *leaves: fun(*leaves))(*args))


def open_jaxpr(closed: Any) -> Graph:
    """The `Graph` of a closed jaxpr, or of an open one without constants (as ``remat2`` carries)."""
    jaxpr = getattr(closed, "jaxpr", closed)
    consts = list(getattr(closed, "consts", ()))
    return Graph(list(jaxpr.invars), list(jaxpr.outvars), list(jaxpr.eqns), list(jaxpr.constvars), consts)


@cache
def _empty() -> Any:
    return jax.make_jaxpr(lambda: ())()


def close(graph: Graph) -> Any:
    """The closed jaxpr of a graph, to be used as a parameter of a JAX primitive."""
    effects: set[Any] = set()
    high = False  # whether JAX has primitives to expand in it before it is compiled (``call_hi_primitive``)
    for eqn in graph.eqns:
        if eqn.effects:
            effects |= eqn.effects
        high = high or eqn.primitive.is_high(*[v.aval for v in eqn.invars], **eqn.params)
    empty = _empty()
    jaxpr = empty.jaxpr.replace(
        constvars=graph.constvars,
        invars=graph.inputs,
        outvars=graph.outputs,
        eqns=graph.eqns,
        effects=effects,
        is_high=high,
    )
    return empty.replace(jaxpr=jaxpr, consts=graph.consts)


def prune(eqns: Sequence[Equation], outputs: Iterable[Atom], known: Collection[Any] = (), effects: bool = True) -> list:
    """The equations that ``outputs`` depend on, in order: dead code dropped.

    Args:
      eqns: equations in order.
      outputs: the atoms that must be computed.
      known: variables already available; what only they depend on is dropped.
      effects: keep equations with side effects whether or not anything reads them.
    """
    live = {v for v in outputs if type(v) is not Literal}
    live.difference_update(known)
    kept = []
    for eqn in reversed(eqns):
        if (effects and eqn.effects) or not live.isdisjoint(eqn.outvars):
            kept.append(eqn)
            for v in eqn.invars:
                if type(v) is not Literal and v not in known:
                    live.add(v)
    kept.reverse()
    return kept


class Builder:
    """Equations under construction: graphs are spliced in one after the other.

    Attributes:
      eqns: what has been built so far.
      constvars, consts: constants that the spliced graphs brought along.
    """

    def __init__(self) -> None:
        self.eqns: list[Equation] = []
        self.constvars: list[Any] = []
        self.consts: list[Any] = []

    def splice(
        self, graph: Graph, args: Sequence[Atom], source_info: Any = None, called: Sequence[Any] = ()
    ) -> list[Atom]:
        """Copy ``graph`` with its inputs replaced by ``args``; return the atoms its outputs became.

        The first outputs are given the variables ``called``, where ``graph`` makes them and no other has them already.
        """
        env: dict[Any, Atom] = dict(zip(graph.inputs, args, strict=True))
        pairs = zip(reversed(graph.outputs[: len(called)]), reversed(called), strict=True)
        due = {v: name for v, name in pairs if type(v) is Var and type(name) is Var}
        for var, value in zip(graph.constvars, graph.consts, strict=True):
            env[var] = new = Var(var.aval)
            self.constvars.append(new)
            self.consts.append(value)
        for eqn in graph.eqns:
            invars = [v if type(v) is Literal else env[v] for v in eqn.invars]
            outvars = []
            for v in eqn.outvars:
                env[v] = new = due[v] if v in due else Var(v.aval)
                outvars.append(new)
            self.eqns.append(
                core.new_jaxpr_eqn(
                    invars,
                    outvars,
                    eqn.primitive,
                    eqn.params,
                    _renamed_effects(eqn.effects, env) if eqn.effects else eqn.effects,
                    eqn.source_info if source_info is None else source_info,
                    eqn.ctx,
                )
            )
        return [v if type(v) is Literal else env[v] for v in graph.outputs]


def rename(eqns: Sequence[Equation], names: dict[Any, Atom]) -> list[Equation]:
    """Replace the variables that ``eqns`` read according to ``names``."""
    if not names:
        return list(eqns)
    renamed = []
    for eqn in eqns:
        if any(type(v) is not Literal and v in names for v in eqn.invars):
            eqn = rename_to(eqn, [v if type(v) is Literal else names.get(v, v) for v in eqn.invars])
        renamed.append(eqn)
    return renamed


def rename_to(eqn: Equation, invars: list[Atom], outvars: list[Any] | None = None) -> Equation:
    """``eqn`` over other operands, and outputs."""
    effects = eqn.effects
    if effects:
        effects = _renamed_effects(effects, dict(zip(eqn.invars, invars, strict=True)))
    outvars = eqn.outvars if outvars is None else outvars
    # Several times faster than `eqn.replace`.
    return core.new_jaxpr_eqn(invars, outvars, eqn.primitive, eqn.params, effects, eqn.source_info, eqn.ctx)


def _renamed_effects(effects: Any, names: dict[Any, Atom]) -> Any:
    """Effects on what is read from and written into (a ref), which name its variable."""
    if not any(type(getattr(effect, "input", None)) is Var for effect in effects):
        return effects
    return {
        effect.replace(names.get(effect.input, effect.input)) if type(getattr(effect, "input", None)) is Var else effect
        for effect in effects
    }


def bind_trailing(graph: Graph, leading: int) -> Graph:
    """``graph`` as a program of its ``leading`` inputs, with zeros for those of the others that it reads."""
    inputs, rest = graph.inputs[:leading], graph.inputs[leading:]
    read = {v for eqn in graph.eqns for v in eqn.invars if type(v) is not Literal}
    read.update(v for v in graph.outputs if type(v) is not Literal)
    missing = [v for v in rest if v in read]
    zeros = [np.zeros(v.aval.shape, v.aval.dtype) for v in missing]
    return Graph(inputs, graph.outputs, graph.eqns, [*graph.constvars, *missing], [*graph.consts, *zeros])


# --- evaluation -------------------------------------------------------------------------------------------------


_LATE = core.Primitive("late_call")
_LATE.multiple_results = True


def late_call(call: Callable[..., Sequence[Any]], operands: Sequence[Atom], out_avals: Sequence[Any]) -> Equation:
    """An equation that calls a Python function when it is evaluated, not before.

    It lives in programs recorded outside `jax.jit`, where a user's own backward may look at concrete values.
    Evaluated under a trace, the function is traced then.
    """
    return core.new_jaxpr_eqn(list(operands), [Var(a) for a in out_avals], _LATE, {"call": call}, core.no_effects)


@cache
def _staging_trace() -> type:
    """The class of the trace that records equations (the one under `jax.jit`), seen from inside it."""
    seen: list[type] = []

    def look(x: Any) -> Any:
        with core.take_current_trace() as current:
            seen.append(type(current))
        return x

    jax.make_jaxpr(look)(0.0)
    return seen[0]


def is_staged() -> bool:
    """Whether equations bound now are recorded rather than run (under `jax.jit`, at any depth)."""
    staging = _staging_trace()
    with core.take_current_trace() as current:
        while current is not None:
            if isinstance(current, staging):
                return True
            current = getattr(current, "parent_trace", None)
    return False


@cache
def _jit_template() -> tuple[Any, dict[str, Any], Any]:
    """The ``jit`` primitive, its parameters with inlining switched on, and JAX's mark for an unstated sharding."""
    with jax.disable_jit(False):
        eqn = jax.make_jaxpr(jax.jit(lambda x: x))(0.0).eqns[0]
    inline = eqn.params["inline"]
    # A bool in 0.10; from 0.11 an enum whose JAX_EARLY inlines while tracing.
    early = True if isinstance(inline, bool) else type(inline).JAX_EARLY
    return eqn.primitive, {**eqn.params, "name": "functional_dl", "inline": early}, eqn.params["in_shardings"][0]


def _inline(graph: Graph, args: Sequence[Any]) -> list[Any]:
    """Evaluate ``graph`` while JAX is tracing: hand all equations over at once.

    A ``jit`` marked for inlining leaves nothing of itself behind: JAX copies its equations into the trace under
    way without abstract evaluation, about five times faster than binding them one by one.
    """
    primitive, params, unstated = _jit_template()
    inner = close(Graph([*graph.constvars, *graph.inputs], graph.outputs, graph.eqns))
    operands = [*graph.consts, *args]
    n, m = len(operands), len(graph.outputs)
    return primitive.bind(
        *operands,
        **{
            **params,
            "jaxpr": inner,
            "ctx_mesh": get_abstract_mesh(),
            "in_shardings": (unstated,) * n,
            "out_shardings": (unstated,) * m,
            "in_layouts": (None,) * n,
            "out_layouts": (None,) * m,
            "donated_invars": (False,) * n,
        },
    )


def inlines(params: dict[str, Any]) -> bool:
    """Whether a ``jit`` with these parameters dissolves into its equations while it is traced."""
    return bool(params["inline"] == _jit_template()[1]["inline"])


def bind(eqn: Equation, values: Sequence[Any]) -> Any:
    """Bind the primitive of ``eqn`` to ``values``, in the equation's own context."""
    with eqn.ctx.manager:
        return eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))


def bind_on(trace: Any, primitive: Any, values: Sequence[Any], params: dict[str, Any]) -> Any:
    """Bind ``primitive`` on ``trace``, from within the processing of another trace.

    The values have come through a ``bind`` already, so it need not be done again; only calls of custom rules and
    what JAX expands before an interpreter sees it (``call_hi_primitive``) go through the front door.
    """
    if "call_jaxpr" in params or (trace.requires_low and primitive.is_high(*map(jax.typeof, values), **params)):
        with core.set_current_trace(trace):
            return primitive.bind(*values, **primitive.get_bind_params(params))
    return trace.process_primitive(primitive, values, params)


def evaluate(graph: Graph, args: Sequence[Any]) -> list[Any]:
    """Run ``graph`` on ``args``: under a trace its equations are recorded, otherwise each runs at once.

    Outside `jax.jit` the equations run one by one, as JAX's own eager operations do, so that XLA's compilations
    are shared between calls; a value is let go after its last use.
    """
    if is_staged() and all(eqn.primitive is not _LATE for eqn in graph.eqns):
        return _inline(graph, args)
    env: dict[Any, Any] = dict(zip(graph.constvars, graph.consts, strict=True))
    env.update(zip(graph.inputs, args, strict=True))
    last: dict[Any, int] = {}
    for i, eqn in enumerate(graph.eqns):
        for v in eqn.invars:
            if type(v) is not Literal:
                last[v] = i
    for v in graph.outputs:
        if type(v) is not Literal:
            last[v] = -1
    for i, eqn in enumerate(graph.eqns):
        values = [v.val if type(v) is Literal else env[v] for v in eqn.invars]
        out = eqn.params["call"](*values) if eqn.primitive is _LATE else bind(eqn, values)
        del values
        env.update(zip(eqn.outvars, out if eqn.primitive.multiple_results else (out,), strict=True))
        for v in eqn.invars:
            if type(v) is not Literal and last[v] == i:
                env.pop(v, None)
    return [v.val if type(v) is Literal else env[v] for v in graph.outputs]


# --- what a jaxpr says about itself -----------------------------------------------------------------------------


def count_equations(closed: Any) -> int:
    """The number of equations in a jaxpr, those of inner jaxprs included."""
    total = 0
    for eqn in getattr(closed, "jaxpr", closed).eqns:
        total += 1
        for inner in core.jaxprs_in_params(eqn.params):
            total += count_equations(inner)
    return total
