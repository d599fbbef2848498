"""Which activation is applied to a value of a program: found from the equations that read it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from functional_dl.diagnostics.elementwise import inner_program, is_elementwise, steepness, title, uniform
from functional_dl.jaxprs import Graph, Literal, is_float, prune

__all__ = ["Piece", "Uses", "applied"]

# Single operations that are activations as they stand; with others more of the program is looked at, since a sigmoid
# written by hand begins with `neg` and `exp`.
_WHOLE = frozenset({"tanh", "logistic", "max", "min", "clamp", "erf", "sin", "jit", "custom_jvp_call"})
_REDUCTIONS = frozenset({"reduce_sum", "reduce_max", "reduce_min"})
_MOVES = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "stop_gradient"})


class Piece(NamedTuple):
    """An activation applied to a value, or to a part of it along the last axis.

    Attributes:
      source: what it is applied to.
      output: what comes out.
      graph: the program from the one to the other.
      name: what the program calls it.
      steepest: sup |Φ'|; ``None`` where there is none.
    """

    source: Any
    output: Any
    graph: Graph
    name: str
    steepest: float | None


@dataclass(eq=False)
class Uses:
    """Who reads what in a program.

    Attributes:
      graph: the program.
      readers: per variable, the positions of the equations that read it.
      maker: per variable, the position of the equation that makes it.
      ends: the variables that the program returns.
      known: the variables that hold one number everywhere.
    """

    graph: Graph
    readers: dict[Any, list[int]] = field(default_factory=dict)
    maker: dict[Any, int] = field(default_factory=dict)
    ends: set[Any] = field(default_factory=set)
    known: set[Any] = field(default_factory=set)

    def __post_init__(self) -> None:
        for i, eqn in enumerate(self.graph.eqns):
            for v in dict.fromkeys(v for v in eqn.invars if type(v) is not Literal):
                self.readers.setdefault(v, []).append(i)
            self.maker.update(dict.fromkeys(eqn.outvars, i))
        self.ends = {v for v in self.graph.outputs if type(v) is not Literal}
        self.known = uniform(self.graph.eqns, zip(self.graph.constvars, self.graph.consts, strict=True))

    def only_reader(self, v: Any) -> Any:
        """The one equation that reads ``v``, if it is one and the program does not return ``v``."""
        readers = self.readers.get(v, [])
        return self.graph.eqns[readers[0]] if len(readers) == 1 and v not in self.ends else None

    def is_fixed(self, v: Any) -> bool:
        """Whether an atom holds one known number everywhere."""
        return type(v) is Literal or v in self.known


def applied(uses: Uses, a: Any, axis: int) -> tuple[Piece, ...]:
    """What is applied to the value ``a``: an activation, one for each part of it along the last axis, or nothing.

    Its units lie along ``axis``.

    An activation is the largest part of the program that is a function of the entries of ``a``, each by itself, and of
    nothing else: all that reads them further on reads its result.  Where ``a`` is normalised first (batch, layer,
    group norm, or a scale and a shift for each channel), it is what is applied to the result of that.
    """
    if not is_float(a.aval):
        return ()
    if piece := _activation(uses, a):
        return (piece,)
    return (_pieces(uses, a) if axis == len(a.aval.shape) - 1 else ()) or _beyond_norm(uses, a, axis)


def _in_order(queue: list[int]) -> Iterator[int]:
    """The places in the queue, each once and in the program's order; more may be pushed meanwhile."""
    heapq.heapify(queue)
    done = set()
    while queue:
        i = heapq.heappop(queue)
        if i not in done:
            done.add(i)
            yield i


def _alone(uses: Uses, a: Any) -> tuple[set[Any], list[Any]]:
    """The variables that are functions of the entries of ``a`` alone, and the equations that make them, in order."""
    alone, eqns = {a}, []
    queue = list(uses.readers.get(a, []))
    for i in _in_order(queue):
        eqn = uses.graph.eqns[i]
        if is_elementwise(eqn) and all(v in alone if type(v) is not Literal else True for v in eqn.invars
                                       if not uses.is_fixed(v)):  # fmt: skip
            alone.update(eqn.outvars)
            eqns.append(eqn)
            for v in eqn.outvars:
                for j in uses.readers.get(v, []):
                    heapq.heappush(queue, j)
    return alone, eqns


def _activation(uses: Uses, a: Any) -> Piece | None:
    """The activation that is applied to ``a`` itself."""
    only = uses.only_reader(a)
    whole = only is not None and only.primitive.name in _WHOLE and is_elementwise(only)
    if whole and all(v is a or uses.is_fixed(v) for v in only.invars) and (piece := _piece(uses, a, only.outvars[0])):
        return piece
    alone, eqns = _alone(uses, a)
    inside = {id(eqn) for eqn in eqns}

    def leaves(v: Any) -> bool:
        return v in uses.ends or any(id(uses.graph.eqns[i]) not in inside for i in uses.readers.get(v, []))

    frontier = {v for v in alone if leaves(v)}
    if not eqns or a in frontier or not frontier:
        return None
    for eqn in reversed(eqns):
        h = eqn.outvars[0]
        if is_float(h.aval) and h.aval.shape == a.aval.shape and frontier <= _alone(uses, h)[0]:
            return _piece(uses, a, h)
    return None


