"""Turn a rule into equations: trace it once per kind of equation, check what it gives, and find what it reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax

from functional_dl import rules
from functional_dl.autodiff.meshes import trace_backward
from functional_dl.avals import conform, manual_type
from functional_dl.jaxprs import Graph, Literal, Var, describe, prune, trace
from functional_dl.sources import source_line

__all__ = ["Fragment", "fragment", "hashable", "spliced"]


@dataclass(frozen=True)
class Fragment:
    """The equations that one equation adds to the joint graph.

    Attributes:
      forward: replaces the equation: operands → outputs + residuals; ``None`` if the equation itself stays.
      backward: seeded cotangents + outputs + residuals + operands → cotangents of the operands in ``targets``.
      targets: the operands that receive a cotangent.
      reads: per output, residual and operand, whether ``backward`` reads it.
      origins: per residual, where it comes from in an inner program (see `functional_dl.rules.Augmented`).
    """

    forward: Graph | None
    backward: Graph
    targets: tuple[int, ...]
    reads: tuple[bool, ...]
    origins: tuple[tuple[Any, int], ...] = ()


def _fragment(
    forward: Graph | None, backward: Graph, targets: Sequence[int], seeds: int, origins: Sequence[Any] = ()
) -> Fragment:
    read = {v for eqn in backward.eqns for v in eqn.invars if type(v) is not Literal}
    read.update(v for v in backward.outputs if type(v) is not Literal)
    reads = tuple([v in read for v in backward.inputs[seeds:]])
    return Fragment(forward, backward, tuple(targets), reads, tuple(origins))


def fragment(
    rule: rules.Rule,
    eqn: Any,
    active: tuple[bool, ...],
    seeded: tuple[bool, ...],
    differentiate: Callable[..., Any],
) -> Fragment:
    """The `Fragment` of ``eqn`` under ``rule``.

    What a rule reads depends only on the primitive, its parameters, the operand types and which cotangents come
    and are wanted; under that key its trace is remembered.  The equation's context (mesh, x64, …) is part of the
    key, because it is part of what the trace means.
    """
    if rule.kind == "refused":
        raise rules.RuleError(
            f"No gradient goes through primitive '{rule.name}' ({_types(eqn)}) at {source_line(eqn)}: {rule.reason}."
        )
    if rule.params is not None:
        unknown = eqn.params.keys() - rule.params
        if unknown:
            raise rules.RuleError(
                f"The rule for '{rule.name}' does not know the parameter {', '.join(sorted(unknown))} that JAX "
                f"{jax.__version__} passes (at {source_line(eqn)}); it knows {', '.join(sorted(rule.params))}. "
                "Its derivative may have changed: read the primitive's definition and extend the rule."
            )
    key = (
        rule,
        eqn.primitive,
        tuple(eqn.params.items()),
        tuple([v.aval for v in eqn.invars]),
        tuple([v.aval for v in eqn.outvars]),
        active,
        seeded,
        eqn.ctx,
        jax.config.jax_enable_x64,  # type: ignore[attr-defined]  # made at run time
        rules.generation(),
        differentiate if rule.kind == "structural" else None,
    )
    build = _remembered if rule.cacheable and hashable(key) else _remembered.__wrapped__
    with eqn.ctx.manager:
        try:
            return build(*key)
        except Exception as error:
            where = f"(While differentiating {rule.name} of {_types(eqn)} at {source_line(eqn)}.)"
            if where not in getattr(error, "__notes__", ()):
                error.add_note(where)
            raise


def _types(eqn: Any) -> str:
    return ", ".join(describe(v.aval) for v in eqn.invars) or "nothing"


def hashable(key: tuple[Any, ...]) -> bool:
    """Whether something can be remembered under ``key``."""
    try:
        hash(key)
    except TypeError:
        return False
    return True


@lru_cache(maxsize=8192)
def _remembered(
    rule: rules.Rule,
    primitive: Any,
    params: tuple[tuple[str, Any], ...],
    in_avals: tuple[Any, ...],
    out_avals: tuple[Any, ...],
    active: tuple[bool, ...],
    seeded: tuple[bool, ...],
    context: Any,
    x64: bool,
    generation: int,
    differentiate: Callable[..., Any],
) -> Fragment:
    del context, x64, generation  # in the key only
    call = rules.Call(primitive, dict(params), in_avals, out_avals, active, seeded)
    if rule.kind == "vjp":
        return _local(rule, call)
    return _structural(rule, call, differentiate)


def _ct_avals(call: rules.Call) -> list[Any]:
    return [a.to_ct_aval() for a, s in zip(call.out_avals, call.seeded, strict=True) if s]


def _spread(values: Sequence[Any], seeded: Sequence[bool]) -> list[Any]:
    """Put the cotangents that arrive in their places, ``None`` elsewhere."""
    arriving = iter(values)
    return [next(arriving) if s else None for s in seeded]


def _local(rule: rules.Rule, call: rules.Call) -> Fragment:
    n, m = sum(call.seeded), len(call.out_avals)
    targets: list[int] = []
    many = call.primitive.multiple_results

    def run(*values: Any) -> list[Any]:
        cts, ys, operands = _spread(values[:n], call.seeded), list(values[n : n + m]), values[n + m :]
        ct, y = (cts, ys) if many else (cts[0], ys[0])
        assert rule.fun is not None
        return _wanted(rule.name, call, rule.fun(ct, y, *operands, **call.params), targets)

    backward = trace_backward(run, targets, call.in_avals, [*_ct_avals(call), *call.out_avals, *call.in_avals])
    backward.eqns = prune(backward.eqns, backward.outputs)
    return _fragment(None, backward, targets, n)


def _structural(rule: rules.Rule, call: rules.Call, differentiate: Callable[..., Any]) -> Fragment:
    assert rule.fun is not None
    augmented: rules.Augmented | rules.Spliced = rule.fun(call, differentiate)
    if isinstance(augmented, rules.Spliced):
        return spliced(augmented, call)
    forward: Graph | None = None
    n, m, r = sum(call.seeded), len(call.out_avals), 0
    if augmented.forward is not None:
        go = augmented.forward

        def ahead(*operands: Any) -> list[Any]:
            outs, residuals = go(*operands)
            return [*outs, *residuals]

        forward = trace(ahead, *call.in_avals)
        r = len(forward.outputs) - m
    targets: list[int] = []

    def run(*values: Any) -> list[Any]:
        cts, ys = _spread(values[:n], call.seeded), list(values[n : n + m])
        residuals, operands = list(values[n + m : n + m + r]), values[n + m + r :]
        return _wanted(rule.name, call, augmented.backward(cts, ys, residuals, *operands), targets)

    residual_avals = forward.out_avals[m:] if forward is not None else []
    avals = [*_ct_avals(call), *call.out_avals, *residual_avals, *call.in_avals]
    backward = trace_backward(run, targets, call.in_avals, avals)
    backward.eqns = prune(backward.eqns, backward.outputs)
    origins = augmented.origins
    if forward is not None:
        keep = _drop_unread(forward, backward, m, n + m, r)
        origins = [origin for origin, k in zip(origins, keep, strict=False) if k]
    return _fragment(forward, backward, targets, n, origins)


def spliced(found: rules.Spliced, call: rules.Call) -> Fragment:
    """Graphs that a rule had ready, in the order of arguments that fragments have."""
    graph, n = found.backward, sum(call.seeded)
    count = len(graph.inputs) - n
    ys, operands = ([Var(a) for a in avals] for avals in (call.out_avals, call.in_avals))
    inputs = [*graph.inputs[count:], *ys, *graph.inputs[:count], *operands]
    backward = Graph(inputs, graph.outputs, graph.eqns, graph.constvars, graph.consts)
    origins = [] if found.halves is None else [(found.halves, p) for p in range(len(found.halves.sources))]
    return _fragment(found.forward, backward, found.targets, n, origins)


def _drop_unread(forward: Graph, backward: Graph, outs: int, start: int, count: int) -> list[bool]:
    """Drop the residuals that the backward does not read, ``count`` inputs of it, from ``start`` on; say which stay."""
    read = {v for eqn in backward.eqns for v in eqn.invars if type(v) is not Literal}
    read.update(v for v in backward.outputs if type(v) is not Literal)
    keep = [v in read for v in backward.inputs[start : start + count]]
    backward.inputs[start : start + count] = [
        v for v, k in zip(backward.inputs[start : start + count], keep, strict=True) if k
    ]
    forward.outputs[outs:] = [v for v, k in zip(forward.outputs[outs:], keep, strict=True) if k]
    forward.eqns = prune(forward.eqns, forward.outputs)
    return keep


def _wanted(name: str, call: rules.Call, results: Sequence[Any], targets: list[int]) -> list[Any]:
    """Check a rule's cotangents against its operands; keep those that are wanted and note whose they are."""
    if len(results) != len(call.in_avals):
        raise rules.RuleError(
            f"The rule for {name} gave {len(results)} cotangents; the primitive has {len(call.in_avals)} operands."
        )
    kept = []
    for i, (ct, aval, active) in enumerate(zip(results, call.in_avals, call.active, strict=True)):
        if ct is None or not active:
            continue
        due = aval.to_ct_aval()
        ct = conform(ct, due)
        came = jax.typeof(ct)
        if (came.shape, came.dtype, manual_type(came)) != (due.shape, due.dtype, manual_type(due)):
            raise rules.RuleError(
                f"The rule for {name} gave operand {i} a cotangent {describe(came)}; that operand is {describe(due)}."
            )
        targets.append(i)
        kept.append(ct)
    return kept
