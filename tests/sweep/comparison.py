"""One entry under test: our first and second derivatives against JAX's, or against differences where JAX has none."""

from __future__ import annotations

import dataclasses

import jax

from tests.comparison import Subject, against_differences, against_jax, refusal
from tests.sweep.entries import Entry

__all__ = ["compare"]


def compare(entry: Entry) -> None:
    """Values, types, gradients and second derivatives of ``entry`` equal JAX's as far as JAX goes.

    From the order on at which JAX raises, or is known to be wrong, central differences are the oracle.
    """
    args = tuple(jax.numpy.asarray(x) for x in entry.args)
    subject = Subject(str(entry), entry.fun, args, entry.order, entry.tolerance, entry.traced)
    raises = refusal(subject, entry.refused) if entry.refused <= entry.order else 3
    last = min(entry.order, entry.astray - 1, raises - 1)
    if last > 0:
        against_jax(dataclasses.replace(subject, order=last))
    for order in range(last + 1, entry.order + 1):
        against_differences(dataclasses.replace(subject, order=order))
