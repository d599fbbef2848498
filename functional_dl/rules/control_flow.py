"""Rules of branches, ``cond``, and of what may stand in a ``while``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax import lax

from functional_dl.avals import manual_type, zeros
from functional_dl.jaxprs import evaluate, is_float, open_jaxpr
from functional_dl.rules.carries import carried_activity, settled
from functional_dl.rules.table import Augmented, Call, RuleError, structural

__all__: list[str] = []


@structural("cond")
def cond(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = f_k(x).   x̄ = the reverse pass of the branch that ran.

    All branches must return residuals of the same types: those of equal type share a place, and a branch fills the
    places it does not use with zeros.
    """
    params = call.params
    parts = [differentiate(branch, call.active[1:], call.seeded) for branch in params["branches"]]
    outs = len(call.out_avals)
    places: list[Any] = []
    taken: list[list[int]] = []
    for part in parts:
        free = list(range(len(places)))
        mine = []
        for aval in part.stored:
            fit = next((p for p in free if _same(places[p], aval)), None)
            if fit is None:
                fit = len(places)
                places.append(aval)
            else:
                free.remove(fit)
            mine.append(fit)
        taken.append(mine)
    targets = sorted({i for part in parts for i in part.targets})
    seeds = [j for j, s in enumerate(call.seeded) if s and is_float(call.out_avals[j])]

    def bind(index: Any, functions: Sequence[Callable[..., Any]], operands: Sequence[Any]) -> Any:
        return lax.switch(index, functions, *operands) if len(functions) > 1 else functions[0](*operands)

    def ahead(part: Any, mine: list[int]) -> Callable[..., Any]:
        def run(*operands: Any) -> list[Any]:
            found = evaluate(open_jaxpr(part.forward), operands)
            filled = dict(zip(mine, found[outs:], strict=True))
            return [*found[:outs], *[filled[p] if p in filled else zeros(a) for p, a in enumerate(places)]]

        return run

    def forward(*operands: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        found = bind(operands[0], [ahead(p, m) for p, m in zip(parts, taken, strict=True)], operands[1:])
        return found[:outs], found[outs:]

    def back(part: Any, mine: list[int], n: int, m: int) -> Callable[..., Any]:
        def run(*values: Any) -> list[Any]:
            operands, ys = values[:n], values[n : n + outs]
            residuals, cts = values[n + outs : n + outs + m], values[n + outs + m :]
            stored = [residuals[p] for p in mine]
            given = dict(zip(seeds, cts, strict=True))
            args = [*part.residuals(operands, ys, stored), *[given[j] for j in part.seeds]]
            found = dict(zip(part.targets, evaluate(open_jaxpr(part.backward), args), strict=True))
            return [found[i] if i in found else zeros(call.in_avals[1 + i]) for i in targets]

        return run

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        # Operands and outputs that no branch's backward reads are replaced by nothing at all.
        reads = {source for part in parts for source in part.sources}
        ins = [i for i in range(len(operands) - 1) if ("input", i) in reads]
        results = [j for j in range(outs) if ("output", j) in reads]

        def narrow(function: Callable[..., Any]) -> Callable[..., Any]:
            def run(*values: Any) -> Any:
                a, b = len(ins), len(ins) + len(results)
                first = dict(zip(ins, values[:a], strict=True))
                second = dict(zip(results, values[a:b], strict=True))
                full = [first.get(i) for i in range(len(operands) - 1)] + [second.get(j) for j in range(outs)]
                return function(*full, *values[b:])

            return run

        functions = [narrow(back(p, m, len(operands) - 1, len(residuals))) for p, m in zip(parts, taken, strict=True)]
        values = [*[operands[1 + i] for i in ins], *[ys[j] for j in results], *residuals, *[cts[j] for j in seeds]]
        found = dict(zip(targets, bind(operands[0], functions, values), strict=True))
        return [None, *[found.get(i) for i in range(len(operands) - 1)]]

    return Augmented(forward, backward)


def _same(a: Any, b: Any) -> bool:
    return bool((a.shape, a.dtype, manual_type(a), a.sharding) == (b.shape, b.dtype, manual_type(b), b.sharding))


@structural("while")
def while_loop(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """A loop whose number of steps depends on data: differentiable only where no cotangent goes through it."""
    params = call.params
    c, w = params["cond_nconsts"], params["body_nconsts"]
    carry = len(call.out_avals)
    active = carried_activity(params["body_jaxpr"], call.active[c:], w, carry)
    seeds = tuple(s and a for s, a in zip(call.seeded, active[w:], strict=True))
    through = []
    if True in seeds:
        # What is only counted or rounded on the way depends on nothing: the body's own reverse pass says what does.
        inner, seeds = settled(lambda s: differentiate(params["body_jaxpr"], active, s), seeds, w)
        through = [
            i for i in range(carry) if seeds[i] and (call.active[c + w + i] or min(inner.targets, default=w) < w)
        ]
    if through:
        raise RuleError(
            f"Reverse mode reached a while loop whose carry {through[0]} ({call.out_avals[through[0]].str_short()}) "
            "depends on the differentiated inputs; how often it runs is not known when tracing, so neither is how "
            "much to keep. Use jax.lax.scan, or jax.lax.fori_loop with constant bounds."
        )
    return Augmented(None, lambda cts, ys, residuals, *operands: [None] * len(operands))
