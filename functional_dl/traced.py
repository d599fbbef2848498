"""Numbers that may be traced: what of them is known while a program is built, and what is not."""

from __future__ import annotations

from typing import Any

import jax

__all__ = ["is_traced", "is_zero"]


def is_traced(x: Any) -> bool:
    """Whether ``x`` is a tracer, whose value no Python condition may ask for: what is checked of numbers is not of it.

    Example:
      >>> import jax
      >>> from functional_dl.traced import is_traced
      >>> seen = []
      >>> _ = jax.jit(lambda x: seen.append(is_traced(x)))(1.0)
      >>> is_traced(1.0), seen
      (False, [True])
    """
    return isinstance(x, jax.core.Tracer)


def is_zero(x: Any) -> bool:
    """Whether ``x`` is known to be 0, so that what it multiplies can be left out; a tracer may be anything.

    Example:
      >>> import jax
      >>> from functional_dl.traced import is_zero
      >>> seen = []
      >>> _ = jax.jit(lambda x: seen.append(is_zero(x)))(0.0)
      >>> is_zero(0.0), seen
      (True, [False])
    """
    return not is_traced(x) and bool(x == 0)
