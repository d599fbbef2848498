"""x / √A for second moments, which are zero where no gradient has come yet."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

__all__ = ["over_root"]


def over_root(x: Any, second: Any, inside: Any = 0.0, outside: Any = 0.0) -> Any:
    """x / (√(A + inside) + outside), and 0 where that divisor is 0: what never had a gradient does not move."""
    divisor = jnp.sqrt(second + inside) + outside
    nothing = divisor == 0
    return jnp.where(nothing, 0, x / jnp.where(nothing, 1, divisor))
