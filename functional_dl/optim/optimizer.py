"""What an optimizer is: ``init(params) -> state`` and ``update(state, grads) -> state``, both pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from functional_dl.optim.schedules import Schedule, constant

__all__ = ["Optimizer", "State", "begin", "hyperparameters", "rate"]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["step", "params", "moments", "hyperparameters"],
    meta_fields=[],
)
@dataclass(frozen=True)
class State:
    """The state of an optimizer: a pytree, to be passed through `jax.jit` and stored by name.

    Attributes:
      step: int32, how many updates were made.
      params: the parameters, the user's own pytree.
      moments: by name, pytrees like ``params`` in float32 (wider for wider parameters).
      hyperparameters: by name, float32 scalars; to change one never recompiles.
    """

    step: jax.Array
    params: Any
    moments: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]

    def replace(self, **changes: Any) -> State:
        """A copy with some fields changed, ``hyperparameters`` being merged key by key.

        Example:
          >>> import jax.numpy as jnp, functional_dl.optim as optim
          >>> state = optim.sgd(0.1).init({"w": jnp.ones(2)})
          >>> print(state.replace(hyperparameters={"learning_rate": 0.01}).hyperparameters["learning_rate"])
          0.01
        """
        unknown = changes.get("hyperparameters", {}).keys() - self.hyperparameters.keys()
        if unknown:
            known = ", ".join(sorted(self.hyperparameters))
            raise KeyError(f"unknown hyperparameter {', '.join(sorted(unknown))}; this optimizer has {known}")
        merged = {**self.hyperparameters, **hyperparameters(**changes.pop("hyperparameters", {}))}
        fields = {"step": self.step, "params": self.params, "moments": self.moments, "hyperparameters": merged}
        return State(**{**fields, **changes})


class Optimizer(NamedTuple):
    """A pair of pure functions: ``init(params) -> State`` and ``update(state, grads) -> State``."""

    init: Callable[[Any], State]
    update: Callable[[State, Any], State]


def hyperparameters(**values: float) -> dict[str, jax.Array]:
    """Scalars as float32 arrays."""
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


def begin(params: Any, moments: Mapping[str, Any], schedule: Schedule | None, **values: float) -> State:
    """The first state: parameters as arrays, step 0, hyperparameters with those of the schedule."""
    scheduled = {} if schedule is None else {f"schedule_{k}": v for k, v in schedule.constants.items()}
    return State(
        jnp.zeros((), jnp.int32),
        jax.tree.map(jnp.array, params),
        dict(moments),
        hyperparameters(**values, **scheduled),
    )


def rate(state: State, schedule: Schedule | None) -> jax.Array:
    """The learning rate of the step about to be made: the state's, times the schedule's factor."""
    schedule = schedule or constant()
    constants = {k: state.hyperparameters[f"schedule_{k}"] for k in schedule.constants}
    return state.hyperparameters["learning_rate"] * schedule.factor(state.step, constants)
