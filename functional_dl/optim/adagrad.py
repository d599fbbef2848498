"""AdaGrad: each entry's rate falls with the gradients it has had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.quotients import over_root
from functional_dl.optim.schedules import Schedule

__all__ = ["adagrad"]

Convention = Literal["paper", "torch", "optax", "keras"]
CONVENTIONS = ("paper", "torch", "optax", "keras")


def _sum(w: Any, group: Group) -> dict[str, Any]:
    return {"second": jnp.zeros_like(w)}


def adagrad(
    learning_rate: float = 0.01,
    initial: float | None = None,
    epsilon: float | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "paper",
) -> Optimizer:
    """A += g²;  w −= a g/(√(A₀ + A) + ε)  (Duchi, Hazan & Singer 2011, figure 1, diagonal).

    A₀ is added where A is used instead of being A's first value, so that it can be changed and tuned like the others.

    Args:
      learning_rate: a.
      initial: A₀; 0, or 0.1 for optax and Keras.
      epsilon: ε; 1e-10, or 1e-7 for optax and Keras.
      schedule: of the learning rate, or a dict by hyperparameter; torch's ``lr_decay`` is `schedules.inverse_time`.
      convention: ``"optax"`` and ``"keras"`` have ε inside the root, √(A₀ + A + ε); ``"torch"`` is as the paper.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.adagrad(0.5)
      >>> state = optimizer.update(optimizer.init(jnp.ones(2)), jnp.array([3.0, 0.0]))
      >>> print(state.params)
      [0.5 1. ]
    """
    inside = convention_of("adagrad", convention, CONVENTIONS) in ("optax", "keras")

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        second = moments["second"] + g * g
        return w - now.h["learning_rate"] * over_root(
            g, second + now.h["initial"], **{"inside" if inside else "outside": now.h["epsilon"]}
        ), {"second": second}

    hyperparameters = {
        "learning_rate": learning_rate,
        "initial": initial if initial is not None else 0.1 if inside else 0.0,
        "epsilon": epsilon if epsilon is not None else 1e-7 if inside else 1e-10,
    }
    return by_group(_sum, move, hyperparameters, schedule)
