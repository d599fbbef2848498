"""Give a backward what it reads from fewer kept values, by running cheap forward equations again.

What is made again is tied, by an `optimization_barrier`, to the cotangent that arrives where it is first read, one
group per stretch of the backward: else XLA's common-subexpression elimination would find the first computation, keep
its values after all, or make all of them at once.  Inside a loop's body no tie is needed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from typing import Any

from jax import lax
from jax.sharding import get_abstract_mesh

from functional_dl.avals import manual_type, mesh_of, tied
from functional_dl.jaxprs import Builder, Literal, Var, rename, trace
from functional_dl.planner.graph import reads
from functional_dl.planner.plan import values_to_keep

__all__ = ["remade"]


def remade(program: Any, free: Collection[Any], tie: bool) -> Any:
    """``program`` (a `functional_dl.autodiff.backward.Joint`) with a backward that reads as few bytes as it can.

    Args:
      program: the joint graph.
      free: forward variables that are at hand anyway.
      tie: whether to tie what is made again to the cotangents.
    """
    cts = {ct for ct in program.cotangents if ct is not None}
    made = cts.union(*[eqn.outvars for eqn in program.backward])
    ends = [g for g in program.gradients if g is not None and type(g) is not Literal]
    needed = dict.fromkeys(v for eqn in program.backward for v in reads(eqn) if v not in made)
    # What is itself a gradient stays, and what a `jax.checkpoint` starts from, or its policy keeps: the user's choice.
    pinned = {g for g in ends if g not in made}
    pinned.update(v for eqn in program.backward if eqn.primitive.name == "remat2" for v in reads(eqn) if v not in made)
    free = {*free, *program.constvars, *pinned}
    maker = {v: eqn for eqn in program.forward for v in eqn.outvars}
    at_hand = values_to_keep(maker, free, needed) | free
    again = [v for v in needed if v not in at_hand]
    if not again:
        return program
    backward, names = _interleave(program, again, at_hand, cts, tie)
    gradients = [g if g is None or type(g) is Literal else names.get(g, g) for g in program.gradients]
    return replace(program, backward=backward, gradients=gradients)


def _interleave(
    program: Any, again: list[Any], at_hand: set[Any], cts: set[Any], tie: bool
) -> tuple[list[Any], dict[Any, Any]]:
    """The backward with the equations of each group before the first equation that reads of it, and what was renamed.

    A group is what is missing of one stretch of the forward.
    """
    place = {v: i for i, eqn in enumerate(program.forward) for v in eqn.outvars}
    stretches = _stretches(program.forward, at_hand)
    wanted: dict[int, list[Any]] = {}
    for v in again:
        wanted.setdefault(stretches[place[v]], []).append(v)
    names: dict[Any, Any] = {}
    out: list[Any] = []
    # Cotangents, and what depends on them: a tie to anything else would let the group float to the front.
    arrived = set(cts)
    latest = next((ct for ct in program.cotangents if ct is not None), None)

    def absent(v: Any) -> bool:
        return v in place and v not in at_hand and v not in names

    for eqn in program.backward:
        while missing := [v for v in reads(eqn) if absent(v)]:
            chosen = wanted.pop(stretches[place[missing[0]]], missing)
            # What is made again may be made of what has been made again already.
            places: set[int] = set()
            stack = [v for v in chosen if absent(v)]
            while stack:
                i = place[stack.pop()]
                if i not in places:
                    places.add(i)
                    stack += [v for v in reads(program.forward[i]) if absent(v)]
            block, new = _copy([program.forward[i] for i in sorted(places)], names)
            if tie and latest is not None:
                block, names[latest] = _tie(block, new, names.get(latest, latest))
            out += block
            names.update(new)
        out += rename([eqn], names)
        if not arrived.isdisjoint(reads(eqn)):
            arrived.update(eqn.outvars)
            latest = eqn.outvars[0] if eqn.outvars else latest
    return out, names


def _stretches(forward: list[Any], at_hand: set[Any]) -> list[int]:
    """For each equation of the forward, its stretch: a new one begins after every equation whose output is kept."""
    stretches, now = [], 0
    for eqn in forward:
        stretches.append(now)
        now += any(v in at_hand for v in eqn.outvars)
    return stretches


def _copy(eqns: list[Any], names: dict[Any, Any]) -> tuple[list[Any], dict[Any, Any]]:
    """``eqns`` over new variables, and what those are called."""
    new: dict[Any, Any] = {}
    block = []
    for eqn in eqns:
        invars = [v if type(v) is Literal else new.get(v, names.get(v, v)) for v in eqn.invars]
        outvars = []
        for v in eqn.outvars:
            new[v] = w = Var(v.aval)
            outvars.append(w)
        block.append(eqn.replace(invars=invars, outvars=outvars))
    return block, new


@lru_cache(maxsize=64)
def _barrier(mesh: Any) -> Any:
    """An `optimization_barrier` equation, as JAX makes them on the mesh that is current."""
    (eqn,) = trace(lambda x: lax.optimization_barrier([x]), 0.0).eqns
    return eqn


def _tie(block: list[Any], new: dict[Any, Any], ct: Any) -> tuple[list[Any], Any]:
    """Put what ``block`` reads from outside behind a barrier together with ``ct``."""
    inside = set(new.values())
    through = [*dict.fromkeys(v for eqn in block for v in reads(eqn) if v not in inside), ct]
    if len({manual_type(v.aval) for v in through}) == 1:
        read = [Var(v.aval) for v in through]
        with mesh_of(ct.aval):
            eqns = [_barrier(get_abstract_mesh()).replace(invars=through, outvars=read)]
    else:
        build = Builder()
        read = build.splice(trace(lambda *xs: tied(xs), *[v.aval for v in through]), through)
        eqns = build.eqns
    return [*eqns, *rename(block, dict(zip(through[:-1], read[:-1], strict=True)))], read[-1]
