"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.optimizer import Optimizer, State, begin, rate
from functional_dl.optim.schedules import Schedule
from functional_dl.trees import zeros_like

__all__ = ["sgd"]


def sgd(learning_rate: float = 0.1, momentum: float = 0.0, schedule: Schedule | None = None) -> Optimizer:
    """V = β V − a g;  W += V (Polyak 1964, with the learning rate inside the buffer).

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.sgd(0.5)
      >>> state = optimizer.update(optimizer.init(jnp.array([1.0])), jnp.array([1.0]))
      >>> print(state.params)
      [0.5]
    """

    def init(params: Any) -> State:
        velocity = {"velocity": zeros_like(params, jnp.float32)}
        return begin(params, velocity, schedule, learning_rate=learning_rate, momentum=momentum)

    def update(state: State, grads: Any) -> State:
        a, beta = rate(state, schedule), state.hyperparameters["momentum"]
        velocity = jax.tree.map(lambda v, g: beta * v - a * g.astype(jnp.float32), state.moments["velocity"], grads)
        params = jax.tree.map(lambda w, v: (w.astype(jnp.float32) + v).astype(w.dtype), state.params, velocity)
        return State(state.step + 1, params, {"velocity": velocity}, state.hyperparameters)

    return Optimizer(init, update)
