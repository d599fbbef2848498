"""LAMB: Adam whose step in each leaf is as long as the leaf, for large batches."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.adam import first_and_second
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.schedules import Schedule

__all__ = ["lamb"]


def lamb(
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    weight_decay: float = 0.0,
    shortest: float = 0.0,
    longest: float = inf,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Literal["paper", "optax", "keras"] = "paper",
) -> Optimizer:
    """u = F̂/(√Â + ε) + λ w;  w −= a φ(‖w‖)/‖u‖ u, leaf by leaf  (You et al. 2020, algorithm 2).

    F̂ and Â are `adam`'s; φ(z) = min(max(z, γₗ), γᵤ).  Where φ(‖w‖) or ‖u‖ is 0 the ratio is 1: a leaf of zeros moves.

    Args:
      learning_rate: a.
      beta_1, beta_2: how slowly F and A follow, in [0, 1).
      epsilon: ε; 1e-6, or 1e-7 for Keras.
      weight_decay: λ.
      shortest, longest: γₗ and γᵤ.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: in ``"keras"`` the decay a λ w is taken first and has no part in u; ``"optax"`` is as the paper.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.lamb(0.5)
      >>> state = optimizer.update(optimizer.init(jnp.array([3.0, 4.0])), jnp.array([0.0, 7.0]))
      >>> print(state.params)
      [3.  1.5]
    """
    keras = convention_of("lamb", convention, ("paper", "optax", "keras")) == "keras"

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        h, b1, b2 = now.h, now.h["beta_1"], now.h["beta_2"]
        m = b1 * moments["first"] + (1 - b1) * g
        v = b2 * moments["second"] + (1 - b2) * g * g
        u = m / (1 - b1**now.t) / (jnp.sqrt(v / (1 - b2**now.t)) + h["epsilon"])
        if keras:
            w = w - h["learning_rate"] * h["weight_decay"] * w
        else:
            u = u + h["weight_decay"] * w
        axes = tuple(range(1, w.ndim))
        long, step = (jnp.sqrt(jnp.sum(x * x, axes, keepdims=True)) for x in (w, u))
        long = jnp.clip(long, h["shortest"], h["longest"])
        whole = (long > 0) & (step > 0)
        ratio = jnp.where(whole, long / jnp.where(whole, step, 1), 1)
        return w - h["learning_rate"] * ratio * u, {"first": m, "second": v}

    hyperparameters = {
        "learning_rate": learning_rate,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "epsilon": epsilon if epsilon is not None else 1e-7 if keras else 1e-6,
        "weight_decay": weight_decay,
        "shortest": shortest,
        "longest": longest,
    }
    return by_group(first_and_second, move, hyperparameters, schedule, stacked=lambda path, leaf: True)
