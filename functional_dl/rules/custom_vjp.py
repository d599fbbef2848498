"""The two functions of a `jax.custom_vjp`, called as JAX hands them to an interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from functional_dl.avals import zeros
from functional_dl.jaxprs import is_float

__all__ = ["instantiated", "run_backward", "run_forward"]


def run_forward(
    fwd: Any, out_trees: Callable[[], Any], values: Sequence[Any], perturbed: Sequence[bool], consts: int = 0
) -> tuple[list[Any], list[Any]]:
    """Outputs and residuals of the user's forward at ``values``, of which ``perturbed`` are differentiated.

    The first ``consts`` values are what the function closed over, where they are operands (inside a traced program).
    """
    found = fwd.call_wrapped(*[x for pair in zip(values, perturbed, strict=True) for x in pair])
    _, tree, forwarded = out_trees()
    # A residual that is an input is not returned: its place in `forwarded` says which input it is.
    count = sum(i is None for i in forwarded)
    own = iter(found[:count])
    residuals = [next(own) if i is None else values[consts + i] for i in forwarded]
    assert tree.num_leaves == len(residuals)
    return list(found[count:]), residuals


def run_backward(
    bwd: Any,
    residuals: Sequence[Any],
    cts: Sequence[Any],
    out_avals: Sequence[Any],
    in_avals: Sequence[Any],
    symbolic_zeros: bool,
) -> list[Any]:
    """What the user's backward sends the operands of types ``in_avals``, ``None`` for nothing.

    Args:
      bwd: the user's backward, as JAX wraps it.
      residuals: what the forward returned for it.
      cts: per output, its cotangent; ``None`` where none arrives.
      out_avals, in_avals: types of the outputs, and of the operands that are not closed over.
      symbolic_zeros: whether the user's rule asked to be told where none arrives.
    """
    given = [
        SymbolicZero(a.to_ct_aval()) if ct is None and symbolic_zeros else instantiated(ct, a)
        for ct, a in zip(cts, out_avals, strict=True)
    ]
    found = bwd.call_wrapped(*residuals, *given)
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], list):
        found = found[0]  # from JAX 0.11 on the cotangents come with a log
    found = found[len(found) - len(in_avals) :]  # some versions state those of closed-over values, always zero
    return [_conformed(ct, a) for ct, a in zip(found, in_avals, strict=True)]


def _conformed(ct: Any, aval: Any) -> Any:
    """A cotangent in its operand's dtype (JAX lets a bwd rule answer in another precision); ``None`` for none."""
    if ct is None or isinstance(ct, (ad.Zero, SymbolicZero)) or not is_float(aval):
        return None
    due = aval.to_ct_aval()
    return ct if jax.typeof(ct).dtype == due.dtype else lax.convert_element_type(ct, due.dtype)


def instantiated(ct: Any, aval: Any) -> Any:
    """The cotangent of an output of type ``aval`` as an array: zeros where none arrives, float0 where none can."""
    if ct is not None:
        return ct
    return zeros(aval.to_ct_aval()) if is_float(aval) else np.zeros(aval.shape, jax.dtypes.float0)
