"""Clipping of gradients before an optimizer sees them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.wrapping import wrapped
from functional_dl.trees import global_norm

__all__ = ["clip_by_global_norm"]


def clip_by_global_norm(optimizer: Optimizer, threshold: float, always: bool = False) -> Optimizer:
    """Scale gradients whose joint norm exceeds the threshold down to it (Pascanu et al. 2013, algorithm 1).

    Args:
      optimizer: what gets the gradients.
      threshold: c, the hyperparameter ``clip_threshold``.
      always: rescale shorter gradients *up* to c as well, as the textbook has it (Aggarwal 2018, section 3.5.5).
    """

    def update(state: State, grads: Any) -> State:
        packed = state.layout.pack(grads, own_types=True)
        factor = state.hyperparameters["clip_threshold"] / jnp.maximum(global_norm(packed), jnp.finfo(jnp.float32).tiny)
        factor = factor if always else jnp.minimum(1.0, factor)
        return optimizer.update(state, jax.tree.map(lambda g: (g * factor).astype(g.dtype), packed))

    return wrapped(optimizer, update, {"clip_threshold": threshold})
