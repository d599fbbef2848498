"""The reverse sweep: steps visited last to first, each turning cotangents of its outputs into its operands'.

Reverse accumulation (Griewank & Walther 2008, ch. 3).  Where the steps come from is not its business: from the
equations of a traced program (`functional_dl.autodiff.backward`) or from a record of operations that ran
(`functional_dl.autodiff.recording`).  Nothing runs here; the result is backward equations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Protocol

from jax import lax

from functional_dl.avals import mesh_of, zeros
from functional_dl.jaxprs import Atom, Builder, Graph, Literal, trace

__all__ = ["Step", "sweep", "total", "zero_graph"]

Sums = dict[Any, list[Atom]]


class Step(Protocol):
    """One operation on the way from inputs to outputs."""

    @property
    def outvars(self) -> Sequence[Any]:
        """The variables it made."""

    def pull(self, cts: Sequence[Atom | None], build: Builder) -> Iterable[tuple[Any, Atom]]:
        """Add the equations of its reverse pass; yield variables that it read with the cotangents they are sent."""


@lru_cache(maxsize=1024)
def _add(aval: Any) -> Graph:
    with mesh_of(aval):
        return trace(lambda a, b: [lax.add(a, b)], aval, aval)


@lru_cache(maxsize=1024)
def zero_graph(aval: Any) -> Graph:
    """A program without inputs whose output is zeros of this type."""
    return trace(lambda: [zeros(aval)])


def total(v: Any, sums: Sums, build: Builder) -> Atom | None:
    """The cotangent of ``v``: the sum of all that its uses have sent; ``None`` if they sent none."""
    terms = sums.pop(v, None)
    if terms is None:
        return None
    ct = terms[0]
    for term in terms[1:]:
        (ct,) = build.splice(_add(v.aval.to_ct_aval()), [ct, term])
    return ct


def sweep(steps: Iterable[Step], sums: Sums, build: Builder) -> None:
    """Visit ``steps``, which come last to first, and leave in ``sums`` what reaches the inputs."""
    for step in steps:
        cts = [total(v, sums, build) for v in step.outvars]
        if all(ct is None for ct in cts):
            continue
        for v, ct in step.pull(cts, build):
            if type(v) is not Literal:
                sums.setdefault(v, []).append(ct)
