"""Refs that a function creates while it is recorded: cells that hold a value, concrete or recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.extend import core
from jax.extend.source_info_util import current
from jax.ref import AbstractRef

from functional_dl.avals import zeros
from functional_dl.jaxprs import Graph, Var, evaluate, trace
from functional_dl.rules.refs import CREATORS, discharged

__all__ = ["RecordedRef", "on_refs"]


class RecordedRef(jax.core.Tracer):
    """A ref of the function under way; what it holds changes with every write."""

    __slots__ = ("_held",)

    def __init__(self, recorder: Any, value: Any) -> None:
        super().__init__(recorder, AbstractRef(jax.typeof(value)))
        self._held = value

    def to_concrete_value(self) -> Any:
        """Nothing: a ref is no array."""
        return None

    def _short_repr(self) -> str:
        return f"RecordedRef({self._held})"


def on_refs(recorder: Any, primitive: Any, tracers: Sequence[Any], params: dict[str, Any]) -> Any:
    """Run a primitive that creates a ref, or is given some, as one on their values."""
    if primitive.name in CREATORS:
        return RecordedRef(recorder, tracers[0] if tracers else zeros(params["ty"]))
    flags = [type(t) is RecordedRef for t in tracers]
    if primitive.name == "freeze":
        return tracers[0]._held
    if primitive.name == "free_ref":
        return []
    avals = [t.aval if f else jax.typeof(t) for t, f in zip(tracers, flags, strict=True)]
    invars = [Var(a) for a in avals]
    outvars = [Var(a) for a in _out_avals(primitive, params, avals)]
    eqn = core.new_jaxpr_eqn(invars, outvars, primitive, params, core.no_effects, current())
    program = discharged(Graph(invars, list(outvars), [eqn]), flags)
    found = evaluate(program, [t._held if f else t for t, f in zip(tracers, flags, strict=True)])
    for t, x in zip([t for t, f in zip(tracers, flags, strict=True) if f], found[len(outvars) :], strict=True):
        t._held = x
    return found[: len(outvars)] if primitive.multiple_results else found[0]


def _out_avals(primitive: Any, params: dict[str, Any], avals: Sequence[Any]) -> Sequence[Any]:
    def run(*xs: Any) -> Any:
        out = primitive.bind(*xs, **params)
        return out if primitive.multiple_results else [out]

    return trace(run, *avals).out_avals
