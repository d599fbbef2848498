"""Rewrite a program so that it also says what its layers' values are like, and its backward what δ is there.

The norm of δ is read off the pass that goes by anyway: at each place stands an identity with a backward of its own,
`watch`, which passes the cotangent on and gives Σ δ² as the cotangent of a number beside it, its slot.  The gradient
with respect to the slots is then what was to be measured; no cotangent is added up or kept for it.  In a loop, each
iteration has its own slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from functional_dl.diagnostics.elementwise import slopes
from functional_dl.diagnostics.layers import Spot, opened, spots
from functional_dl.diagnostics.origins import NOTHING, Origin, loop_inputs, origins
from functional_dl.jaxprs import Builder, Graph, Literal, Var, close, evaluate, open_jaxpr, rename, trace
from functional_dl.loops import scan_layout

__all__ = ["Probe", "Probed", "probed", "squares"]


@dataclass(frozen=True)
class Probe:
    """A place of which something is measured.

    Attributes:
      spot: the place.
      times: the lengths of the loops round it, the outermost first.
      has_activation, has_slopes: whether these are measured besides the value.
      reverse: whether the innermost loop runs from its last iteration to its first.
    """

    spot: Spot
    times: tuple[int, ...]
    has_activation: bool
    has_slopes: bool
    reverse: bool = False

    @property
    def slot(self) -> Any:
        """The type of what Σ δ² is the cotangent of."""
        return jax.ShapeDtypeStruct(self.times, _wide(self.spot.at.aval.dtype))

    @property
    def count(self) -> int:
        """How many arrays the forward gives: Σ a², then Σ Φ(a)², then mean and maximum of |Φ'(a)|."""
        return 1 + self.has_activation + 2 * self.has_slopes


@dataclass(frozen=True)
class Probed:
    """A rewritten program.

    Attributes:
      graph: inputs and a slot for each probe → outputs and, probe after probe, what the forward measures.
      probes: in the order of the forward pass.
    """

    graph: Graph
    probes: tuple[Probe, ...]


def _wide(dtype: Any) -> Any:
    return jnp.finfo(jnp.promote_types(dtype, jnp.float32)).dtype  # of complex numbers, that of their parts


def squares(x: Any) -> jax.Array:
    """Σ |x|², in float32 or wider."""
    x = jnp.abs(x) if jnp.iscomplexobj(x) else x
    return jnp.sum(jnp.square(x.astype(_wide(x.dtype))))


@jax.custom_vjp
def watch(a: Any, slot: Any) -> Any:
    """``a``; the cotangent of ``slot`` is Σ |ā|²."""
    return a


def _watch_forward(a: Any, slot: Any) -> tuple[Any, None]:
    return a, None


def _watch_backward(_: None, ct: Any) -> tuple[Any, Any]:
    return ct, squares(ct)


watch.defvjp(_watch_forward, _watch_backward)


def probed(graph: Graph, given: Sequence[Origin], units: bool) -> Probed:
    """A program with probes at its layers and named values, those of its loops and checkpoints included.

    Args:
      graph: the program.
      given: where its inputs come from.
      units: whether the slopes of each unit are measured.
    """
    graph = opened(graph)
    return _rewritten(graph, given, units, ())


def _rewritten(
    graph: Graph, given: Sequence[Origin], units: bool, times: tuple[int, ...], reverse: bool = False
) -> Probed:
    found = origins(graph, given)
    due: dict[Any, list[Spot]] = {}  # by the variable after which they are measured
    for spot in spots(graph, given):
        due.setdefault(spot.at, []).append(spot)
    last: dict[int, list[tuple[Probe, Any]]] = {}
    maker = {v: i for i, eqn in enumerate(graph.eqns) for v in eqn.outvars}
    build = Builder()
    names: dict[Any, Any] = {}
    probes: list[Probe] = []
    slots: list[Any] = []
    outputs: dict[int, list[Any]] = {}

    def current(v: Any) -> Any:
        return v if type(v) is Literal else names.get(v, v)

    for i, eqn in enumerate(graph.eqns):
        inner = _inside(eqn, [NOTHING if type(v) is Literal else found[v] for v in eqn.invars], units, times, reverse)
        if inner is None:
            build.eqns += rename([eqn], names)
        else:
            program, within = inner
            own = [Var(jax.core.ShapedArray(p.slot.shape[len(times) :], p.slot.dtype)) for p in within]
            outs = build.splice(program, [*map(current, eqn.invars), *own], eqn.source_info)
            names.update(zip(eqn.outvars, outs, strict=False))
            rest = outs[len(eqn.outvars) :]
            for probe, slot in zip(within, own, strict=True):
                outputs[len(probes)], rest = rest[: probe.count], rest[probe.count :]
                probes.append(probe)
                slots.append(slot)
        for v in eqn.outvars:
            for spot in due.get(v, []):
                has_slopes = units and bool(v.aval.shape) and bool(spot.pieces) and all(
                    p.steepest is not None for p in spot.pieces)  # fmt: skip
                probe = Probe(spot, times, bool(spot.pieces), has_slopes, reverse)
                slot = Var(jax.core.ShapedArray((), probe.slot.dtype))
                watched = trace(lambda a, slot: [watch(a, slot)], v.aval, slot.aval)
                names[v] = build.splice(watched, [current(v), slot], eqn.source_info)[0]
                needed = max([i, *[maker[x] for p in spot.pieces for x in (p.source, p.output)]])
                last.setdefault(needed, []).append((probe, len(probes)))
                probes.append(probe)
                slots.append(slot)
        for probe, place in last.pop(i, []):
            spot = probe.spot
            read = [spot.at, *[x for p in spot.pieces for x in (p.source, p.output)]]
            outputs[place] = build.splice(_measured(probe), [current(v) for v in read], eqn.source_info)
    measured = [v for place in range(len(probes)) for v in outputs[place]]
    program = Graph(
        [*graph.inputs, *slots], [*map(current, graph.outputs), *measured], build.eqns,
        [*graph.constvars, *build.constvars], [*graph.consts, *build.consts],
    )  # fmt: skip
    return Probed(program, tuple(probes))


