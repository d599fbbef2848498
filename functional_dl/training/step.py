"""One training step as one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from functional_dl.autodiff.transforms import value_and_grad
from functional_dl.optim import Optimizer, State
from functional_dl.trees import global_norm

__all__ = ["train_step"]


def train_step(
    loss: Callable[..., Any], optimizer: Optimizer, has_aux: bool = False, memory: str | int = "auto"
) -> Callable[[State, tuple[Any, ...]], tuple[State, dict[str, Any]]]:
    """Compile ``(state, batch) -> (state, metrics)`` on our own reverse mode; the state given is donated.

    Args:
      loss: ``loss(params, *batch) -> scalar``, or with ``has_aux`` a pair of it and a dict of further metrics.
      optimizer: whose ``update`` makes the new state.
      has_aux: whether ``loss`` returns such a pair.
      memory: what is kept of the forward for the backward, as in `functional_dl.value_and_grad`: ``"auto"``,
        ``"keep"``, ``"least"``, or the bytes that intermediates may take.

    Returns:
      The jitted step.  Metrics: ``loss``, ``gradient_norm``, ``update_ratio`` (norm of the parameters' change over
      their norm), and those of the loss.  Its first call raises `BudgetError` if ``memory`` is a number of bytes that
      cannot be met.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> from functional_dl.training import train_step
      >>> optimizer = optim.sgd(0.5)
      >>> step = train_step(lambda w, x: jnp.sum((w - x) ** 2) / 2, optimizer)
      >>> state, metrics = step(optimizer.init(jnp.zeros(2)), (jnp.ones(2),))
      >>> print(state.params, metrics["loss"])
      [0.5 0.5] 1.0
    """
    slope = value_and_grad(loss, has_aux=has_aux, memory=memory)

    def step(state: State, batch: tuple[Any, ...]) -> tuple[State, dict[str, Any]]:
        value, grads = slope(state.params, *batch)
        value, extra = value if has_aux else (value, {})
        new = optimizer.update(state, grads)
        change = jax.tree.map(lambda a, b: a - b, new.params, state.params)
        metrics = {
            "loss": value,
            "gradient_norm": global_norm(grads),
            "update_ratio": global_norm(change) / global_norm(state.params),
        }
        return new, {**metrics, **extra}

    return jax.jit(step, donate_argnums=0)
