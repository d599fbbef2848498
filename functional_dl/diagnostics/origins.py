"""What the values of a program come from: from which parameters, and whether from data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from functional_dl.jaxprs import Graph, Literal, open_jaxpr
from functional_dl.loops import scan_layout

__all__ = ["NOTHING", "Origin", "layer_weight", "loop_inputs", "origins", "unit_axis"]

# Contractions of two operands, and table look-ups, whose first operand is the table.
CONTRACTIONS = frozenset({"dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general"})
LOOKUPS = frozenset({"gather"})


class Origin(NamedTuple):
    """Where a value comes from.

    Attributes:
      params: the parameters it depends on, by their places among the leaves.
      scanned: those of them of which a loop takes one slice for each iteration.
      data: whether it depends on data, or on what a layer made of them.
      constant: whether it depends on what the loss closes over.
    """

    params: frozenset[int] = frozenset()
    scanned: frozenset[int] = frozenset()
    data: bool = False
    constant: bool = False

    @property
    def is_weight(self) -> bool:
        """Whether it is made of parameters and of no data."""
        return bool(self.params) and not self.data

    @property
    def is_input(self) -> bool:
        """Whether it is something that a layer can be applied to."""
        return self.data or not self.params


NOTHING = Origin()


def _joined(found: Iterable[Origin]) -> Origin:
    params: frozenset[int] = frozenset()
    scanned: frozenset[int] = frozenset()
    data = constant = False
    for origin in found:
        params, scanned = params | origin.params, scanned | origin.scanned
        data, constant = data or origin.data, constant or origin.constant
    return Origin(params, scanned, data, constant)


def layer_weight(eqn: Any, of: Sequence[Origin]) -> int | None:
    """Which operand makes an equation a layer: one made of parameters, where the other is not; ``None`` if none does.

    A contraction with a constant counts as well: data may be what a loss closes over.
    """
    kind = eqn.primitive.name
    if kind in LOOKUPS:
        return 0 if of[0].is_weight and of[1].is_input and (of[1].data or of[1].constant) else None
    if kind in CONTRACTIONS:
        for own, other in ((0, 1), (1, 0)):
            if of[own].is_weight and of[other].is_input:
                return own
    return None


def unit_axis(eqn: Any, weight: int) -> int:
    """The axis of a layer's output along which its units lie: the last free one of the weight, or the channels."""
    ndim = len(eqn.outvars[0].aval.shape)
    if eqn.primitive.name == "conv_general_dilated":
        return int(eqn.params["dimension_numbers"].out_spec[1])
    if eqn.primitive.name == "dot_general" and weight == 0:
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return max(len(eqn.invars[0].aval.shape) - len(contracted) - 1, 0)
    return max(ndim - 1, 0)


def origins(graph: Graph, inputs: Sequence[Origin]) -> dict[Any, Origin]:
    """Per variable of a program where it comes from, given that of its inputs."""
    found: dict[Any, Origin] = dict(zip(graph.inputs, inputs, strict=True))
    found.update((v, Origin(constant=True)) for v in graph.constvars)

    def of(v: Any) -> Origin:
        return NOTHING if type(v) is Literal else found[v]

    for eqn in graph.eqns:
        given = [of(v) for v in eqn.invars]
        if eqn.primitive.name == "scan":
            outs = _through_loop(eqn, given)
        elif eqn.primitive.name == "remat2":
            body = open_jaxpr(eqn.params["jaxpr"])
            inside = origins(body, given)
            outs = [NOTHING if type(v) is Literal else inside[v] for v in body.outputs]
        else:
            one = _joined(given)
            if layer_weight(eqn, given) is not None:
                one = one._replace(data=True)
            outs = [one] * len(eqn.outvars)
        found.update(zip(eqn.outvars, outs, strict=True))
    return found


def loop_inputs(eqn: Any, given: Sequence[Origin]) -> list[Origin]:
    """The origins of the inputs of a loop's body, whatever iteration it is in."""
    consts, carry = scan_layout(eqn.params)
    body = open_jaxpr(eqn.params["jaxpr"])
    xs = [origin._replace(scanned=origin.params) for origin in given[consts + carry :]]
    state = list(given[consts : consts + carry])
    while True:
        inputs = [*given[:consts], *state, *xs]
        inside = origins(body, inputs)
        ends = [NOTHING if type(v) is Literal else inside[v] for v in body.outputs[:carry]]
        new = [_joined(pair) for pair in zip(state, ends, strict=True)]
        if new == state:
            return inputs
        state = new


def _through_loop(eqn: Any, given: Sequence[Origin]) -> list[Origin]:
    body = open_jaxpr(eqn.params["jaxpr"])
    inside = origins(body, loop_inputs(eqn, given))
    outs = [NOTHING if type(v) is Literal else inside[v] for v in body.outputs]
    return [origin._replace(scanned=frozenset()) for origin in outs]
