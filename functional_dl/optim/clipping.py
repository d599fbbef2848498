"""Clipping of gradients before an optimizer sees them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.optimizer import Optimizer, State, hyperparameters
from functional_dl.trees import global_norm

__all__ = ["clip_by_global_norm"]


def clip_by_global_norm(optimizer: Optimizer, threshold: float) -> Optimizer:
    """Scale gradients whose joint norm exceeds the threshold down to it (Pascanu et al. 2013, algorithm 1)."""

    def init(params: Any) -> State:
        state = optimizer.init(params)
        merged = {**state.hyperparameters, **hyperparameters(clip_threshold=threshold)}
        return State(state.step, state.params, state.moments, merged)

    def update(state: State, grads: Any) -> State:
        c = state.hyperparameters["clip_threshold"]
        factor = jnp.minimum(1.0, c / jnp.maximum(global_norm(grads), jnp.finfo(jnp.float32).tiny))
        return optimizer.update(state, jax.tree.map(lambda g: (g * factor).astype(g.dtype), grads))

    return Optimizer(init, update)
