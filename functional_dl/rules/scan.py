"""The rule of ``scan``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import lax

from functional_dl.avals import zeros
from functional_dl.dependence import invariant_outputs
from functional_dl.jaxprs import close, evaluate, open_jaxpr
from functional_dl.loops import scan_layout
from functional_dl.rules.carries import carried_activity, settled
from functional_dl.rules.gathering import gathering
from functional_dl.rules.nesting import chunked
from functional_dl.rules.table import Augmented, Call, Spliced, structural

__all__: list[str] = []


@structural("scan")
def scan(call: Call, differentiate: Any) -> Augmented | Spliced:
    """c_{t+1}, y_t = f(w, c_t, x_t).   c̄_t, x̄_t, w̄ += f's reverse pass at t, from the last t to the first.

    The forward stacks, per iteration, what the body's backward reads and what is not there already: loop
    constants are read where they are, slices of ``xs`` and ``ys`` come from those arrays, values that depend on
    loop constants alone are made once before the loop.  Cotangents of constants add up in the carry, or are contracted
    from several iterations at once (`functional_dl.rules.gathering`).  Where the plan divides the loop into chunks, it
    is differentiated as a loop of loops.
    """
    params = call.params
    body = params["jaxpr"]
    w, c = scan_layout(params)
    length, reverse, unroll = params["length"], params["reverse"], params["unroll"]
    if 0 < differentiate.chunk < length:
        program = close(chunked(call, differentiate.chunk))
        return differentiate.divided(program, call.active, call.seeded).spliced()
    active = carried_activity(body, call.active, w, c)
    carried_avals = body.in_avals[w : w + c]

    seeds = tuple(s and a for s, a in zip(call.seeded[:c], active[w : w + c], strict=True))
    inner, seeds = settled(lambda s: differentiate(body, active, (*s, *call.seeded[c:]), (w, c)), seeds, w)
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
        n, m = len(inner.sources), len(ct_ys)
        rows = {
            v: sliced[source] for v, source in zip(graph.inputs[:n], inner.sources, strict=True) if source in sliced
        }
        rows.update(zip(graph.inputs[len(graph.inputs) - m :], [cts[j] for j in ct_ys], strict=True))
        places = [p for p, i in enumerate(inner.targets) if i < w]
        after = gathering(graph, places, rows, {*rows, *graph.inputs[n:]}, length)
        inside = [i for p, i in enumerate(inner.targets) if p not in after.contractions]
        added = [i for i in ct_consts if i in inside]

        def step(carry: Any, row: Any) -> tuple[Any, Any]:
            sums, ends = carry
            here = dict(zip(rows, row, strict=True))
            given: list[Any] = []
            for v, (kind, i) in zip(graph.inputs[:n], inner.sources, strict=True):
                given.append(here[v] if v in here else operands[i] if kind == "input" else once[outs + i])
            seeds = [here[v] for v in graph.inputs[len(graph.inputs) - m :]]
            slopes = evaluate(after.graph, [*given, *ends, *seeds])
            found = dict(zip(inside, slopes[: len(inside)], strict=True))
            sums = [lax.add(s, found[i]) for s, i in zip(sums, added, strict=True)]
            ends = [found.get(w + i) for i in ct_carries]
            ends = [zeros(carried_avals[i]) if e is None else e for e, i in zip(ends, ct_carries, strict=True)]
            return (sums, ends), ([found[i] for i in ct_xs], slopes[len(inside) :])

        def piece(carry: Any, chunk: list[Any]) -> tuple[Any, Any]:
            """Several iterations, and then the contractions over them."""
            products, carry = carry
            carry, (slopes, made) = lax.scan(step, carry, chunk, after.chunk, not reverse, min(unroll, after.chunk))
            whole = {**dict(zip(rows, chunk, strict=True)), **dict(zip(after.stacked, made, strict=True))}
            more = after.contracted(whole)
            return ([lax.add(a, b) for a, b in zip(products, more, strict=True)], carry), slopes

        ends = [zeros(carried_avals[i]) if cts[i] is None else cts[i] for i in ct_carries]
        sums = [zeros(call.in_avals[i]) for i in added]
        gathered = [inner.targets[p] for p in after.contractions]
        carry = ([zeros(call.in_avals[i]) for i in gathered], (sums, ends))
        if after.chunk == length:
            (products, (sums, ends)), slopes = piece(carry, list(rows.values()))
        else:
            chunks = [lax.reshape(x, (length // after.chunk, after.chunk, *x.shape[1:])) for x in rows.values()]
            (products, (sums, ends)), slopes = lax.scan(piece, carry, chunks, reverse=not reverse)
            slopes = [lax.reshape(x, (length, *x.shape[2:])) for x in slopes]
        found = dict(zip(added, sums, strict=True))
        found.update(zip(gathered, products, strict=True))
        found.update(zip([w + i for i in ct_carries], ends, strict=True))
        found.update(zip(ct_xs, slopes, strict=True))
        return [found.get(i) for i in range(len(operands))]

    kept = [*stacked, *[("stored", i - outs) for i in invariant]]
    return Augmented(forward, backward, [(inner, inner.sources.index(source)) for source in kept])
