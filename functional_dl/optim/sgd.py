"""Stochastic gradient descent, plain and with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.schedules import Schedule

__all__ = ["nesterov", "sgd"]

Convention = Literal["paper", "torch", "optax", "keras"]
CONVENTIONS = ("paper", "torch", "optax", "keras")


def _velocity(w: Any, group: Group) -> dict[str, Any]:
    return {"velocity": jnp.zeros_like(w)}


def sgd(
    learning_rate: float = 0.1,
    momentum: float = 0.0,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "paper",
) -> Optimizer:
    """V = β V − a g;  W += V (Polyak 1964): the learning rate is inside the buffer, as in Keras.

    Args:
      learning_rate: a.
      momentum: β; 0 is plain gradient descent.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: ``"torch"`` and ``"optax"`` keep it outside, V = β V + g; W −= a V, which differs when a changes.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.sgd(0.5)
      >>> state = optimizer.update(optimizer.init(jnp.array([1.0])), jnp.array([1.0]))
      >>> print(state.params)
      [0.5]
    """
    inside = convention_of("sgd", convention, CONVENTIONS) in ("paper", "keras")

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        a, beta, v = now.h["learning_rate"], now.h["momentum"], moments["velocity"]
        v = beta * v - a * g if inside else beta * v + g
        return (w + v if inside else w - a * v), {"velocity": v}

    return by_group(_velocity, move, {"learning_rate": learning_rate, "momentum": momentum}, schedule)


def nesterov(
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "paper",
) -> Optimizer:
    """V = β V − a g(W + β V);  W += V (Nesterov 1983; Sutskever et al. 2013, eq. 3–4).

    The gradient is to be taken at ``eval_params(state)``, which is W + β V.  With the other conventions it is taken at
    the parameters, which are then the look-ahead point W + β V itself: ``"torch"`` and ``"optax"`` V = β V + g,
    W −= a (g + β V); ``"keras"`` V = β V − a g, W += β V − a g.  At a constant rate all
    give the same look-ahead points.

    Args:
      learning_rate: a.
      momentum: β.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: which form.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.nesterov(0.1, momentum=0.5)
      >>> state = optimizer.update(optimizer.init(jnp.array([1.0])), jnp.array([1.0]))
      >>> print(state.params, optimizer.eval_params(state))
      [0.9] [0.84999996]
    """
    convention_of("nesterov", convention, CONVENTIONS)

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        a, beta, v = now.h["learning_rate"], now.h["momentum"], moments["velocity"]
        if convention in ("torch", "optax"):
            v = beta * v + g
            return w - a * (g + beta * v), {"velocity": v}
        v = beta * v - a * g
        return w + (beta * v - a * g if convention == "keras" else v), {"velocity": v}

    def look(now: Now, w: Any, moments: dict[str, Any]) -> Any:
        return w + now.h["momentum"] * moments["velocity"]

    hyperparameters = {"learning_rate": learning_rate, "momentum": momentum}
    return by_group(_velocity, move, hyperparameters, schedule, look=look if convention == "paper" else None)
