"""Guards against gradients that are not numbers: steps skipped, and losses scaled so that float16 holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.layout import Packed
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.pointwise import wide
from functional_dl.optim.wrapping import wrapped
from functional_dl.traced import is_traced

__all__ = ["scale_loss", "skip_nonfinite"]

# A scale that doubled to infinity could never be halved back, and gradients of float16 that are still zero at 2²⁴
# (which is 1 / its smallest number) lie below what any scale could save.
LARGEST = 2.0**24
SMALLEST = 1.0


def _finite(packed: Packed) -> jax.Array:
    """Whether every entry is a number."""
    found = jnp.bool_(True)
    for x in packed.arrays:
        found &= jnp.all(jnp.isfinite(x))
    return found


def _guarded(
    optimizer: Optimizer, state: State, packed: Packed, otherwise: Callable[[State], State]
) -> tuple[jax.Array, State]:
    """Whether the gradients are numbers, and the state after an update that is made only if they are."""
    finite = _finite(packed)
    return finite, jax.lax.cond(finite, lambda s: optimizer.update(s, packed), otherwise, state)


def _is_scale(x: float) -> bool:
    return SMALLEST <= x <= LARGEST and float(x).hex().startswith("0x1.0000000000000p")


def skip_nonfinite(optimizer: Optimizer) -> Optimizer:
    """Leave the state as it was where an entry of the gradients is NaN or infinite, and count it in ``skipped``.

    Nothing else moves in such a step: no moment, no average, not ``step`` and with it no schedule.  Clipping by value
    makes infinite entries finite: have it inside, ``skip_nonfinite(clip_by_value(...))``.

    Args:
      optimizer: what gets the gradients that are numbers.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.skip_nonfinite(optim.sgd(1.0))
      >>> state = optimizer.update(optimizer.init(jnp.array([1.0])), jnp.array([jnp.nan]))
      >>> print(state.params, state.step, state.scalars["skipped"])
      [1.] 0 1
    """

    def skip(state: State) -> State:
        return state.replace(scalars={"skipped": state.scalars["skipped"] + 1})

    def update(state: State, grads: Any) -> State:
        return _guarded(optimizer, state, state.layout.pack(grads, own_types=True), skip)[1]

    return wrapped(optimizer, update, remembered={"skipped": jnp.zeros((), jnp.int32)})


def scale_loss(optimizer: Optimizer, initial: float = 2.0**15, growth_interval: int = 2000) -> Optimizer:
    """Dynamic loss scaling (Micikevicius et al. 2018, section 3.2): gradients of s · L, in which less underflows.

    Updates divide by s in float32.  Where a gradient overflowed the step is skipped and s halved; after n steps in a
    row without overflow it is doubled.  s stays a power of two, so that scaling never rounds, between 1 and 2²⁴.
    The scale is ``optimizer.loss_scale(state)``; `functional_dl.training.train_step` multiplies the loss by it.

    Args:
      optimizer: what gets the gradients of L.
      initial: the first s, a power of two; the scalar ``loss_scale`` of the state.
      growth_interval: n, the hyperparameter ``growth_interval``.  The scalars ``since_overflow`` and ``overflows``
        count the good steps since s last changed and the skipped ones.

    Raises:
      ValueError: the initial scale is not a power of two between 1 and 2²⁴.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.scale_loss(optim.sgd(1.0), initial=1024)
      >>> state = optimizer.init(jnp.array([1.0], jnp.float16))
      >>> state = optimizer.update(state, jnp.array([jnp.inf], jnp.float16))
      >>> print(state.params, optimizer.loss_scale(state))
      [1.] 512.0
      >>> print(optimizer.update(state, jnp.array([256.0], jnp.float16)).params)
      [0.5]
    """
    if not is_traced(initial) and not _is_scale(initial):
        raise ValueError(f"scale_loss: initial {initial}; due is a power of two from 1 to 2**24.")

    def halve(state: State) -> State:
        scale = jnp.maximum(state.scalars["loss_scale"] / 2, SMALLEST)
        return state.replace(scalars={"loss_scale": scale, "overflows": state.scalars["overflows"] + 1})

    def update(state: State, grads: Any) -> State:
        scale = state.scalars["loss_scale"]
        packed = jax.tree.map(lambda g: wide(g) / scale, state.layout.pack(grads, own_types=True))
        finite, new = _guarded(optimizer, state, packed, halve)
        since = jnp.where(finite, state.scalars["since_overflow"] + 1, 0)
        grow = since >= state.hyperparameters["growth_interval"]
        now = jnp.where(grow, jnp.minimum(new.scalars["loss_scale"] * 2, LARGEST), new.scalars["loss_scale"])
        return replace(new, scalars={**new.scalars, "loss_scale": now, "since_overflow": jnp.where(grow, 0, since)})

    return wrapped(
        optimizer,
        update,
        {"growth_interval": growth_interval},
        {
            "loss_scale": jnp.float32(initial),
            "since_overflow": jnp.zeros((), jnp.int32),
            "overflows": jnp.zeros((), jnp.int32),
        },
        loss_scale=lambda state: state.scalars["loss_scale"],
    )
