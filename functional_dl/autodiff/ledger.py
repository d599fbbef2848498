"""The ledger of a gradient: what its backward keeps and repeats, line by line, before anything is compiled."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

from functional_dl.autodiff.backward import Joint, joint
from functional_dl.autodiff.budget import differentiated, memory_of, schedule_of
from functional_dl.autodiff.halves import Differentiation
from functional_dl.autodiff.pullback import Rules
from functional_dl.autodiff.tracing import Flat, trace_function
from functional_dl.jaxprs import Graph, Literal, is_float
from functional_dl.loops import carried
from functional_dl.planner.graph import VIEWS, flops, reads, size_of
from functional_dl.planner.ledger import Account, Kept, Ledger, Read, Repeated, Span
from functional_dl.sources import source_line

__all__ = ["ledger"]


def ledger(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    memory: str | int = "auto",
    rules: Rules = None,
) -> Ledger:
    """What the gradient of ``fun`` keeps and repeats; nothing is compiled or run.

    Args:
      fun: a function with a floating output, as for `functional_dl.value_and_grad`.
      *args: its arguments; arrays may be given as `jax.ShapeDtypeStruct`.
      argnums: the positional argument(s) to differentiate with respect to.
      has_aux: whether ``fun`` returns ``(output, aux)``.
      memory: the policy, or the bytes that intermediates may take at the peak.
      rules: derivative rules in place of the table's.

    Returns:
      A `Ledger`; print it, or see `functional_dl.diagnostics.memory_report` for tables and a picture.

    Example:
      >>> import jax.numpy as jnp, functional_dl as fdl
      >>> book = fdl.ledger(lambda w, x: jnp.sum(jnp.tanh(x @ w) ** 2), jnp.ones((16, 32)), jnp.ones((64, 16)))
      >>> [(value.primitive, value.shape, value.size) for value in book.kept]
      [('dot_general', (64, 32), 8192)]
      >>> sorted({repeated.primitive for repeated in book.repeated})
      ['tanh']
    """
    differentiate = Differentiation.by(rules, memory)
    graph, wanted, seeded, paths = _traced(fun, args, argnums, has_aux, differentiate)
    program = differentiated(graph, wanted, seeded, differentiate)
    keep = joint(graph, wanted, seeded, differentiate.at(None))
    forward, backward = schedule_of(program)
    memory_used = memory_of(program)
    maker = {v: eqn for eqn in [*forward, *backward] for v in eqn.outvars}

    def is_alive(v: Any) -> bool:
        begin, end = memory_used.spans.get(v, (1, 0))
        return begin <= memory_used.place <= end

    def line(v: Any) -> str:
        """The line that made ``v``; of a sum of cotangents, that of the first of them."""
        found = ""
        while not found and v in maker:
            found = _line(program, v, maker[v])
            v = next(iter(reads(maker[v])), None)
        return found

    kept = [_kept(program, v, is_alive(v)) for v in _left(program)]
    named = dict(zip(program.inputs, paths, strict=True))
    inputs = [_input(program, v, named[v]) for v in program.inputs if _readers(program, v)]
    repeated: Counter[tuple[str, str]] = Counter()
    work: Counter[tuple[str, str]] = Counter()
    _repeats(program, 1, repeated, work)
    spans = [Span(line(v), *ends, size_of(v.aval)) for v, ends in memory_used.spans.items()]
    return Ledger(
        memory,
        _account(program, sum(work.values())),
        _account(keep, 0),
        tuple(sorted(kept, key=lambda value: -value.size)),
        tuple(sorted(inputs, key=lambda value: -value.size)),
        tuple(Repeated(line, name, repeated[line, name], n) for (line, name), n in work.most_common()),
        len(forward) + len(backward),
        len(forward),
        memory_used.place,
        tuple(sorted(spans, key=lambda span: (span.begin, span.end))),
        tuple(memory_used.live),
    )


def _traced(
    fun: Callable[..., Any], args: tuple[Any, ...], argnums: Any, has_aux: bool, differentiate: Differentiation
) -> tuple[Graph, list[bool], list[bool], list[str]]:
    """The program of ``fun``; which inputs are differentiated; which outputs have a cotangent; the inputs' paths."""
    chosen = {argnums % len(args)} if isinstance(argnums, int) else {n % len(args) for n in argnums}
    names = _argument_names(fun, len(args))
    flat, tree = tree_flatten_with_path(args)
    places = [i for i, (_, x) in enumerate(flat) if hasattr(x, "dtype") or isinstance(x, (int, float, complex))]
    paths = [names[path[0].idx] + keystr(path[1:]) for path, _ in (flat[i] for i in places)]
    wanted = [flat[i][0][0].idx in chosen for i in places]

    def run(*values: Any) -> Any:
        leaves = [x for _, x in flat]
        for i, value in zip(places, values, strict=True):
            leaves[i] = value
        return fun(*tree_unflatten(tree, leaves))

    held = Flat(run, jax.tree.structure(tuple(places)), has_aux)
    graph = trace_function(held, [flat[i][1] for i in places], differentiate)
    seeded = [i < held.out_count and is_float(v.aval) for i, v in enumerate(graph.outputs)]
    return graph, wanted, seeded, paths


