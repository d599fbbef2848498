"""AMSGrad: Adam whose second moment never falls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.adam import first_and_second
from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.quotients import over_root
from functional_dl.optim.schedules import Schedule

__all__ = ["amsgrad"]

Convention = Literal["paper", "torch", "optax", "keras"]
CONVENTIONS = ("paper", "torch", "optax", "keras")
EPSILON = {"paper": 0.0, "torch": 1e-8, "optax": 1e-8, "keras": 1e-7}


def _with_largest(w: Any, group: Group) -> dict[str, Any]:
    return {**first_and_second(w, group), "largest": jnp.zeros_like(w)}


def amsgrad(
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "paper",
) -> Optimizer:
    """F = β₁F + (1 − β₁)g;  A = β₂A + (1 − β₂)g²;  Â = max(Â, A);  w −= a F/(√Â + ε)  (Reddi et al. 2018, algorithm 2).

    Args:
      learning_rate: a.
      beta_1, beta_2: how slowly F and A follow, in [0, 1).
      epsilon: ε; 0 in the paper's convention, 1e-7 in Keras's, otherwise 1e-8.  Where √Â + ε is 0 nothing moves.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: the paper unbiases nothing; ``"torch"`` takes the largest A and then unbiases,
        w −= a/(1 − β₁ᵗ) F/(√(Â/(1 − β₂ᵗ)) + ε); ``"keras"`` the same with ε added to √Â alone; ``"optax"`` takes the
        largest unbiased A, Â = max(Â, A/(1 − β₂ᵗ)).
    """
    convention_of("amsgrad", convention, CONVENTIONS)

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        a, b1, b2, epsilon = (now.h[name] for name in ("learning_rate", "beta_1", "beta_2", "epsilon"))
        m = b1 * moments["first"] + (1 - b1) * g
        v = b2 * moments["second"] + (1 - b2) * g * g
        c1, c2 = 1 - b1**now.t, 1 - b2**now.t
        largest = jnp.maximum(moments["largest"], v / c2 if convention == "optax" else v)
        if convention == "paper":
            step = over_root(m, largest, outside=epsilon)
        elif convention == "keras":
            step = jnp.sqrt(c2) / c1 * over_root(m, largest, outside=epsilon)
        else:
            step = over_root(m / c1, largest / c2 if convention == "torch" else largest, outside=epsilon)
        return w - a * step, {"first": m, "second": v, "largest": largest}

    hyperparameters = {
        "learning_rate": learning_rate,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "epsilon": epsilon if epsilon is not None else EPSILON[convention],
    }
    return by_group(_with_largest, move, hyperparameters, schedule)
