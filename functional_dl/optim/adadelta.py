"""AdaDelta: steps in the units of the parameters, from the root mean squares of steps and gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.quotients import over_root
from functional_dl.optim.schedules import Schedule

__all__ = ["adadelta"]

Convention = Literal["paper", "torch", "optax", "keras"]
CONVENTIONS = ("paper", "torch", "optax", "keras")


def _squares(w: Any, group: Group) -> dict[str, Any]:
    return {"second": jnp.zeros_like(w), "steps": jnp.zeros_like(w)}


def adadelta(
    learning_rate: float | None = None,
    rho: float | None = None,
    epsilon: float | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "paper",
) -> Optimizer:
    """A = ρ A + (1 − ρ) g²;  Δ = √((δ + ε)/(A + ε)) g;  w −= a Δ;  δ = ρ δ + (1 − ρ) Δ²  (Zeiler 2012, algorithm 1).

    ε is what makes the first step: with ε = 0 it never moves.

    Args:
      learning_rate: a, which the paper does not have; 1, or 0.001 for Keras, with which it hardly moves.
      rho: ρ; 0.95, or 0.9 for torch and optax.
      epsilon: ε; 1e-6, or 1e-7 for Keras.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: whose defaults.  (With optax's own, which has no rate and so no minus, it ascends; this one descends.)

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.adadelta(rho=0.75, epsilon=1.0)
      >>> state = optimizer.update(optimizer.init(jnp.zeros(1)), jnp.array([2.0]))
      >>> print(state.params, state.moments["steps"])
      [-1.4142135] [0.49999997]
    """
    keras = convention_of("adadelta", convention, CONVENTIONS) == "keras"

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rho, epsilon = now.h["rho"], now.h["epsilon"]
        second = rho * moments["second"] + (1 - rho) * g * g
        step = jnp.sqrt(moments["steps"] + epsilon) * over_root(g, second, inside=epsilon)
        steps = rho * moments["steps"] + (1 - rho) * step * step
        return w - now.h["learning_rate"] * step, {"second": second, "steps": steps}

    hyperparameters = {
        "learning_rate": learning_rate if learning_rate is not None else 1e-3 if keras else 1.0,
        "rho": rho if rho is not None else 0.9 if convention in ("torch", "optax") else 0.95,
        "epsilon": epsilon if epsilon is not None else 1e-7 if keras else 1e-6,
    }
    return by_group(_squares, move, hyperparameters, schedule)
