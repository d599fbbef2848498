"""A loop as a loop over chunks of it, so that what is kept of it can be the state at the start of each chunk."""

from __future__ import annotations

from typing import Any

from jax import lax

from functional_dl.jaxprs import Graph, trace
from functional_dl.loops import scan_layout
from functional_dl.rules.table import Call

__all__ = ["chunked"]


def chunked(call: Call, chunk: int) -> Graph:
    """The program of a ``scan`` as a scan over chunks of ``chunk`` iterations, each a scan itself.

    Iterations that are left over run as a scan of their own, after the others.  Of two levels with chunks of √n, the
    states kept are 2 √n instead of n (Griewank 1992; Chen et al. 2016); chunks can have chunks.
    """
    params = call.params
    length, reverse = params["length"], params["reverse"]
    w, c = scan_layout(params)
    count, rest = divmod(length, chunk)

    def loop(length: int, *operands: Any) -> Any:
        # The body stays the program that it is, with what has been derived from it and its source lines.
        found = call.primitive.bind(*operands, **{**params, "length": length, "unroll": min(params["unroll"], length)})
        return list(found[:c]), list(found[c:])

    def run(*operands: Any) -> list[Any]:
        ws, xs = operands[:w], operands[w + c :]
        # A reversed loop begins at the end: what is left over is then what stands first.
        cut = rest if reverse else count * chunk
        first, second = (slice(cut, None), slice(0, cut)) if reverse else (slice(0, cut), slice(cut, None))
        main = xs if not rest else [x[first] for x in xs]

        def piece(carry: Any, x: Any) -> Any:
            return loop(chunk, *ws, *carry, *x)

        pieces = [lax.reshape(x, (count, chunk, *x.shape[1:])) for x in main]
        carry, ys = lax.scan(piece, list(operands[w : w + c]), pieces, count, reverse)
        ys = [lax.reshape(y, (count * chunk, *y.shape[2:])) for y in ys]
        if rest:
            carry, last = loop(rest, *ws, *carry, *[x[second] for x in xs])
            ys = [lax.concatenate([b, a] if reverse else [a, b], 0) for a, b in zip(ys, last, strict=True)]
        return [*carry, *ys]

    return trace(run, *call.in_avals)
