"""What in a program depends on what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from functional_dl.avals import is_float
from functional_dl.jaxprs import Equation, Graph, Literal, open_jaxpr, prune

__all__ = ["dependent_outputs", "invariant_outputs", "made_of_alone"]


def dependent_outputs(closed: Any, active: Sequence[bool]) -> list[bool]:
    """Which outputs of a closed jaxpr are floating and depend on an ``active`` floating input."""
    live = {v for v, a in zip(closed.jaxpr.invars, active, strict=True) if a and is_float(v.aval)}
    for eqn in closed.jaxpr.eqns:
        if any(type(v) is not Literal and v in live for v in eqn.invars):
            live.update(v for v in eqn.outvars if is_float(v.aval))
    return [type(v) is not Literal and v in live for v in closed.jaxpr.outvars]


def made_of_alone(eqns: Iterable[Equation], variables: Iterable[Any]) -> set[Any]:
    """The variables that depend on nothing but ``variables``, which are among them."""
    alone = set(variables)
    for eqn in eqns:
        if not eqn.effects and all(type(v) is Literal or v in alone for v in eqn.invars):
            alone.update(eqn.outvars)
    return alone


def invariant_outputs(closed: Any, leading: int, first: int) -> tuple[Graph, list[int]]:
    """The outputs, from ``first`` on, that depend on nothing but the ``leading`` inputs.

    Returns:
      The graph that computes them from those inputs, and their positions among the outputs.
    """
    graph = open_jaxpr(closed)
    alone = made_of_alone(graph.eqns, [*graph.inputs[:leading], *graph.constvars])
    places = [i for i, v in enumerate(graph.outputs) if i >= first and type(v) is not Literal and v in alone]
    outputs = [graph.outputs[i] for i in places]
    eqns = prune(graph.eqns, outputs, effects=False)
    return Graph(graph.inputs[:leading], outputs, eqns, graph.constvars, graph.consts), places
