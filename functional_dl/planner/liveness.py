"""Liveness: how many bytes of intermediates are alive at each equation of a program, as a compiler would hold them.

Equations run in order; a value is alive from the equation that makes it to the last that reads it.  What a compiler
fuses takes no memory of its own: an elementwise value whose only readers are elementwise or reductions is computed
where it is read, so that what *it* was made of stays alive until then.  Inputs and outputs of the program are not
intermediates, and the memory of an output serves others until the output is made.  These are XLA's habits on a CPU,
which turns operands of contractions round in copies; ``python -m benchmarks.memory`` compares with compiled programs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jax.extend import core

from functional_dl.jaxprs import Literal, Var, open_jaxpr
from functional_dl.loops import carried, scan_layout
from functional_dl.planner.graph import VIEWS, reads, size_of

__all__ = ["Loop", "Profile", "profile"]

_SPLATS = "broadcast_in_dim iota convert_element_type reduce_precision"
_LIGHT = """
    abs add add_any and ceil clamp complex conj copy eq floor ge gt imag is_finite le lt max min mul ne neg not
    one_minus_square or real round select_n sign square sub xor pad rev slice transpose
"""
_HEAVY = """
    acos acosh asin asinh atan atan2 atanh cbrt cos cosh digamma div erf erf_inv erfc exp exp2 expm1 integer_pow lgamma
    log log1p logistic nextafter population_count pow rem rsqrt shift_left shift_right_arithmetic shift_right_logical
    sin sinh sqrt tan tanh concatenate dynamic_slice split
