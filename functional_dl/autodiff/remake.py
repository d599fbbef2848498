"""Give a backward what it reads from fewer kept values, by running forward equations again.

What is made again is tied, by an `optimization_barrier`, to the cotangent that arrives where it is first read, one
group per stretch of the backward: else XLA's common-subexpression elimination would find the first computation, keep
its values after all, or make all of them at once.  Inside a loop's body, where nothing would undo it, the tie still
orders the groups: without it those of one transformer block are all alive together (285 MiB instead of 281 of the
eight-layer network of ``python -m benchmarks.memory``).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from jax import lax
from jax.sharding import get_abstract_mesh

from functional_dl.autodiff.backward import Joint
from functional_dl.avals import manual_type, mesh_of, tied
from functional_dl.jaxprs import Builder, Literal, Var, prune, rename, rename_to, trace
from functional_dl.planner.chain import Keep, Split
from functional_dl.planner.graph import is_repeatable, reads
from functional_dl.planner.plan import values_to_keep

__all__ = ["Facts", "Remaking", "Stage", "facts_of", "remade"]


@dataclass(frozen=True)
class Facts:
    """What a plan has to know of a joint graph.

    Attributes:
      maker: per forward variable, the equation that makes it.
      read: the forward variables that each backward equation reads, in order, all together.
      free: the variables that are at hand all the time.
      cts: the cotangents that arrive.
    """

    maker: dict[Any, Any]
    read: dict[Any, None]
    free: set[Any]
    cts: set[Any]


def facts_of(program: Joint, free: Collection[Any]) -> Facts:
    """The `Facts` of ``program``, where ``free`` are at hand anyway."""
    cts = {ct for ct in program.cotangents if ct is not None}
    made = cts.union(*[eqn.outvars for eqn in program.backward])
    read = dict.fromkeys(v for eqn in program.backward for v in reads(eqn) if v not in made)
    # What is itself a gradient stays, and what a `jax.checkpoint` starts from, or its policy keeps: the user's choice.
    pinned = {g for g in program.gradients if g is not None and type(g) is not Literal and g not in made}
    pinned.update(v for eqn in program.backward if eqn.primitive.name == "remat2" for v in reads(eqn) if v not in made)
    maker = {v: eqn for eqn in program.forward for v in eqn.outvars}
    return Facts(maker, read, {*free, *program.constvars, *pinned}, cts)


def remade(program: Joint, free: Collection[Any], rate: float) -> Joint:
    """``program`` with a backward that reads as few bytes as it can.

    Args:
      program: the joint graph.
      free: forward variables that are at hand anyway.
      rate: how many operations a byte is worth; see `functional_dl.planner.levels.Level`.
    """
    facts = facts_of(program, free)
    cheap = values_to_keep(facts.maker, facts.free, facts.read)
    kept = values_to_keep(facts.maker, facts.free, facts.read, rate) if rate else cheap
    stage = Stage(program.backward, {0: kept}, cheap, set())
    return Remaking(program, facts, [stage]).follow(Keep(0, 0, None))


@dataclass(frozen=True)
class Stage:
    """A segment of a program, as its backward is made.

    Attributes:
      backward: its backward equations.
      kept: per option, what stays of its forward.
      basis: what its backward makes again first, so that the rest is cheap.
      state: what has to be at hand to run it.
    """

    backward: Sequence[Any]
    kept: Mapping[int, Collection[Any]]
    basis: Collection[Any]
    state: Collection[Any]


class Remaking:
    """A backward under construction, whose equations read what a schedule leaves at hand, or makes again.

    A scope is a dictionary: the forward variables that are at hand besides those that are free, and what each is
    called.
    """

    def __init__(self, program: Joint, facts: Facts, stages: Sequence[Stage]) -> None:
        self._program, self._stages, self._free = program, stages, facts.free
        self._place = {v: i for i, eqn in enumerate(program.forward) for v in eqn.outvars}
        self._renamed: dict[Any, Any] = {}  # cotangents, once they have gone through a tie
        self._arrived = set(facts.cts)  # cotangents, and what depends on them: a tie to anything else would float
        self._latest = next((ct for ct in program.cotangents if ct is not None), None)
        self._eqns: list[Any] = []
        self._inputs = set(program.inputs)
        self._waiting: dict[Any, Any] = {}  # equations that no cotangent reaches, by what they make
        self._tied: set[Any] = set()  # of the segment under way, what has gone through a tie

    def follow(self, schedule: Keep | Split) -> Joint:
        """The program whose backward follows ``schedule``."""
        self._run(schedule, {}, True)
        ends = [g for g in self._program.gradients if g is not None and type(g) is not Literal]
        for eqn in self._awaited(ends):
            self._add([eqn], reads(eqn), {})
        gradients = [g if g is None or type(g) is Literal else self._renamed.get(g, g) for g in self._program.gradients]
        return replace(self._program, backward=self._eqns, gradients=gradients)

    def alone(self, number: int, option: int) -> list[Any]:
        """The backward equations of one segment, with its state and what its option keeps at hand."""
        stage = self._stages[number]
        self._latest = None
        for eqn in stage.backward:
            self._latest = self._latest or next((v for v in reads(eqn) if v not in self._place), None)
        self._arrived = {v for eqn in stage.backward for v in reads(eqn) if v not in self._place}
        self._segment(stage, {v: v for v in (*stage.state, *stage.kept[option])})
        return self._eqns

    def _run(self, node: Keep | Split | None, scope: dict[Any, Any], first: bool) -> None:
        """Go through the segments of ``node``; ``first`` if the forward is under way, and need not run again."""
        if node is None:
            return
        if isinstance(node, Split):
            self._run(node.right, self._reached(self._stages[node.at].state, scope, first), first)
            self._run(node.left, scope, False)
            return
        stage = self._stages[node.segment]
        made = [*stage.kept[node.option]]
        if node.rest is not None:
            made += self._stages[node.segment + 1].state
        inner = self._reached(made, scope, first)
        self._run(node.rest, inner, first)
        self._segment(stage, inner)

    def _reached(self, variables: Iterable[Any], scope: dict[Any, Any], first: bool) -> dict[Any, Any]:
        """The scope once the forward has run as far as to make ``variables``."""
        missing = [v for v in variables if self._absent(v, scope)]
        return {**scope, **({v: v for v in missing} if first else self._made(missing, scope))}

    def _absent(self, v: Any, scope: Mapping[Any, Any]) -> bool:
        return v in self._place and v not in self._free and v not in scope

    def _segment(self, stage: Stage, scope: dict[Any, Any]) -> None:
        """Add the backward of one segment, each group of what it misses before the first equation that reads of it."""
        scope = dict(scope)
        self._tied = set()
        wanted = dict.fromkeys(v for eqn in stage.backward for v in reads(eqn) if self._absent(v, scope))
        scope.update(self._made([v for v in stage.basis if self._absent(v, scope)], scope))
        # A group is what is missing of one stretch of the forward; one begins after every value that is at hand.
        stops = sorted({i for v, i in self._place.items() if v in self._free or v in scope})
        groups: dict[int, list[Any]] = {}
        for v in wanted:
            groups.setdefault(bisect_right(stops, self._place[v] - 1), []).append(v)
        for eqn in stage.backward:
            read = reads(eqn)
            if self._arrived.isdisjoint(read) and not eqn.effects and eqn.outvars:
                self._waiting.update(dict.fromkeys(eqn.outvars, eqn))
                continue
            eqns = self._awaited(read) if self._waiting else []
            for e in eqns:
                read += reads(e)
            if wanted:
                while missing := [v for v in read if v in wanted and v not in scope]:
                    chosen = groups.pop(bisect_right(stops, self._place[missing[0]] - 1), missing)
                    scope.update(self._made(chosen, scope))
            self._add([*eqns, eqn], read, scope)

    def _awaited(self, variables: Iterable[Any]) -> list[Any]:
        """The equations, held back so far, that make ``variables``, in order.

        They read nothing but what the forward has left (weights turned round for a convolution, a comparison), and a
        compiler would run them as soon as that is there.
        """
        found: list[Any] = []
        for v in variables:
            eqn = self._waiting.pop(v, None)
            if eqn is not None:
                for w in eqn.outvars:
                    self._waiting.pop(w, None)
                found += [*self._awaited(reads(eqn)), eqn]
        return found

    def _add(self, eqns: Sequence[Any], read: Sequence[Any], scope: dict[Any, Any]) -> None:
        """Add the last of ``eqns``, which reads a cotangent, and those that it waited for; ``read`` is what they read.

        If it is costly, what they read of the forward goes through a tie to that cotangent, so that a compiler does not
        transpose it for a contraction as soon as it is there, and keep both.
        """
        last = eqns[-1]
        if not is_repeatable(last):
            arriving = next((v for v in reads(last) if v in self._arrived), None)
            left = [v for v in dict.fromkeys(read) if v not in self._tied and self._is_left(v, scope)]
            if left and arriving is not None:
                ct = self._renamed.get(arriving, arriving)
                block, names, self._renamed[arriving] = _through([scope.get(v, v) for v in left], ct)
                self._eqns += block
                scope.update(zip(left, names, strict=True))
                self._tied.update(left)
        renamed = self._renamed
        for eqn in eqns:
            invars = [v if type(v) is Literal else scope[v] if v in scope else renamed.get(v, v) for v in eqn.invars]
            same = all(a is b for a, b in zip(invars, eqn.invars, strict=True))
            self._eqns.append(eqn if same else rename_to(eqn, invars))
        if not self._arrived.isdisjoint(read):
            self._arrived.update(last.outvars)
            self._latest = last.outvars[0] if last.outvars else self._latest

    def _is_left(self, v: Any, scope: Mapping[Any, Any]) -> bool:
        """Whether ``v`` is a value of the forward, or an input."""
        return v in scope or v in self._place or v in self._inputs

    def _made(self, chosen: Iterable[Any], scope: Mapping[Any, Any]) -> dict[Any, Any]:
        """Add equations that make the variables ``chosen`` again; what those are called.

        What is made on the way is not at hand afterwards: it would have to stay until it is read.
        """
        missing = [v for v in chosen if self._absent(v, scope)]
        if not missing:
            return {}
        block, new = _copy(self._needed(missing, scope), scope)
        if self._latest is not None:
            ct = self._renamed.get(self._latest, self._latest)
            inside = set(new.values())
            outside = [*dict.fromkeys(v for eqn in block for v in reads(eqn) if v not in inside)]
            tie, names, self._renamed[self._latest] = _through(outside, ct)
            block = [*tie, *rename(block, dict(zip(outside, names, strict=True)))]
        self._eqns += block
        return {v: new[v] for v in missing}

    def _needed(self, missing: Sequence[Any], scope: Mapping[Any, Any]) -> list[Any]:
        """The forward equations that make ``missing`` of what is at hand, in order."""
        program = self._program
        forward = program.forward
        found: set[int] = set()
        plain: dict[int, Any] = {}  # equations run as they are, by where they end
        wanted: dict[int, set[Any]] = {}
        stack = list(missing)
        while stack:
            v = stack.pop()
            i = self._place[v]
            structural = program.structural.get(program.places[i])
            if structural is not None and structural.is_plain:
                group = wanted.setdefault(program.places[i], set())
                if not group:
                    stack += [u for u in reads(structural.eqn) if self._absent(u, scope)]
                group.add(v)
            elif i not in found:
                found.add(i)
                stack += [u for u in reads(forward[i]) if self._absent(u, scope)]
        for place, variables in wanted.items():
            begin, end = bisect_left(program.places, place), bisect_right(program.places, place)
            eqn = program.structural[place].eqn
            if variables.issubset(eqn.outvars):
                plain[begin] = eqn
            else:
                inside = {id(e) for e in prune(forward[begin:end], variables, effects=False)}
                found.update(i for i in range(begin, end) if id(forward[i]) in inside)
        return [plain[i] if i in plain else forward[i] for i in sorted(found.union(plain))]


def _copy(eqns: list[Any], names: Mapping[Any, Any]) -> tuple[list[Any], dict[Any, Any]]:
    """``eqns`` over new variables, and what those are called."""
    new: dict[Any, Any] = {}
    block = []
    for eqn in eqns:
        invars = [v if type(v) is Literal else new.get(v, names.get(v, v)) for v in eqn.invars]
        outvars = []
        for v in eqn.outvars:
            new[v] = w = Var(v.aval)
            outvars.append(w)
        block.append(rename_to(eqn, invars, outvars))
    return block, new


@lru_cache(maxsize=64)
def _barrier(mesh: Any) -> Any:
    """An `optimization_barrier` equation, as JAX makes them on the mesh that is current."""
    (eqn,) = trace(lambda x: lax.optimization_barrier([x]), 0.0).eqns
    return eqn


def _through(values: Sequence[Any], ct: Any) -> tuple[list[Any], list[Any], Any]:
    """Equations that put ``values`` behind a barrier together with ``ct``; what these and it are called then."""
    through = [*values, ct]
    if len({manual_type(v.aval) for v in through}) == 1:
        read = [Var(v.aval) for v in through]
        with mesh_of(ct.aval):
            return [rename_to(_barrier(get_abstract_mesh()), through, read)], read[:-1], read[-1]
    build = Builder()
    read = build.splice(trace(lambda *xs: tied(xs), *[v.aval for v in through]), through)
    return build.eqns, read[:-1], read[-1]
