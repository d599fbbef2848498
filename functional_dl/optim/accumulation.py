"""Gradient accumulation: one step for several gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.layout import Packed
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.pointwise import wide
from functional_dl.optim.wrapping import wrapped

__all__ = ["accumulate"]


def accumulate(optimizer: Optimizer, every: int) -> Optimizer:
    """One step with ḡ = (g₁ + … + g_n)/n after every n gradients: batches n times as large in the same memory.

    The sum is in float32.  ``state.step``, and with it schedules, count the steps made.

    Args:
      optimizer: what gets the means.
      every: n, the hyperparameter ``accumulate_every``.  The scalar ``micro_steps`` counts the gradients that the sum,
        ``state.moments["accumulated"]``, has.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.accumulate(optim.sgd(1.0), every=2)
      >>> state = optimizer.update(optimizer.init(jnp.zeros(1)), jnp.array([1.0]))
      >>> print(state.params, optimizer.update(state, jnp.array([3.0])).params)
      [0.] [-2.]
    """

    def slots(state: State) -> dict[str, Packed]:
        return {"accumulated": jax.tree.map(lambda w: jnp.zeros_like(wide(w)), state.packed)}

    def update(state: State, grads: Any) -> State:
        given = state.layout.pack(grads, own_types=True)
        total = jax.tree.map(lambda a, g: a + g.astype(a.dtype), state.slots["accumulated"], given)
        micro = state.scalars["micro_steps"] + 1

        def move(state: State) -> State:
            new = optimizer.update(state, jax.tree.map(lambda x: x / micro.astype(x.dtype), total))
            return kept(new, jax.tree.map(jnp.zeros_like, total), jnp.zeros_like(micro))

        def wait(state: State) -> State:
            return kept(state, total, micro)

        return jax.lax.cond(micro >= state.hyperparameters["accumulate_every"], move, wait, state)

    def kept(state: State, total: Packed, micro: Any) -> State:
        return replace(
            state, slots={**state.slots, "accumulated": total}, scalars={**state.scalars, "micro_steps": micro}
        )

    remembered = {"micro_steps": jnp.zeros((), jnp.int32)}
    return wrapped(optimizer, update, {"accumulate_every": every}, remembered, slots)