def _piece(uses: Uses, a: Any, h: Any) -> Piece | None:
    """The function from ``a`` to ``h``, unless it is a scale and a shift only."""
    graph = uses.graph
    eqns = prune(graph.eqns[: uses.maker[h] + 1], [h], known={a})
    read = {v for eqn in eqns for v in eqn.invars if type(v) is not Literal}
    constants = [(v, x) for v, x in zip(graph.constvars, graph.consts, strict=True) if v in read]
    phi = Graph([a], [h], eqns, [v for v, _ in constants], [x for _, x in constants])
    steepest, linear = steepness(phi)
    if steepest is None and all(kind in _REDUCTIONS for kind in _reader_kinds(uses, h)):
        return None  # a square that is summed up is a loss, no activation
    return None if linear else Piece(a, h, phi, title([e for e in eqns if not _is_constant(uses, e)]), steepest)


def _reader_kinds(uses: Uses, v: Any) -> list[str]:
    return [uses.graph.eqns[i].primitive.name for i in uses.readers.get(v, [])]


def _is_constant(uses: Uses, eqn: Any) -> bool:
    return all(uses.is_fixed(v) for v in eqn.invars)


def _pieces(uses: Uses, a: Any) -> tuple[Piece, ...]:
    """Activations of the parts of ``a`` along its last axis, as of the gates of an LSTM, in their order."""
    if not a.aval.shape or a in uses.ends:
        return ()
    parts: dict[int, list[Any]] = {}
    for i in uses.readers.get(a, []):
        cut = _cut(uses.graph.eqns[i])
        if cut is None:
            return ()
        for start, v in cut:
            if v in uses.readers:
                parts.setdefault(start, []).append(v)
    end, found = 0, []
    for start, variables in sorted(parts.items()):
        piece = _activation(uses, variables[0]) if len(variables) == 1 else None
        if piece is None or start != end:
            return ()
        end += variables[0].aval.shape[-1]
        found.append(piece)
    return tuple(found) if end == a.aval.shape[-1] else ()


def _cut(eqn: Any) -> list[tuple[int, Any]] | None:
    """Where the parts begin that an equation cuts out of its operand along the last axis; ``None`` if it does else."""
    whole, params = eqn.invars[0].aval.shape, eqn.params
    last = len(whole) - 1
    if eqn.primitive.name == "split" and params["axis"] == last:
        starts = [sum(map(int, params["sizes"][:k])) for k in range(len(eqn.outvars))]
        return list(zip(starts, eqn.outvars, strict=True))
    if eqn.primitive.name == "slice" and params["strides"] is None:
        starts, ends = params["start_indices"], params["limit_indices"]
        if all(a == 0 and b == n for a, b, n in zip(starts[:-1], ends[:-1], whole[:-1], strict=True)):
            return [(starts[-1], eqn.outvars[0])]
    return None


class _State(NamedTuple):
    """How a variable depends on the value: through a reduction (a mean), and through a root (of a variance)."""

    reduced: bool = False
    rooted: bool = False


def _beyond_norm(uses: Uses, a: Any, axis: int) -> tuple[Piece, ...]:
    """The activation that is applied to ``a`` normalised: followed through means and variances of ``a``, and what has
    one number for each channel; not through a sum with, or a product of, other values of its size."""
    if not a.aval.shape:
        return ()
    shape, width = a.aval.shape, a.aval.shape[axis]
    states: dict[Any, _State] = {a: _State()}
    queue = list(uses.readers.get(a, []))
    for i in _in_order(queue):
        eqn = uses.graph.eqns[i]
        kind = eqn.primitive.name
        if kind not in _REDUCTIONS | _MOVES and not is_elementwise(eqn):
            continue
        if inner_program(eqn) is not None and eqn.outvars[0].aval.shape == shape:
            continue  # an activation, though not of the normalised value alone
        own = [states[v] for v in eqn.invars if type(v) is not Literal and v in states]
        others = [v for v in eqn.invars if type(v) is not Literal and v not in states]
        if any(_own_size(uses, v) > width for v in others):
            continue
        reduced, rooted = any(s.reduced for s in own), any(s.rooted for s in own)
        state = _State(reduced or kind in _REDUCTIONS, rooted or (reduced and kind in ("rsqrt", "sqrt")))
        z = eqn.outvars[0]
        states[z] = state
        alike = z.aval.shape == shape and is_float(z.aval)
        if alike and state.rooted >= state.reduced and (piece := _activation(uses, z)):
            return (piece,)
        for j in uses.readers.get(z, []):
            heapq.heappush(queue, j)
    return ()


def _own_size(uses: Uses, v: Any) -> int:
    """How many entries a value has before it is broadcast."""
    while v in uses.maker:
        eqn = uses.graph.eqns[uses.maker[v]]
        if eqn.primitive.name not in _MOVES | {"convert_element_type"}:
            break
        v = eqn.invars[0]
        if type(v) is Literal:
            return 1
    return int(v.aval.size)