def _measured(probe: Probe) -> Graph:
    """The program from a value, and source and output of each activation, to what the forward measures."""
    spot = probe.spot

    def measure(a: Any, *ends: Any) -> list[Any]:
        found = [squares(a)]
        if probe.has_activation:
            found.append(jnp.asarray(sum(map(squares, ends[1::2]))))
        if probe.has_slopes:
            each = [_slopes(p.graph, z, p.steepest, spot.axis) for p, z in zip(spot.pieces, ends[::2], strict=True)]
            found += [jnp.concatenate(parts) for parts in zip(*each, strict=True)]
        return found

    return trace(measure, spot.at.aval, *[x.aval for p in spot.pieces for x in (p.source, p.output)])


def _slopes(phi: Graph, z: Any, steepest: Any, axis: int) -> tuple[Any, Any]:
    """(units,) each: mean and maximum of |Φ'(z)| over all axes but one, in shares of the steepest."""
    share = jnp.abs(slopes(phi, z)).astype(jnp.float32) / steepest
    axes = tuple(i for i in range(share.ndim) if i != axis)
    return jnp.mean(share, axes), jnp.max(share, axes)


def _inside(
    eqn: Any, given: Sequence[Origin], units: bool, times: tuple[int, ...], reverse: bool
) -> tuple[Graph, tuple[Probe, ...]] | None:
    """The program of a loop or a checkpoint with probes inside: its operands and slots to its outputs and what is
    measured; ``None`` if there is nothing to measure."""
    if eqn.primitive.name == "scan":
        body = opened(open_jaxpr(eqn.params["jaxpr"]))
        length, backwards = eqn.params["length"], eqn.params["reverse"]
        inner = _rewritten(body, loop_inputs(eqn, given), units, (*times, length), backwards)
        return (_loop(eqn, inner.graph), inner.probes) if inner.probes else None
    if eqn.primitive.name == "remat2":
        body = opened(open_jaxpr(eqn.params["jaxpr"]))
        inner = _rewritten(body, given, units, times, reverse)
        return (_checkpoint(eqn, inner.graph), inner.probes) if inner.probes else None
    return None


def _loop(eqn: Any, body: Graph) -> Graph:
    """A loop over another body, which has scanned inputs and stacked outputs more."""
    params = eqn.params
    w, c = scan_layout(params)
    n, length = len(eqn.invars), params["length"]
    more = [jax.core.ShapedArray((length, *v.aval.shape), v.aval.dtype) for v in body.inputs[n:]]

    def run(*operands: Any) -> list[Any]:
        ws, cs, xs = operands[:w], operands[w : w + c], operands[w + c :]

        def step(carry: Any, x: Any) -> Any:
            outs = evaluate(body, [*ws, *carry, *x])
            return outs[:c], outs[c:]

        carry, ys = lax.scan(step, list(cs), list(xs), length, params["reverse"], params["unroll"])
        return [*carry, *ys]

    return trace(run, *[v.aval for v in eqn.invars], *more)


def _checkpoint(eqn: Any, body: Graph) -> Graph:
    """A checkpoint of another program, under the policy of the old one."""
    params = eqn.params
    inner = close(Graph([*body.constvars, *body.inputs], body.outputs, body.eqns)).jaxpr
    flags = params["prevent_cse"]
    if not isinstance(flags, bool):
        added = len(inner.invars) - len(body.constvars) - len(flags)
        flags = (*[False] * len(body.constvars), *flags, *[True] * added)

    def run(*operands: Any) -> list[Any]:
        return list(eqn.primitive.bind(*body.consts, *operands, **{**params, "jaxpr": inner, "prevent_cse": flags}))

    return trace(run, *[v.aval for v in body.inputs])
