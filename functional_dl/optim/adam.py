"""Adam and, with weight decay, AdamW."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.optimizer import Optimizer, State, begin, rate
from functional_dl.optim.schedules import Schedule
from functional_dl.trees import zeros_like

__all__ = ["adam"]


def adam(
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    schedule: Schedule | None = None,
) -> Optimizer:
    """F = β₁F + (1 − β₁)g;  A = β₂A + (1 − β₂)g²;  w −= a (F̂/(√Â + ε) + λ w)  (Kingma & Ba 2015, algorithm 1).

    F̂ = F/(1 − β₁ᵗ) and Â = A/(1 − β₂ᵗ) are unbiased.  λ is decoupled decay, times the rate (Loshchilov & Hutter
    2019).  The moments are float32 whatever the parameters are: in bfloat16 A would stall, since 1 − β₂ is below its
    rounding.
    """

    def init(params: Any) -> State:
        moments = {"first": zeros_like(params, jnp.float32), "second": zeros_like(params, jnp.float32)}
        return begin(
            params,
            moments,
            schedule,
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            weight_decay=weight_decay,
        )

    def update(state: State, grads: Any) -> State:
        h, a, t = state.hyperparameters, rate(state, schedule), state.step + 1
        wide = jax.tree.map(lambda g: g.astype(jnp.float32), grads)
        b1, b2 = h["beta_1"], h["beta_2"]
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.moments["first"], wide)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.moments["second"], wide)
        c1, c2 = 1 - b1**t, 1 - b2**t

        def move(w: Any, m: Any, v: Any) -> Any:
            own = w.astype(jnp.float32)
            step = (m / c1) / (jnp.sqrt(v / c2) + h["epsilon"]) + h["weight_decay"] * own
            return (own - a * step).astype(w.dtype)

        params = jax.tree.map(move, state.params, first, second)
        return State(t, params, {"first": first, "second": second}, h)

    return Optimizer(init, update)