"""
_REDUCTIONS = "reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor argmax argmin"

# Made where they are read, by each reader: cheaper than a load.
SPLATS = frozenset(_SPLATS.split())
# Computed where they are read, the light ones by each reader, the others by one alone.
LIGHT = frozenset(_LIGHT.split())
ELEMENTWISE = LIGHT | frozenset(_HEAVY.split())
# What may compute its operands where it reads them.
READ_FUSED = (VIEWS | SPLATS | ELEMENTWISE | frozenset(_REDUCTIONS.split())) - {"optimization_barrier"}


@dataclass(slots=True)
class Profile:
    """What is alive while a program runs.

    Attributes:
      live: bytes alive at each equation, those inside of it included.
      peak: the largest of them.
      place: the equation where it is; ``-1`` in a program without equations.
      spans: the variables that are counted, with the first and the last equation at which each is alive.
    """

    live: list[int] = field(default_factory=list)
    peak: int = 0
    place: int = -1
    spans: dict[Any, tuple[int, int]] = field(default_factory=dict)


def profile(eqns: Sequence[Any], free: Collection[Any], outputs: Iterable[Any], loop: Loop | None = None) -> Profile:
    """The memory that ``eqns`` need.

    Args:
      eqns: equations in order.
      free: variables that are alive all the time and not counted: inputs and constants.
      outputs: what the program returns: not counted either, since it is the caller's.
      loop: how the program is run again and again, if it is the body of a loop.
    """
    ends = _with_views(eqns, {v for v in outputs if type(v) is not Literal})
    readers: dict[Any, list[int]] = {}
    for i, eqn in enumerate(eqns):
        for v in dict.fromkeys(reads(eqn)):
            readers.setdefault(v, []).append(i)
    stacked = set() if loop is None else loop.stacked
    fused = _fused(eqns, readers, ends.difference(stacked))
    # What must be alive for a value to be read: itself, or what it is made of on the spot.
    sources: dict[Any, tuple[Any, ...]] = {}
    born: dict[Any, int] = {}
    last: dict[Any, int] = {}
    for i, eqn in enumerate(eqns):
        is_view = eqn.primitive.name in VIEWS
        needs = dict.fromkeys(s for v in reads(eqn) if v not in free for s in sources.get(v, (v,)))
        for k, v in enumerate(eqn.outvars):
            if v not in fused:
                born[v] = last[v] = i
            elif is_view:
                sources[v] = _sources_of(eqn.invars[k], sources, free)
            else:
                sources[v] = tuple(needs)
        if not is_view:  # a barrier reads nothing itself
            for s in needs:
                last[s] = i
    sizes = {v: size_of(v.aval) for v in born}
    counted = [v for v in born if v not in ends and sizes[v]]
    if loop is None:
        # An output's memory serves others until the output is made.
        hosted = _hosted(sizes, born, last, ends)
        counted = [v for v in counted if v not in hosted]
    else:
        counted += _of_loop(loop, eqns, readers, born, last, sizes, fused)
    overwritten = _overwritten(eqns, counted, born, last, sizes)
    change = [0] * (len(eqns) + 2)
    for v in counted:
        change[born[v]] += sizes[v]
        change[last[v] + 1] -= sizes[v]
    result, now = Profile(), 0
    for i, eqn in enumerate(eqns):
        now += change[i]
        here = now - overwritten.get(i, 0) + _inside(eqn)
        result.live.append(here)
        if here > result.peak:
            result.peak, result.place = here, i
    result.spans = {v: (born[v], last[v]) for v in counted}
    return result


@dataclass(frozen=True)
class Loop:
    """What a loop does with its body's inputs and outputs.

    Attributes:
      carried: outputs that are inputs of the next iteration, with these.
      sliced: inputs that are slices of whole arrays.
      stacked: outputs that are written into whole arrays.
    """

    carried: dict[Any, Any]
    sliced: set[Any]
    stacked: set[Any]


def _of_loop(
    loop: Loop,
    eqns: Sequence[Any],
    readers: dict[Any, list[int]],
    born: dict[Any, int],
    last: dict[Any, int],
    sizes: dict[Any, int],
    fused: Collection[Any],
) -> list[Any]:
    """The inputs and outputs of a loop's body that take memory of their own; their lives are entered in the tables."""
    found = []
    for v in loop.sliced:
        places = readers.get(v, [])
        if any(eqns[i].primitive.name not in READ_FUSED for i in places):  # cut out before it is read
            born[v], last[v], sizes[v] = places[0], places[-1], size_of(v.aval)
            found.append(v)
    for v in loop.stacked:
        if v in born and v not in fused and eqns[born[v]].primitive.name not in ELEMENTWISE:  # made, and then written
            found.append(v)
    for v, before in loop.carried.items():
        if v in born and readers.get(before, [-1])[-1] > born[v]:  # made while the last one is still read
            last[v] = len(eqns)
            found.append(v)
    return list(dict.fromkeys(found))


def _sources_of(v: Any, sources: dict[Any, tuple[Any, ...]], free: Collection[Any]) -> tuple[Any, ...]:
    return () if type(v) is Literal or v in free else sources.get(v, (v,))


def _with_views(eqns: Sequence[Any], ends: set[Any]) -> set[Any]:
    """``ends``, and what they are views of."""
    found = set(ends)
    for eqn in reversed(eqns):
        if eqn.primitive.name in VIEWS:
            for v, source in zip(eqn.outvars, eqn.invars, strict=False):
                if v in found and type(source) is not Literal:
                    found.add(source)
    return found


def _hosted(sizes: dict[Any, int], born: dict[Any, int], last: dict[Any, int], ends: Collection[Any]) -> set[Any]:
    """The values that find a place in the memory of outputs, the largest first, as XLA's buffer assignment does it."""
    largest = max((sizes[v] for v in sizes if v not in ends), default=0)
    floor = largest // 64  # smaller ones make no difference to the peak
    hosts = sorted((v for v in ends if sizes.get(v, 0) > floor), key=lambda v: sizes[v])
    taken: dict[Any, list[tuple[int, int]]] = {v: [(born[v], len(born) + len(sizes))] for v in hosts}
    hosted: set[Any] = set()
    if not hosts:
        return hosted
    for v in sorted((v for v in sizes if v not in ends and sizes[v] > floor), key=lambda v: -sizes[v]):
        begin, end = born[v], last[v]
        for host in hosts:
            if sizes[host] >= sizes[v] and all(end < a or b < begin for a, b in taken[host]):
                taken[host].append((begin, end))
                hosted.add(v)
                break
    return hosted


