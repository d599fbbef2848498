"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.schedules import Schedule

__all__ = ["lion"]


def _first(w: Any, group: Group) -> dict[str, Any]:
    return {"first": jnp.zeros_like(w)}


def lion(
    learning_rate: float = 1e-4,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    weight_decay: float | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Literal["paper", "optax", "keras"] = "paper",
) -> Optimizer:
    """w −= a (sign(β₁F + (1 − β₁)g) + λ w);  F = β₂F + (1 − β₂)g  (Chen et al. 2023, algorithm 2).

    Every entry moves by a, whatever its gradient: take a 3 to 10 times smaller than Adam's, and λ as many times larger.

    Args:
      learning_rate: a.
      beta_1: β₁, the momentum's share in the step.
      beta_2: β₂, how slowly the momentum F follows.
      weight_decay: λ, decoupled, times the rate; 0, or 1e-3 for optax.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: whose default for λ.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.lion(0.25)
      >>> state = optimizer.update(optimizer.init(jnp.ones(3)), jnp.array([3.0, -0.1, 0.0]))
      >>> print(state.params)
      [0.75 1.25 1.  ]
    """
    optax = convention_of("lion", convention, ("paper", "optax", "keras")) == "optax"

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        b1, b2, m = now.h["beta_1"], now.h["beta_2"], moments["first"]
        step = jnp.sign(b1 * m + (1 - b1) * g) + now.h["weight_decay"] * w
        return w - now.h["learning_rate"] * step, {"first": b2 * m + (1 - b2) * g}

    hyperparameters = {
        "learning_rate": learning_rate,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "weight_decay": weight_decay if weight_decay is not None else 1e-3 if optax else 0.0,
    }
    return by_group(_first, move, hyperparameters, schedule)
