"""What is left of a number that is stored in fewer bits."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["as_stored", "is_narrow"]


def is_narrow(dtype: Any) -> bool:
    """Whether a dtype has fewer bits than float32, in which everything is computed."""
    return bool(jnp.finfo(dtype).bits < 32)


def as_stored(x: Any, dtype: Any) -> Any:
    """x rounded to what ``dtype`` can hold, in its own dtype.

    Two conversions would not do: XLA takes a way down and up again to be none.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_dl.optim.narrow import as_stored
      >>> print(as_stored(jnp.float32(1.001), jnp.bfloat16))
      1.0
    """
    if not is_narrow(dtype):
        return x
    bits = jnp.finfo(dtype)
    return jax.lax.reduce_precision(x, bits.nexp, bits.nmant)