def _overwritten(
    eqns: Sequence[Any], counted: Sequence[Any], born: dict[Any, int], last: dict[Any, int], sizes: dict[Any, int]
) -> dict[int, int]:
    """Bytes of operands, per equation, that outputs are written over: they are read for the last time.

    An elementwise output is, and what a loop carries is written over what it started from.
    """
    made: dict[int, int] = {}
    dying: dict[int, int] = {}
    for i, eqn in enumerate(eqns):
        if eqn.primitive.name == "scan":
            made[i] = sum(size_of(v.aval) for v in carried(eqn))
    for v in counted:
        if eqns[born[v]].primitive.name in ELEMENTWISE:
            made[born[v]] = made.get(born[v], 0) + sizes[v]
        if last[v] > born[v]:
            dying[last[v]] = dying.get(last[v], 0) + sizes[v]
    return {i: min(size, dying.get(i, 0)) for i, size in made.items()}


def _fused(eqns: Sequence[Any], readers: dict[Any, list[int]], ends: Collection[Any]) -> set[Any]:
    """The variables that are never stored: each is computed where it is read."""
    fused: set[Any] = set()
    for eqn in eqns:
        name = eqn.primitive.name
        if name not in VIEWS and name not in SPLATS and name not in ELEMENTWISE:
            continue
        for v in eqn.outvars:
            if v in ends:
                continue
            kinds = [eqns[i].primitive.name for i in readers.get(v, ())]
            by_all = all(kind in READ_FUSED for kind in kinds)
            if name in VIEWS or (by_all and (name in SPLATS or name in LIGHT or len(kinds) <= 1)):
                fused.add(v)
    return fused


def _inside(eqn: Any) -> int:
    """Bytes that an equation takes beyond its operands and outputs: programs inside, and operands turned round."""
    name = eqn.primitive.name
    if name == "dot_general":
        (left, _), (batch, _) = eqn.params["dimension_numbers"]
        aval = eqn.invars[0].aval
        axes = [i for i in range(aval.ndim) if i not in batch]
        # A matrix can be read either way.
        return 0 if len(axes) <= 2 or sorted(left) == axes[-len(left) :] else size_of(aval)
    if name == "conv_general_dilated":
        numbers, n = eqn.params["dimension_numbers"], eqn.invars[0].aval.ndim
        spatial = tuple(range(1, n - 1))
        turned = 0 if numbers.lhs_spec == (0, n - 1, *spatial) else size_of(eqn.invars[0].aval)
        turned += 0 if numbers.rhs_spec == (n - 1, n - 2, *range(n - 2)) else size_of(eqn.invars[1].aval)
        return turned + (0 if numbers.out_spec == (0, n - 1, *spatial) else size_of(eqn.outvars[0].aval))
    if name == "scan":
        graph = open_jaxpr(eqn.params["jaxpr"])
        w, c = scan_layout(eqn.params)
        after = {v: before for v, before in zip(graph.outputs[:c], graph.inputs[w:], strict=False) if type(v) is Var}
        stacked = {v for v in graph.outputs[c:] if type(v) is Var}
        loop = Loop(after, set(graph.inputs[w + c :]), stacked)
        return profile(graph.eqns, {*graph.inputs, *graph.constvars}, graph.outputs, loop).peak
    inner = 0
    for jaxpr in core.jaxprs_in_params(eqn.params):
        graph = open_jaxpr(jaxpr)
        inner = max(inner, profile(graph.eqns, {*graph.inputs, *graph.constvars}, graph.outputs).peak)
    return inner
