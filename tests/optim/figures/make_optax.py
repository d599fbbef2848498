"""Write optax.json: ``JAX_ENABLE_X64=1 python tests/optim/figures/make_optax.py`` where optax is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from course import ARRAYS, CHANGE, RATE, STEPS, gradient, record, start

B, RHO, EPS, DECAY = 0.875, 0.96875, 2**-6, 0.125
MOMENTS = {"beta_1": B, "beta_2": RHO, "epsilon": EPS}


def rate(count: Any) -> Any:
    """Halved midway."""
    return jnp.where(count < CHANGE, RATE, RATE / 2)


RUNS: dict[str, Any] = {
    "sgd momentum": (lambda: optax.sgd(rate, B), "sgd", {"momentum": B}),
    "sgd nesterov": (lambda: optax.sgd(rate, B, nesterov=True), "nesterov", {"momentum": B}),
    "adagrad": (lambda: optax.adagrad(rate, 0.5, EPS), "adagrad", {"initial": 0.5, "epsilon": EPS}),
    "rmsprop": (lambda: optax.rmsprop(rate, RHO, EPS), "rmsprop", {"rho": RHO, "epsilon": EPS}),
    "rmsprop momentum centered": (
        lambda: optax.rmsprop(rate, RHO, EPS, centered=True, momentum=B),
        "rmsprop",
        {"rho": RHO, "epsilon": EPS, "momentum": B, "centered": True},
    ),
    "rmsprop nesterov": (
        lambda: optax.rmsprop(rate, RHO, EPS, momentum=B, nesterov=True),
        "rmsprop_nesterov",
        {"rho": RHO, "epsilon": EPS, "momentum": B},
    ),
    "adadelta": (lambda: optax.adadelta(rate, RHO, EPS), "adadelta", {"rho": RHO, "epsilon": EPS}),
    "adam": (lambda: optax.adam(rate, B, RHO, EPS), "adam", MOMENTS),
    "adamw": (
        lambda: optax.adamw(rate, B, RHO, EPS, weight_decay=DECAY),
        "adamw",
        {**MOMENTS, "weight_decay": DECAY},
    ),
    "nadam": (lambda: optax.nadam(rate, B, RHO, EPS), "nadam", MOMENTS),
    "amsgrad": (lambda: optax.amsgrad(rate, B, RHO, EPS), "amsgrad", MOMENTS),
    "lion": (
        lambda: optax.lion(rate, B, RHO, weight_decay=DECAY),
        "lion",
        {"beta_1": B, "beta_2": RHO, "weight_decay": DECAY},
    ),
    "lamb": (
        lambda: optax.lamb(rate, B, RHO, EPS, weight_decay=DECAY),
        "lamb",
        {**MOMENTS, "weight_decay": DECAY},
    ),
    "adafactor": (
        lambda: optax.adafactor(rate, min_dim_size_to_factor=2, decay_rate=0.75, clipping_threshold=0.75, eps=2**-10),
        "adafactor",
        {"smallest_factored": 2, "decay_power": 0.75, "update_clip": 0.75, "epsilon": 2**-10},
    ),
    "adafactor unfactored": (
        lambda: optax.adafactor(rate, decay_rate=0.75, momentum=B, multiply_by_parameter_scale=False),
        "adafactor",
        {"decay_power": 0.75, "momentum": B, "scaled": False},
    ),
}


def walk(make: Any) -> list[Any]:
    """The parameters at the end."""
    optimizer, params = make(), {name: jnp.asarray(x) for name, x in start().items()}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for t in range(1, STEPS + 1):
        changes, state = update({k: gradient(w, t, jnp.sin) for k, w in params.items()}, state, params)
        params = optax.apply_updates(params, changes)
    return [params[name] for name in ARRAYS]


if __name__ == "__main__":
    record(Path(__file__).with_name("optax.json"), {"optax": optax.__version__, "jax": jax.__version__}, RUNS, walk)
