"""How parameters in bfloat16 are kept: in float32 beside them, or rounded up and down by chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.wrapping import widely, wrapped

__all__ = ["master_weights", "round_stochastically", "stochastic_rounding"]

# Written down in states that are stored: it must not follow the user's configuration.
GENERATOR = "threefry2x32"


def master_weights(optimizer: Optimizer) -> Optimizer:
    """Keep parameters in float32 and show them in the user's dtype (Micikevicius et al. 2018, section 3.1).

    A step smaller than half the distance to the next bfloat16, 2⁻⁹ of a weight, is lost without it.  Only the float32
    array is stored; ``state.params`` rounds it.

    Args:
      optimizer: what moves them.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.master_weights(optim.sgd(1e-3))
      >>> state = optimizer.init(jnp.ones(1, jnp.bfloat16))
      >>> for _ in range(8):
      ...     state = optimizer.update(state, jnp.ones(1, jnp.bfloat16))
      >>> print(state.params, state.packed.arrays[0].dtype)
      [0.992188] float32
    """
    return wrapped(optimizer, optimizer.update, storage=lambda dtype: jnp.promote_types(dtype, jnp.float32))


def round_stochastically(x: Any, key: Any) -> jax.Array:
    """float32 to bfloat16, up or down with such chances that the mean is x (Gupta et al. 2015).

    bfloat16 is the upper half of a float32: uniform noise is added to the lower half, whose carry rounds away from
    zero with probability (lower half)/2¹⁶, and the lower half is dropped.

    Args:
      x: float32; what is not finite is converted as usual.
      key: a `jax.random` key.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    upper = jax.lax.shift_right_logical(bits + noise, jnp.uint32(16)).astype(jnp.uint16)
    # The carry out of a NaN's bits would make it a number.
    return jnp.where(jnp.isfinite(x), jax.lax.bitcast_convert_type(upper, jnp.bfloat16), x.astype(jnp.bfloat16))


def stochastic_rounding(optimizer: Optimizer, seed: int = 0) -> Optimizer:
    """Keep bfloat16 parameters in bfloat16 and round each step's float32 stochastically (Gupta et al. 2015, section 3).

    Small steps are then kept on average, with half the memory of `master_weights`.  Parameters stored in other dtypes
    are stored as without it.

    Args:
      optimizer: what moves them, in float32.
      seed: of the noise.  Its key, the scalar ``rounding_key``, is folded with the step.
    """

    def update(state: State, grads: Any) -> State:
        new = widely(optimizer, state, grads)
        key = jax.random.wrap_key_data(state.scalars["rounding_key"], impl=GENERATOR)
        key = jax.random.fold_in(key, state.step)
        arrays = [
            round_stochastically(x.astype(jnp.float32), jax.random.fold_in(key, i))
            if old.dtype == jnp.bfloat16
            else x.astype(old.dtype)
            for i, (old, x) in enumerate(zip(state.packed.arrays, new.packed.arrays, strict=True))
        ]
        return replace(new, packed=replace(new.packed, arrays=tuple(arrays)))

    key = jax.random.key_data(jax.random.key(seed, impl=GENERATOR))
    return wrapped(optimizer, update, remembered={"rounding_key": key})
