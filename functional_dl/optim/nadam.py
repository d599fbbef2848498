"""NAdam: Adam whose momentum is Nesterov's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.adam import first_and_second
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.schedules import Schedule

__all__ = ["nadam"]

Convention = Literal["paper", "torch", "optax", "keras"]
CONVENTIONS = ("paper", "torch", "optax", "keras")


def nadam(
    learning_rate: float = 2e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    momentum_decay: float | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "paper",
) -> Optimizer:
    """w −= a (μₜ₊₁ F/(1 − Πₜ₊₁) + (1 − μₜ) g/(1 − Πₜ))/(√Â + ε)  (Dozat 2016, algorithm 2).

    F = μₜ F + (1 − μₜ) g;  A = β₂ A + (1 − β₂) g²;  Â = β₂ A/(1 − β₂ᵗ);  μₜ = β₁ (1 − 0.96^(ψ t)/2);  Πₜ = μ₁ μ₂ … μₜ.

    Args:
      learning_rate: a.
      beta_1: β₁, what the momentum μ rises to.
      beta_2: β₂, how slowly A follows.
      epsilon: ε; 1e-8, or 1e-7 for Keras.
      momentum_decay: ψ, how fast μ rises; 1/250, or 1 for Keras.  Optax has none: μ is β₁.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: ``"torch"``, ``"optax"`` and ``"keras"`` let F follow with β₁ instead of μₜ and unbias A as Adam does,
        Â = A/(1 − β₂ᵗ).

    Raises:
      ValueError: ``momentum_decay`` is given in optax's convention.
    """
    paper = convention_of("nadam", convention, CONVENTIONS) == "paper"
    rising = convention != "optax"
    if not rising and momentum_decay is not None:
        raise ValueError("nadam: optax's convention has no momentum_decay; leave it out or take another convention.")

    def mu(h: Mapping[str, Any], t: Any) -> Any:
        return h["beta_1"] * (1 - 0.5 * 0.96 ** (t * h["momentum_decay"])) if rising else h["beta_1"]

    def tick(h: Mapping[str, Any], t: Any, scalars: Mapping[str, Any]) -> dict[str, Any]:
        return {"momentum_product": scalars["momentum_product"] * mu(h, t)}

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        h, product = now.h, now.scalars["momentum_product"]
        b2, here, next_ = h["beta_2"], mu(h, now.t), mu(h, now.t + 1)
        follow = here if paper else h["beta_1"]
        m = follow * moments["first"] + (1 - follow) * g
        v = b2 * moments["second"] + (1 - b2) * g * g
        ahead = next_ / (1 - product * next_) * m + (1 - here) / (1 - product) * g
        unbiased = v / (1 - b2**now.t) * (b2 if paper else 1)
        return w - h["learning_rate"] * ahead / (jnp.sqrt(unbiased) + h["epsilon"]), {"first": m, "second": v}

    hyperparameters = {
        "learning_rate": learning_rate,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "epsilon": epsilon if epsilon is not None else 1e-7 if convention == "keras" else 1e-8,
    }
    if rising:
        quick = 1.0 if convention == "keras" else 0.004
        hyperparameters["momentum_decay"] = momentum_decay if momentum_decay is not None else quick
    return by_group(first_and_second, move, hyperparameters, schedule, tick=tick, remembered={"momentum_product": 1.0})