def _argument_names(fun: Callable[..., Any], count: int) -> list[str]:
    try:
        names = [p.name for p in inspect.signature(fun).parameters.values() if p.kind is not p.VAR_KEYWORD]
    except (TypeError, ValueError):
        names = []
    return [names[i] if i < len(names) else f"args[{i}]" for i in range(count)]


def _left(program: Joint) -> list[Any]:
    """What stays from forward to backward; inputs, outputs, constants and views of them aside."""
    at_hand = {*program.inputs, *program.constvars, *[v for v in program.outputs if type(v) is not Literal]}
    made: set[Any] = set()
    for eqn in program.forward:
        if eqn.primitive.name in VIEWS and all(v in at_hand for v in reads(eqn)):
            at_hand.update(eqn.outvars)
        made.update(eqn.outvars)
    read = dict.fromkeys(v for eqn in program.backward for v in reads(eqn))
    return [v for v in read if v in made and v not in at_hand]


def _account(program: Joint, repeated: int) -> Account:
    forward, backward = schedule_of(program)
    return Account(
        sum(size_of(v.aval) for v in _left(program)),
        memory_of(program).peak,
        repeated,
        sum(flops(eqn) for eqn in [*forward, *backward]),
    )


def _trail(program: Joint, v: Any) -> list[tuple[Joint, Any, Any]]:
    """Where ``v`` comes from: the programs, from outside in, what it is in each, and the equation that makes it there.

    The last equation is ``None`` if it is an input of the innermost program: what a loop carries.
    """
    trail = []
    while True:
        eqn = next((e for e in program.forward if v in e.outvars), None)
        trail.append((program, v, eqn))
        origin = next((s.residuals[v] for s in program.structural.values() if v in s.residuals), None)
        if origin is None:
            return trail
        inner, place = origin
        kind, i = inner.sources[place]
        outs = len(inner.program.outputs)
        ahead = getattr(inner.forward, "jaxpr", inner.forward)
        variables = {"input": inner.program.inputs, "output": inner.program.outputs, "stored": ahead.outvars[outs:]}
        program, v = inner.program, variables[kind][i]


def _line(program: Joint, v: Any, eqn: Any) -> str:
    """The line of the user's that made ``v``, the output of ``eqn``; in a loop, that of the equation in its body."""
    lines = [source_line(eqn), *[source_line(made) for _, _, made in _trail(program, v) if made is not None]]
    return next((line for line in reversed(lines) if line), "")


def _readers(program: Joint, v: Any) -> tuple[Read, ...]:
    """The backward equations that read ``v``; in a loop, those of its body's backward."""
    for inside, w, _ in reversed(_trail(program, v)):
        ties = {w}
        found: dict[Read, None] = {}
        for eqn in inside.backward:
            for u in reads(eqn):
                if u in ties and eqn.primitive.name == "optimization_barrier":
                    ties.add(eqn.outvars[eqn.invars.index(u)])
                elif u in ties:
                    found[Read(eqn.primitive.name, source_line(eqn))] = None
        if found:
            return tuple(found)
    return ()


def _kept(program: Joint, v: Any, at_peak: bool) -> Kept:
    trail = _trail(program, v)
    outermost, innermost = trail[0][2], trail[-1][2]
    stacked = outermost.primitive.name == "scan" and v not in carried(outermost)
    return Kept(
        _line(program, v, outermost),
        "carry" if innermost is None else innermost.primitive.name,
        tuple(v.aval.shape),
        str(v.aval.dtype),
        size_of(v.aval),
        outermost.params["length"] if stacked else 0,
        _readers(program, v),
        at_peak,
    )


def _input(program: Joint, v: Any, path: str) -> Kept:
    shape, dtype = tuple(v.aval.shape), str(v.aval.dtype)
    return Kept("", "input", shape, dtype, size_of(v.aval), 0, _readers(program, v), True, path)


def _repeats(program: Joint, times: int, repeated: Counter[Any], work: Counter[Any]) -> None:
    """Count what a program's backward runs again, ``times`` times, and what the programs inside it do."""
    for eqn in program.backward:
        if eqn.outvars and eqn.outvars[0] not in program.origins and eqn.primitive.name != "optimization_barrier":
            key = source_line(eqn), eqn.primitive.name
            repeated[key] += times
            work[key] += times * flops(eqn)
    for structural in program.structural.values():
        for halves in {id(halves): halves for halves, _ in structural.residuals.values()}.values():
            length = structural.eqn.params["length"] if halves.is_body else 1
            _repeats(halves.program, times * length, repeated, work)
