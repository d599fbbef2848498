"""Schedules: how the learning rate's factor goes with the step; their constants are arrays in the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

__all__ = ["SCHEDULES", "Schedule", "constant", "cosine", "exponential", "inverse_time", "warmup_cosine"]


class Schedule(NamedTuple):
    """A factor on the learning rate.

    Attributes:
      factor: ``factor(step, constants) -> scalar``, with steps counted from 0.
      constants: its constants, which an optimizer keeps in its state so that changing them never recompiles.
    """

    factor: Callable[[Any, Mapping[str, Any]], Any]
    constants: Mapping[str, float]


def constant() -> Schedule:
    """a_t = a₀."""
    return Schedule(lambda t, c: jnp.float32(1), {})


def exponential(k: float) -> Schedule:
    """a_t = a₀ e^(−k t)."""
    return Schedule(lambda t, c: jnp.exp(-c["k"] * t), {"k": k})


def inverse_time(k: float) -> Schedule:
    """a_t = a₀ / (1 + k t)."""
    return Schedule(lambda t, c: 1 / (1 + c["k"] * t), {"k": k})


def _cosine(t: Any, steps: Any, end: Any) -> Any:
    return end + (1 - end) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(t / steps, 0, 1)))


def cosine(steps: int, end: float = 0.0) -> Schedule:
    """Half a cosine from 1 down to ``end`` over ``steps`` (Loshchilov & Hutter 2017), ``end`` after."""
    return Schedule(lambda t, c: _cosine(t, c["steps"], c["end"]), {"steps": steps, "end": end})


def warmup_cosine(steps: int, warmup: int, end: float = 0.0) -> Schedule:
    """Linear from 1/warmup to 1 over ``warmup`` steps, then half a cosine down to ``end`` at ``steps``."""

    def factor(t: Any, c: Mapping[str, Any]) -> Any:
        rising = (t + 1) / jnp.maximum(c["warmup"], 1)
        return jnp.where(t < c["warmup"], rising, _cosine(t - c["warmup"], c["steps"] - c["warmup"], c["end"]))

    return Schedule(factor, {"steps": steps, "warmup": warmup, "end": end})


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    f.__name__: f for f in (constant, exponential, inverse_time, cosine, warmup_cosine)
}
