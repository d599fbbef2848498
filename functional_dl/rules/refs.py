"""Refs as plain values: a program that writes into refs it creates, as one that passes new values on.

Reverse mode needs every value that it reads to stay what it was.  So before a program is differentiated, a read of a
ref (`jax.new_ref`) becomes a slice of its current value, a write makes a new value, and loops, branches and calls
that are given a ref take and return its value.  What JAX does to refs when it compiles is the same in effect.

Refs that come from outside stay: what happens to them is plumbing, and no cotangent goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax

from functional_dl.avals import zeros
from functional_dl.jaxprs import (
    Atom,
    Builder,
    Graph,
    Literal,
    Var,
    close,
    evaluate,
    open_jaxpr,
    rename,
    trace,
)
from functional_dl.loops import scan_layout
from functional_dl.rules.indexers import read, write
from functional_dl.rules.table import Call, RuleError, Spliced, refuse, structural
from functional_dl.sources import source_line

__all__ = ["CREATORS", "WRITERS", "discharged"]

CREATORS = frozenset({"new_ref", "empty_ref"})
WRITERS = frozenset({"swap", "addupdate"})

refuse(
    "the ref comes from outside the function that is differentiated, which cannot be told what it held; create the ref "
    "inside, or write only values whose gradient is stopped",
    "addupdate", "empty_ref", "free_ref", "freeze", "get", "new_ref", "swap",
)  # fmt: skip


def discharged(graph: Graph, flags: Sequence[bool] = ()) -> Graph:
    """``graph`` without the refs that it creates, and without those inputs that ``flags`` names.

    Such an input takes the ref's value, and its value at the end is returned after the outputs.
    """
    return _Discharge(graph, flags or [False] * len(graph.inputs)).result()


@structural("run_state")
def run_state(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """y = the values at the end of refs that start as x.   x̄ is the reverse pass of that."""
    graph = open_jaxpr(call.params["jaxpr"])
    return differentiate(close(discharged(graph, [True] * len(graph.inputs))), call.active, call.seeded).spliced()


class _Discharge:
    """One pass over a graph: equations rebuilt, and what each ref holds at that point."""

    def __init__(self, graph: Graph, flags: Sequence[bool]) -> None:
        self.build = Builder()
        self.names: dict[Any, Atom] = {}
        self.held: dict[Any, Atom] = {}
        self.graph = graph
        self.inputs = []
        for v, f in zip(graph.inputs, flags, strict=True):
            self.inputs.append(Var(v.aval.inner_aval) if f else v)
            if f:
                self.held[v] = self.inputs[-1]
        self.flagged = [v for v, f in zip(graph.inputs, flags, strict=True) if f]

    def result(self) -> Graph:
        for eqn in self.graph.eqns:
            self.step(eqn)
        outputs = [self.current(v) for v in self.graph.outputs] + [self.held[v] for v in self.flagged]
        return Graph(
            self.inputs,
            outputs,
            self.build.eqns,
            [*self.graph.constvars, *self.build.constvars],
            [*self.graph.consts, *self.build.consts],
        )

    def current(self, v: Atom) -> Atom:
        """What an operand is by now: of a ref that is discharged, its value."""
        if type(v) is Literal:
            return v
        return self.held[v] if v in self.held else self.names.get(v, v)

    def emit(self, eqn: Any, fun: Callable[..., Sequence[Any]], atoms: Sequence[Atom] | None = None) -> list[Atom]:
        """The equations of ``fun`` in the place of ``eqn``, on its operands (or on ``atoms``)."""
        atoms = [self.current(v) for v in eqn.invars] if atoms is None else list(atoms)
        variable = [i for i, v in enumerate(atoms) if type(v) is not Literal]

        def run(*values: Any) -> Sequence[Any]:
            full = [v.val if type(v) is Literal else None for v in atoms]
            for i, x in zip(variable, values, strict=True):
                full[i] = x
            return fun(*full)

        with eqn.ctx.manager:
            graph = trace(run, *[atoms[i].aval for i in variable])
        return self.build.splice(graph, [atoms[i] for i in variable], eqn.source_info)

    def step(self, eqn: Any) -> None:
        name = eqn.primitive.name
        flags = [type(v) is not Literal and v in self.held for v in eqn.invars]
        if name in CREATORS:
            (made,) = eqn.outvars
            value = [self.current(v) for v in eqn.invars] or self.emit(eqn, lambda: [zeros(made.aval.inner_aval)])
            self.held[made] = value[0]
        elif True not in flags:
            self.build.eqns += rename([eqn], self.names)
        elif name == "freeze":
            self.names[eqn.outvars[0]] = self.held.pop(eqn.invars[0])
        elif name == "free_ref":
            del self.held[eqn.invars[0]]
        elif name in _ACCESSES:
            outs = self.emit(eqn, lambda x, *operands: _ACCESSES[name](x, *operands, tree=eqn.params["tree"]))
            if name != "get":
                self.held[eqn.invars[0]] = outs.pop()
            self.names.update(zip(eqn.outvars, outs, strict=True))
        elif name in _CALLS:
            outs = self.emit(eqn, lambda *operands: _CALLS[name](eqn, flags, operands))
            self.names.update(zip(eqn.outvars, outs[: len(eqn.outvars)], strict=True))
            ends = [v for v, f in zip(eqn.invars, flags, strict=True) if f]
            self.held.update(zip(ends, outs[len(eqn.outvars) :], strict=True))
        else:
            raise RuleError(
                f"A ref is given to primitive '{name}' at {source_line(eqn)}; no gradient goes through refs there. "
                "Give it the ref's value, and write what comes back into the ref."
            )


# --- reading and writing ------------------------------------------------------------------------------------------

_ACCESSES: dict[str, Callable[..., list[Any]]] = {
    "get": lambda x, *leaves, tree: [read(x, jax.tree.unflatten(tree, leaves))],
    "swap": lambda x, y, *leaves, tree: [
        read(x, jax.tree.unflatten(tree, leaves)),
        write(x, jax.tree.unflatten(tree, leaves), y, add=False),
    ],
    "addupdate": lambda x, y, *leaves, tree: [write(x, jax.tree.unflatten(tree, leaves), y, add=True)],
}


# --- programs that are given refs: outputs, then the values of the refs at the end, in the order of the operands ----


def _call(eqn: Any, flags: Sequence[bool], operands: Sequence[Any]) -> Sequence[Any]:
    params = eqn.params
    program = next(params[key] for key in ("jaxpr", "call_jaxpr", "call", "fwd_jaxpr") if key in params)
    return evaluate(discharged(open_jaxpr(program), flags), operands)


def _remat(eqn: Any, flags: Sequence[bool], operands: Sequence[Any]) -> Sequence[Any]:
    graph = discharged(open_jaxpr(eqn.params["jaxpr"]), flags)
    program = close(Graph([*graph.constvars, *graph.inputs], graph.outputs, graph.eqns)).jaxpr
    prevent_cse = eqn.params["prevent_cse"]
    if not isinstance(prevent_cse, bool):
        prevent_cse = (*[False] * len(graph.consts), *prevent_cse)
    params = {**eqn.params, "jaxpr": program, "prevent_cse": prevent_cse}
    return eqn.primitive.bind(*graph.consts, *operands, **params)


def _cond(eqn: Any, flags: Sequence[bool], operands: Sequence[Any]) -> Sequence[Any]:
    programs = [discharged(open_jaxpr(branch), flags[1:]) for branch in eqn.params["branches"]]
    branches = [lambda *xs, g=g: evaluate(g, xs) for g in programs]
    return lax.switch(operands[0], branches, *operands[1:]) if len(branches) > 1 else branches[0](*operands[1:])


def _scan(eqn: Any, flags: Sequence[bool], operands: Sequence[Any]) -> Sequence[Any]:
    """A ref among the constants is carried; of one that is scanned over, each turn has a slice."""
    params = eqn.params
    w, c = scan_layout(params)
    program = discharged(open_jaxpr(params["jaxpr"]), flags)
    outs = len(eqn.outvars)
    carried = [i for i in range(w) if flags[i]]

    def turn(carry: Any, xs: Any) -> Any:
        cs, refs = carry
        now = list(operands[:w])
        for i, x in zip(carried, refs, strict=True):
            now[i] = x
        found = evaluate(program, [*now, *cs, *xs])
        ends = found[outs:]
        return (found[:c], ends[: len(carried)]), (found[c:outs], ends[len(carried) :])

    start = (list(operands[w : w + c]), [operands[i] for i in carried])
    length, reverse, unroll = params["length"], params["reverse"], params["unroll"]
    (cs, refs), (ys, slices) = lax.scan(turn, start, list(operands[w + c :]), length, reverse, unroll)
    return [*cs, *ys, *refs, *slices]


def _while(eqn: Any, flags: Sequence[bool], operands: Sequence[Any]) -> Sequence[Any]:
    """Refs are carried; one may be given to the condition and to the body."""
    params = eqn.params
    a, b = params["cond_nconsts"], params["body_nconsts"]
    refs = list(dict.fromkeys(v for v, f in zip(eqn.invars, flags, strict=True) if f))
    start = {v: x for v, x in zip(eqn.invars, operands, strict=True) if type(v) is not Literal and v in refs}
    test = discharged(open_jaxpr(params["cond_jaxpr"]), [*flags[:a], *flags[a + b :]])
    body = discharged(open_jaxpr(params["body_jaxpr"]), flags[a:])

    def given(first: int, last: int, held: dict[Any, Any]) -> list[Any]:
        return [held[eqn.invars[i]] if flags[i] else operands[i] for i in range(first, last)]

    def go_on(state: Any) -> Any:
        carry, values = state
        return evaluate(test, [*given(0, a, dict(zip(refs, values, strict=True))), *carry])[0]

    def turn(state: Any) -> Any:
        carry, values = state
        held = dict(zip(refs, values, strict=True))
        found = evaluate(body, [*given(a, a + b, held), *carry])
        written = [eqn.invars[i] for i in range(a, a + b) if flags[i]]
        held.update(zip(written, found[len(carry) :], strict=True))
        return found[: len(carry)], [held[v] for v in refs]

    carry, values = lax.while_loop(go_on, turn, (list(operands[a + b :]), [start[v] for v in refs]))
    held = dict(zip(refs, values, strict=True))
    return [*carry, *[held[v] for v, f in zip(eqn.invars, flags, strict=True) if f]]


_CALLS: dict[str, Callable[..., Sequence[Any]]] = {
    "closed_call": _call,
    "cond": _cond,
    "eval_jaxpr": _call,
    "jit": _call,
    "remat2": _remat,
    "scan": _scan,
    "while": _while,
}
