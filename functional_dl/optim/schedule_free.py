"""Schedule-free SGD and AdamW: the parameters are an average that needs no decaying rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from functional_dl.optim.layout import Group
from functional_dl.optim.narrow import as_stored, is_narrow
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.pointwise import Now, by_group
from functional_dl.optim.schedules import Schedule
from functional_dl.optim.wrapping import scheduled

__all__ = ["schedule_free_adamw", "schedule_free_sgd"]


def schedule_free_sgd(
    learning_rate: float = 1.0,
    beta: float = 0.9,
    weight_decay: float = 0.0,
    warmup: int = 0,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
) -> Optimizer:
    """z −= γ_t (g(y) + λ y);  x = (1 − c_t) x + c_t z;  y = (1 − β) z + β x  (Defazio et al. 2024, eq. 3–5).

    c_t = γ_t² / Σ_{i ≤ t} γ_i², with γ_t = γ min(1, t/warmup), so that x is the mean of all z, of each weighted by γ².
    ``state.params`` is x, to test and to ship; the gradient is to be taken at ``eval_params(state)``, which is y.

    Args:
      learning_rate: γ; larger than of SGD with a schedule.
      beta: β: 0 is averaging (Polyak & Ruppert), 1 would be primal averaging.
      weight_decay: λ, of y.
      warmup: steps over which γ_t rises; 0 is none.
      schedule: factors on hyperparameters for those who want them all the same.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.schedule_free_sgd(0.5, beta=0.5)
      >>> state = optimizer.init(jnp.array([0.0]))
      >>> for _ in range(2):
      ...     state = optimizer.update(state, jnp.array([1.0]))
      >>> print(state.params, state.moments["z"], optimizer.eval_params(state))
      [-0.75] [-1.] [-0.875]
    """

    def rate(h: Mapping[str, Any], t: Any) -> Any:
        return h["learning_rate"] * jnp.minimum(1.0, t / jnp.maximum(h["warmup"], 1.0))

    def slope(now: Now, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return g, {}

    hyperparameters = {"learning_rate": learning_rate, "beta": beta, "weight_decay": weight_decay, "warmup": warmup}
    return _schedule_free((), rate, slope, "beta", hyperparameters, schedule)


def schedule_free_adamw(
    learning_rate: float = 2.5e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    warmup: int = 0,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
) -> Optimizer:
    """A = β₂A + (1 − β₂)g(y)²;  z −= γ_t (g/(√A + ε) + λ y);  x = (1 − c_t) x + c_t z  (Defazio et al. 2024, alg. 1).

    y = (1 − β₁) z + β₁ x;  γ_t = γ √(1 − β₂ᵗ) min(1, t/warmup);  c_t = γ_t² / Σ_{i ≤ t} γ_i².  ``state.params``
    is x, to test and to ship; the gradient is to be taken at ``eval_params(state)``, which is y.  Statistics of batch
    norm are then those of y: renew them at x before testing.

    Args:
      learning_rate: γ.
      beta_1: how far y is from z to x; it takes the place of Adam's first moment.
      beta_2: how slowly A follows.
      epsilon: ε.
      weight_decay: λ, of y.
      warmup: steps over which γ_t rises; 0 is none.
      schedule: factors on hyperparameters for those who want them all the same.
    """

    def rate(h: Mapping[str, Any], t: Any) -> Any:
        rising = jnp.minimum(1.0, t / jnp.maximum(h["warmup"], 1.0))
        return h["learning_rate"] * jnp.sqrt(1 - h["beta_2"] ** t) * rising

    def slope(now: Now, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        b2 = now.h["beta_2"]
        v = b2 * moments["second"] + (1 - b2) * g * g
        return g / (jnp.sqrt(v) + now.h["epsilon"]), {"second": v}

    hyperparameters = {
        "learning_rate": learning_rate,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "epsilon": epsilon,
        "weight_decay": weight_decay,
        "warmup": warmup,
    }
    return _schedule_free(("second",), rate, slope, "beta_1", hyperparameters, schedule)


def _schedule_free(
    own: tuple[str, ...],
    rate: Callable[[Mapping[str, Any], Any], Any],
    slope: Callable[[Now, Any, dict[str, Any]], tuple[Any, dict[str, Any]]],
    between: str,
    hyperparameters: Mapping[str, float],
    schedule: Schedule | Mapping[str, Schedule] | None,
) -> Optimizer:
    """The three sequences around ``slope(now, g, moments) -> (step, moments)`` with moments ``own``, zero at first."""

    def start(w: Any, group: Group) -> dict[str, Any]:
        # A copy: the same buffer twice in a state could not be donated.
        moments = {"z": jnp.array(w), **{name: jnp.zeros_like(w) for name in own}}
        # An average moves by a t-th of what z moves, which is soon less than bfloat16 can hold: the rest is kept.
        return {**moments, "rest": jnp.zeros_like(w)} if is_narrow(group.dtype) else moments

    def average(w: Any, moments: dict[str, Any]) -> Any:
        return w + moments["rest"] if "rest" in moments else w

    def look(now: Now, w: Any, moments: dict[str, Any]) -> Any:
        beta = now.h[between]
        return (1 - beta) * moments["z"] + beta * average(w, moments)

    def tick(h: Mapping[str, Any], t: Any, scalars: Mapping[str, Any]) -> dict[str, Any]:
        return {"weight_sum": scalars["weight_sum"] + rate(h, t) ** 2}

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        gamma, total = rate(now.h, now.t), now.scalars["weight_sum"]
        # With a rate of 0 so far there is nothing to weigh.
        c = jnp.where(total > 0, gamma**2 / jnp.where(total > 0, total, 1), 0)
        step, new = slope(now, g, moments)
        z = moments["z"] - gamma * (step + now.h["weight_decay"] * look(now, w, moments))
        x = average(w, moments)
        x = x + c * (z - x)
        if "rest" not in moments:
            return x, {**new, "z": z}
        # What wrappers widen for one step is stored like this afterwards.
        stored = as_stored(x, now.group.dtypes[0])
        return stored, {**new, "z": z, "rest": x - stored}

    def rates(state: State) -> tuple[Any, ...]:
        t = jnp.asarray(state.step + 1, jnp.float32)
        return (rate(state.hyperparameters, t),) * len(state.layout.groups)

    made = by_group(start, move, hyperparameters, look=look, tick=tick, remembered={"weight_sum": 0.0})
    made = made._replace(rates=rates)
    if schedule is None:
        return made
    return scheduled(made, **(schedule if isinstance(schedule, Mapping) else {"learning_rate": schedule}))
