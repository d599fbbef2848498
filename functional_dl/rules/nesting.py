"""A loop as a loop over chunks of it, so that what is kept of it can be the state at the start of each chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import lax

from functional_dl.jaxprs import Graph, evaluate, open_jaxpr, trace

__all__ = ["chunked"]


def chunked(
    body: Any, layout: tuple[int, int], length: int, reverse: bool, unroll: Any, chunk: int, in_avals: Sequence[Any]
) -> Graph:
    """The program of a ``scan`` as a scan over chunks of ``chunk`` iterations, each a scan itself.

    Iterations that are left over run as a scan of their own, after the others.  Of two levels with chunks of √n, the
    states kept are 2 √n instead of n (Griewank 1992; Chen et al. 2016); chunks can have chunks.

    Args:
      body: the loop's body, a closed jaxpr.
      layout: how many operands are constants and how many are carried.
      length, reverse, unroll: those of the scan.
      chunk: the number of iterations of each piece.
      in_avals: types of the operands.
    """
    w, c = layout
    count, rest = divmod(length, chunk)
    graph = open_jaxpr(body)

    def loop(ws: Any, carry: Any, xs: Any, length: int) -> Any:
        def step(carry: Any, x: Any) -> Any:
            found = evaluate(graph, [*ws, *carry, *x])
            return found[:c], found[c:]

        return lax.scan(step, list(carry), list(xs), length, reverse, min(unroll, length))

    def run(*operands: Any) -> list[Any]:
        ws, xs = operands[:w], operands[w + c :]
        # A reversed loop begins at the end: what is left over is then what stands first.
        cut = rest if reverse else count * chunk
        first, second = (slice(cut, None), slice(0, cut)) if reverse else (slice(0, cut), slice(cut, None))
        main = xs if not rest else [x[first] for x in xs]

        def piece(carry: Any, x: Any) -> Any:
            return loop(ws, carry, x, chunk)

        pieces = [lax.reshape(x, (count, chunk, *x.shape[1:])) for x in main]
        carry, ys = lax.scan(piece, list(operands[w : w + c]), pieces, count, reverse)
        ys = [lax.reshape(y, (count * chunk, *y.shape[2:])) for y in ys]
        if rest:
            carry, last = loop(ws, carry, [x[second] for x in xs], rest)
            ys = [lax.concatenate([b, a] if reverse else [a, b], 0) for a, b in zip(ys, last, strict=True)]
        return [*carry, *ys]

    return trace(run, *in_avals)
