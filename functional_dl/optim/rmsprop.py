"""RMSProp: rates divided by a running root mean square of the gradient, plain and with Nesterov's look-ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.quotients import over_root
from functional_dl.optim.schedules import Schedule

__all__ = ["rmsprop", "rmsprop_nesterov"]

Convention = Literal["paper", "torch", "optax", "keras"]
CONVENTIONS = ("paper", "torch", "optax", "keras")
EPSILON = {"paper": 0.0, "torch": 1e-8, "optax": 1e-8, "keras": 1e-7}


def rmsprop(
    learning_rate: float = 1e-3,
    rho: float | None = None,
    momentum: float | None = None,
    epsilon: float | None = None,
    centered: bool = False,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "paper",
) -> Optimizer:
    """A = ρ A + (1 − ρ) g²;  w −= a g/√(A + ε)  (Tieleman & Hinton 2012, lecture 6.5, which has no ε).

    With momentum V = β V + a g/√(A + ε), w −= V; centred (Graves 2013, eq. 38–41) with F = ρ F + (1 − ρ) g and A − F²
    in place of A, which rounding is kept from making negative.

    Args:
      learning_rate: a.
      rho: ρ; 0.9, or 0.99 for torch.
      momentum: β; ``None``: none, and no memory for V.
      epsilon: ε; 0 in the paper's convention, 1e-7 in Keras's, otherwise 1e-8.  Where √(A + ε) is 0 nothing moves.
      centered: divide by the standard deviation, which costs memory for F.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: ``"torch"`` has ε outside the root, √A + ε, and the rate outside the buffer, V = β V + g/(√A + ε),
        w −= a V; the others agree with the equations above.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.rmsprop(0.5, rho=0.75)
      >>> state = optimizer.update(optimizer.init(jnp.ones(2)), jnp.array([3.0, 0.0]))
      >>> print(state.params)
      [0. 1.]
    """
    torch = convention_of("rmsprop", convention, CONVENTIONS) == "torch"
    place = "outside" if torch else "inside"

    def start(w: Any, group: Group) -> dict[str, Any]:
        names = ("second", *(("first",) if centered else ()), *(("velocity",) if momentum is not None else ()))
        return {name: jnp.zeros_like(w) for name in names}

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        a, rho = now.h["learning_rate"], now.h["rho"]
        spread = second = rho * moments["second"] + (1 - rho) * g * g
        new = {"second": second}
        if centered:
            new["first"] = rho * moments["first"] + (1 - rho) * g
            spread = jnp.maximum(second - new["first"] ** 2, 0)
        step = over_root(g, spread, **{place: now.h["epsilon"]})
        if momentum is None:
            return w - a * step, new
        new["velocity"] = now.h["momentum"] * moments["velocity"] + (step if torch else a * step)
        return w - (a * new["velocity"] if torch else new["velocity"]), new

    hyperparameters = {
        "learning_rate": learning_rate,
        "rho": rho if rho is not None else 0.99 if torch else 0.9,
        "epsilon": epsilon if epsilon is not None else EPSILON[convention],
    }
    if momentum is not None:
        hyperparameters["momentum"] = momentum
    return by_group(start, move, hyperparameters, schedule)


def rmsprop_nesterov(
    learning_rate: float = 1e-3,
    rho: float = 0.9,
    momentum: float = 0.9,
    epsilon: float | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Literal["paper", "optax"] = "paper",
) -> Optimizer:
    """A = ρ A + (1 − ρ) g²;  V = β V − a g/√(A + ε);  w += V, with g at w + β V  (Aggarwal 2018, section 3.5.4).

    The gradient is to be taken at ``eval_params(state)``, which is w + β V, and both A and V come from it.

    Args:
      learning_rate: a.
      rho: ρ.
      momentum: β.
      epsilon: ε; 0, or 1e-8 for optax.  Where √(A + ε) is 0 nothing is added to V.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: in ``"optax"`` the parameters are the look-ahead points themselves, w += β V − a g/√(A + ε) with the
        new V; at a constant β these are the same points.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.rmsprop_nesterov(0.5, rho=0.75, momentum=0.5)
      >>> state = optimizer.update(optimizer.init(jnp.ones(1)), jnp.array([3.0]))
      >>> print(state.params, optimizer.eval_params(state))
      [0.] [-0.5]
    """
    ahead = convention_of("rmsprop_nesterov", convention, ("paper", "optax")) == "paper"

    def start(w: Any, group: Group) -> dict[str, Any]:
        return {"second": jnp.zeros_like(w), "velocity": jnp.zeros_like(w)}

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rho, beta = now.h["rho"], now.h["momentum"]
        second = rho * moments["second"] + (1 - rho) * g * g
        step = now.h["learning_rate"] * over_root(g, second, inside=now.h["epsilon"])
        v = beta * moments["velocity"] - step
        return w + (v if ahead else beta * v - step), {"second": second, "velocity": v}

    def look(now: Now, w: Any, moments: dict[str, Any]) -> Any:
        return w + now.h["momentum"] * moments["velocity"]

    hyperparameters = {
        "learning_rate": learning_rate,
        "rho": rho,
        "momentum": momentum,
        "epsilon": epsilon if epsilon is not None else EPSILON[convention],
    }
    return by_group(start, move, hyperparameters, schedule, look=look if ahead else None)
