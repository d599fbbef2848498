"""The two functions of a `jax.custom_vjp`, called as JAX hands them to an interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from functional_dl.avals import zeros
from functional_dl.jaxprs import is_float

__all__ = ["instantiated", "run_backward", "run_forward"]


def run_forward(
    fwd: Any, out_trees: Callable[[], Any], values: Sequence[Any], perturbed: Sequence[bool]
) -> tuple[list[Any], list[Any]]:
    """Outputs and residuals of the user's forward at ``values``, of which ``perturbed`` are differentiated."""
    found = fwd.call_wrapped(*[x for pair in zip(values, perturbed, strict=True) for x in pair])
    _, tree, forwarded = out_trees()
    # A residual that is an input is not returned: its place in `forwarded` says which input it is.
    count = sum(i is None for i in forwarded)
    own = iter(found[:count])
    residuals = [next(own) if i is None else values[i] for i in forwarded]
    assert tree.num_leaves == len(residuals)
    return list(found[count:]), residuals


def run_backward(bwd: Any, residuals: Sequence[Any], cts: Sequence[Any]) -> list[Any]:
    """What the user's backward sends its operands, ``None`` for nothing."""
    found = bwd.call_wrapped(*residuals, *cts)
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], list):
        found = found[0]  # from JAX 0.11 on the cotangents come with a log
    return [None if ct is None or isinstance(ct, (ad.Zero, SymbolicZero)) else ct for ct in found]


def instantiated(ct: Any, aval: Any) -> Any:
    """The cotangent of an output of type ``aval`` as an array: zeros where none arrives, float0 where none can."""
    if ct is not None:
        return ct
    return zeros(aval.to_ct_aval()) if is_float(aval) else np.zeros(aval.shape, jax.dtypes.float0)
