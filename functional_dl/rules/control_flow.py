"""Rules of loops and branches: ``scan``, ``cond``, and what may stand in a ``while``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax import lax

from functional_dl.avals import manual_type, zeros
from functional_dl.jaxprs import close, dependent_outputs, evaluate, invariant_outputs, is_float, open_jaxpr
from functional_dl.loops import scan_layout
from functional_dl.rules.nesting import chunked
from functional_dl.rules.table import Augmented, Call, RuleError, Spliced, structural

__all__: list[str] = []


def _carried_activity(body: Any, active: Sequence[bool], consts: int, carry: int) -> tuple[bool, ...]:
    """Which operands of a loop's body are active once the activity of the carry has gone round."""
    now = list(active)
    while True:
        out = dependent_outputs(body, now)
        grown = [a or o for a, o in zip(now[consts : consts + carry], out[:carry], strict=True)]
        if grown == now[consts : consts + carry]:
            return tuple(now)
        now[consts : consts + carry] = grown


def _settled(reverse: Callable[..., Any], seeds: tuple[bool, ...], consts: int) -> tuple[Any, tuple[bool, ...]]:
    """The reverse pass of a loop's body, and which carries get a cotangent: at the end, or as it sends them one."""
    while True:
        inner = reverse(seeds)
        grown = tuple(s or (consts + i) in inner.targets for i, s in enumerate(seeds))
        if grown == seeds:
            return inner, seeds
        seeds = grown


@structural("scan")
def scan(call: Call, differentiate: Any) -> Augmented | Spliced:
    """c_{t+1}, y_t = f(w, c_t, x_t).   c̄_t, x̄_t, w̄ += f's reverse pass at t, from the last t to the first.

    The forward stacks, per iteration, what the body's backward reads and what is not there already: loop
    constants are read where they are, slices of ``xs`` and ``ys`` come from those arrays, values that depend on
    loop constants alone are made once before the loop.  Cotangents of constants add up in the carry.  Where the plan
    divides the loop into chunks, it is differentiated as a loop of loops.
    """
    params = call.params
    body = params["jaxpr"]
    w, c = scan_layout(params)
    length, reverse, unroll = params["length"], params["reverse"], params["unroll"]
    if 0 < differentiate.chunk < length:
        program = close(chunked(call, differentiate.chunk))
        return differentiate.divided(program, call.active, call.seeded).spliced()
    active = _carried_activity(body, call.active, w, c)
    carried_avals = body.in_avals[w : w + c]

    seeds = tuple(s and a for s, a in zip(call.seeded[:c], active[w : w + c], strict=True))
    inner, seeds = _settled(lambda s: differentiate(body, active, (*s, *call.seeded[c:]), (w, c)), seeds, w)
    ct_carries = [i for i in range(c) if seeds[i]]
    ct_consts = [i for i in inner.targets if i < w]
    ct_xs = [i for i in inner.targets if i >= w + c]
    ct_ys = [j for j in inner.seeds if j >= c]

    # Residuals by where the backward loop finds them.
    outs = len(call.out_avals)
    before, invariant = invariant_outputs(inner.forward, w, outs)
    stacked: list[tuple[str, int]] = []
    for source in inner.sources:
        kind, i = source
        at_hand = (
            (kind == "input" and not w <= i < w + c)
            or (kind == "output" and i >= c)
            or (kind == "stored" and outs + i in invariant)
        )
        if not at_hand and source not in stacked:
            stacked.append(source)

    def forward(*operands: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        ws, cs, xs = operands[:w], operands[w : w + c], operands[w + c :]
        once = evaluate(before, ws)
        graph = open_jaxpr(inner.forward)

        def step(carry: Sequence[Any], x: Sequence[Any]) -> tuple[Any, Any]:
            found = evaluate(graph, [*ws, *carry, *x])
            places = {"input": [*ws, *carry, *x], "output": found, "stored": found[outs:]}
            return list(found[:c]), (list(found[c:outs]), [places[kind][i] for kind, i in stacked])

        carry, (ys, kept) = lax.scan(step, list(cs), list(xs), length, reverse, unroll)
        return [*carry, *ys], [*kept, *once]

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        kept, once = residuals[: len(stacked)], dict(zip(invariant, residuals[len(stacked) :], strict=True))
        graph = open_jaxpr(inner.backward)
        # What the loop runs over: stacked residuals, and those slices of xs and ys that the body's backward reads.
        sliced: dict[tuple[str, int], Any] = dict(zip(stacked, kept, strict=True))
        for kind, i in inner.sources:
            if kind == "input" and i >= w + c:
                sliced[kind, i] = operands[i]
            elif kind == "output" and i >= c:
                sliced[kind, i] = ys[i]

        def step(carry: Any, x: Any) -> tuple[Any, Any]:
            sums, ends = carry
            values, seeds_y = x
            here = dict(zip(sliced, values, strict=True))
            given: list[Any] = []
            for kind, i in inner.sources:
                if (kind, i) in here:
                    given.append(here[kind, i])
                elif kind == "input":
                    given.append(operands[i])
                else:
                    given.append(once[outs + i])
            found = dict(zip(inner.targets, evaluate(graph, [*given, *ends, *seeds_y]), strict=True))
            sums = [lax.add(s, found[i]) for s, i in zip(sums, ct_consts, strict=True)]
            ends = [found.get(w + i) for i in ct_carries]
            ends = [zeros(carried_avals[i]) if e is None else e for e, i in zip(ends, ct_carries, strict=True)]
            return (sums, ends), [found[i] for i in ct_xs]

        ends = [zeros(carried_avals[i]) if cts[i] is None else cts[i] for i in ct_carries]
        sums = [zeros(call.in_avals[i]) for i in ct_consts]
        over = (list(sliced.values()), [cts[j] for j in ct_ys])
        (sums, ends), slopes = lax.scan(step, (sums, ends), over, length, not reverse, unroll)
        found = dict(zip(ct_consts, sums, strict=True))
        found.update(zip([w + i for i in ct_carries], ends, strict=True))
        found.update(zip(ct_xs, slopes, strict=True))
        return [found.get(i) for i in range(len(operands))]

    kept = [*stacked, *[("stored", i - outs) for i in invariant]]
    return Augmented(forward, backward, [(inner, inner.sources.index(source)) for source in kept])


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
    active = _carried_activity(params["body_jaxpr"], call.active[c:], w, carry)
    seeds = tuple(s and a for s, a in zip(call.seeded, active[w:], strict=True))
    through = []
    if True in seeds:
        # What is only counted or rounded on the way depends on nothing: the body's own reverse pass says what does.
        inner, seeds = _settled(lambda s: differentiate(params["body_jaxpr"], active, s), seeds, w)
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
