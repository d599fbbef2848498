"""Find the layers of a program: contractions of data with parameters, biases added, and what the user named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from functional_dl.diagnostics.activations import Piece, Uses, applied
from functional_dl.diagnostics.elementwise import inner_program, is_elementwise
from functional_dl.diagnostics.origins import Origin, layer_weight, origins, unit_axis
from functional_dl.jaxprs import Builder, Graph, is_float, open_jaxpr, prune, rename
from functional_dl.jaxprs import Literal as Number
from functional_dl.rules.calls import unstated_sharding
from functional_dl.sources import source_line

__all__ = ["Spot", "opened", "spots"]

_SHAPE_ONLY = frozenset({"reshape", "transpose", "squeeze", "expand_dims", "convert_element_type", "name", "copy",
                         "copy_p", "rev", "reduce_precision"})  # fmt: skip
_SUMS = frozenset({"add", "sub", "add_any"})


@dataclass(eq=False)
class Spot:
    """A value of a program that is to be measured.

    Attributes:
      kind: whether a layer makes it or the user named it.
      at: the variable that holds it.
      weights: the parameters that data are contracted with, by their places among the leaves.
      biases: those that are added.
      stacked: whether a loop takes a slice of a weight for each iteration.
      line: the user's line.
      label: the name that the user gave.
      axis: along which its units lie.
      pieces: the activations that are applied to it.
    """

    kind: Literal["layer", "named"]
    at: Any
    line: str
    weights: frozenset[int] = frozenset()
    biases: frozenset[int] = frozenset()
    stacked: bool = False
    label: str = ""
    axis: int = 0
    pieces: tuple[Piece, ...] = ()
    loose: bool = field(default=False, repr=False)  # whether a reshape has been followed that divides channels


def opened(graph: Graph) -> Graph:
    """A program without what nothing reads, and with the programs of its compiled calls in their place.

    Left as they are: calls that state shardings, and those that are one function of one array's entries, such as
    `jax.nn.silu`, whose name says what it is.
    """
    build = Builder()
    names: dict[Any, Any] = {}

    def current(v: Any) -> Any:
        return v if type(v) is Number else names.get(v, v)

    for eqn in prune(graph.eqns, graph.outputs):
        if _opens(eqn):
            outs = build.splice(opened(open_jaxpr(inner_program(eqn))), [current(v) for v in eqn.invars])
            names.update(zip(eqn.outvars, outs, strict=True))
        else:
            build.eqns += rename([eqn], names)
    outputs = [current(v) for v in graph.outputs]
    constvars, consts = [*graph.constvars, *build.constvars], [*graph.consts, *build.consts]
    return Graph(graph.inputs, outputs, prune(build.eqns, outputs), constvars, consts)


def _opens(eqn: Any) -> bool:
    if eqn.primitive.name == "closed_call":
        return True
    if eqn.primitive.name != "jit":
        return False
    params = eqn.params
    if any(s is not unstated_sharding() for s in (*params["in_shardings"], *params["out_shardings"])):
        return False
    arrays = [v for v in eqn.invars if v.aval.shape]
    return not (len(arrays) == 1 and is_elementwise(eqn))


def spots(graph: Graph, given: Sequence[Origin]) -> list[Spot]:
    """The layers and named values of an opened program, in the order in which it makes them.

    Those of loops and checkpoints inside are not among them: these are programs of their own.

    Args:
      graph: the program.
      given: where its inputs come from.
    """
    found, uses = origins(graph, given), Uses(graph)

    def of(v: Any) -> Origin:
        return Origin() if type(v) is Number else found[v]

    tips: dict[Any, Spot] = {}
    made: list[Spot] = []
    for eqn in graph.eqns:
        kind, operands = eqn.primitive.name, [of(v) for v in eqn.invars]
        weight = layer_weight(eqn, operands)
        if weight is not None and is_float(eqn.outvars[0].aval):
            own, axis = operands[weight], unit_axis(eqn, weight)
            spot = Spot("layer", eqn.outvars[0], source_line(eqn), own.params, stacked=bool(own.scanned), axis=axis)
            tips[eqn.outvars[0]] = spot
            made.append(spot)
            continue
        if kind == "name" and is_float(eqn.outvars[0].aval):
            last = max(len(eqn.outvars[0].aval.shape) - 1, 0)
            made.append(Spot("named", eqn.outvars[0], source_line(eqn), label=str(eqn.params["name"]), axis=last))
        open_tips = [tips[v] if type(v) is not Number and v in tips and uses.only_reader(v) is eqn else None
                     for v in eqn.invars]  # fmt: skip
        if kind in _SHAPE_ONLY and open_tips[0] is not None:
            spot, out = open_tips[0], eqn.outvars[0]
            # A reshape that divides or merges channels is followed, but made the place only if a bias comes after it.
            followed = _followed(eqn, spot.axis)
            spot.loose = spot.loose or followed is None or not is_float(out.aval)
            spot.at, spot.axis = (spot.at, spot.axis) if spot.loose else (out, followed or 0)
            tips[out] = spot
        elif kind in _SUMS and len(eqn.invars) == 2:
            _add(eqn, open_tips, operands, tips, made)
    for spot in made:
        spot.pieces = applied(uses, spot.at, spot.axis)
    return sorted(made, key=lambda spot: uses.maker[spot.at])


def _add(
    eqn: Any, summands: Sequence[Spot | None], operands: Sequence[Origin], tips: dict[Any, Spot], made: list[Spot]
) -> None:
    """A sum: of two layers, which are one then; or of a layer and a bias."""
    one, other = summands
    out = eqn.outvars[0]
    if one is not None and other is not None and one is not other:
        one.weights, one.biases = one.weights | other.weights, one.biases | other.biases
        one.stacked = one.stacked or other.stacked
        made.remove(other)
        spot = one
    elif one is not None and operands[1].is_weight:
        spot, one.biases = one, one.biases | operands[1].params
    elif other is not None and operands[0].is_weight:
        spot, other.biases = other, other.biases | operands[0].params
    else:
        return
    if spot.loose:
        spot.axis = max(len(out.aval.shape) - 1, 0)
    spot.at, spot.loose = out, False
    tips[out] = spot


def _followed(eqn: Any, axis: int) -> int | None:
    """Where an axis lies after an operation that only changes the shape; ``None`` if it is divided or merged."""
    before, after = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    if eqn.primitive.name == "transpose":
        return list(eqn.params["permutation"]).index(axis)
    if before == after:
        return axis
    return len(after) - 1 if axis == len(before) - 1 and before[-1:] == after[-1:] else None
