"""Adam and, with decoupled weight decay, AdamW."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.schedules import Schedule

__all__ = ["adam", "adamw", "first_and_second"]

Convention = Literal["paper", "torch", "optax", "keras"]
CONVENTIONS = ("paper", "torch", "optax", "keras")


def first_and_second(w: Any, group: Group) -> dict[str, Any]:
    """Zeros for both moments, in float32 at least: in bfloat16 A would stall, as 1 − β₂ is below its rounding."""
    return {"first": jnp.zeros_like(w), "second": jnp.zeros_like(w)}


def adam(
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    weight_decay: float = 0.0,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "paper",
) -> Optimizer:
    """F = β₁F + (1 − β₁)g;  A = β₂A + (1 − β₂)g²;  w −= a (F̂/(√Â + ε) + λ w)  (Kingma & Ba 2015, algorithm 1).

    F̂ = F/(1 − β₁ᵗ) and Â = A/(1 − β₂ᵗ) are unbiased; λ is decoupled decay times the rate (see `adamw`).

    Args:
      learning_rate: a.
      beta_1, beta_2: how slowly F and A follow, in [0, 1).
      epsilon: ε; 1e-8, or 1e-7 for Keras.
      weight_decay: λ.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: ``"keras"`` is the paper's section 2: w −= a √(1 − β₂ᵗ)/(1 − β₁ᵗ) F/(√A + ε), whose ε counts for more
        in the first steps; the others agree with algorithm 1.
    """
    keras = convention_of("adam", convention, CONVENTIONS) == "keras"
    return _adam(learning_rate, beta_1, beta_2, epsilon, weight_decay, schedule, keras, decay_by_rate=True)


def adamw(
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    weight_decay: float | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "torch",
) -> Optimizer:
    """Adam with decoupled weight decay: w −= η (a F̂/(√Â + ε)) + decay (Loshchilov & Hutter 2019, algorithm 2).

    Args:
      learning_rate, beta_1, beta_2, epsilon, schedule: as of `adam`; the schedule is η.
      weight_decay: λ; by default 1e-2, in optax's convention 1e-4, in Keras's 4e-3.
      convention: the decay is η a λ w in ``"torch"``, ``"optax"`` and ``"keras"``, and η λ w, without the rate, in
        ``"paper"``.
    """
    keras = convention_of("adamw", convention, CONVENTIONS) == "keras"
    if weight_decay is None:
        weight_decay = {"optax": 1e-4, "keras": 4e-3}.get(convention, 1e-2)
    by_rate = convention != "paper"
    return _adam(learning_rate, beta_1, beta_2, epsilon, weight_decay, schedule, keras, by_rate)


def _adam(
    learning_rate: float,
    beta_1: float,
    beta_2: float,
    epsilon: float | None,
    weight_decay: float,
    schedule: Schedule | Mapping[str, Schedule] | None,
    keras: bool,
    decay_by_rate: bool,
) -> Optimizer:
    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        h = now.h
        b1, b2, a = h["beta_1"], h["beta_2"], h["learning_rate"]
        m = b1 * moments["first"] + (1 - b1) * g
        v = b2 * moments["second"] + (1 - b2) * g * g
        c1, c2 = 1 - b1**now.t, 1 - b2**now.t
        if keras:
            step = jnp.sqrt(c2) / c1 * m / (jnp.sqrt(v) + h["epsilon"])
        else:
            step = m / c1 / (jnp.sqrt(v / c2) + h["epsilon"])
        decay = a if decay_by_rate else h.get("learning_rate_factor", 1.0)
        return w - a * step - decay * h["weight_decay"] * w, {"first": m, "second": v}

    hyperparameters = {
        "learning_rate": learning_rate,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "epsilon": epsilon if epsilon is not None else 1e-7 if keras else 1e-8,
        "weight_decay": weight_decay,
    }
    return by_group(first_and_second, move, hyperparameters, schedule)
