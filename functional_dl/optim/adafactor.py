"""Adafactor: second moments of matrices kept as a row and a column, and steps relative to the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.quotients import over_root
from functional_dl.optim.schedules import Schedule

__all__ = ["adafactor"]

Convention = Literal["paper", "torch", "optax", "keras"]
CONVENTIONS = ("paper", "torch", "optax", "keras")


def adafactor(
    learning_rate: float | None = None,
    decay_power: float = 0.8,
    momentum: float | None = None,
    epsilon: float | None = None,
    smallest_scale: float = 1e-3,
    update_clip: float = 1.0,
    relative: bool | None = None,
    scaled: bool = True,
    smallest_factored: int | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "paper",
) -> Optimizer:
    """U = g/√Â;  w −= ρₜ max(ε₂, RMS(w)) U/max(1, RMS(U)/d), leaf by leaf  (Shazeer & Stern 2018, algorithms 4–6).

    For matrices Â = R C/mean(R), with R and C the means over columns and over rows of A = β A + (1 − β)(g² + ε), which
    is itself not kept; for scalars and vectors Â = A.  β = 1 − t^(−0.8), and ρₜ = min(a, 1/√t).  Of tensors the last
    two axes are the matrix.  RMS is over one leaf.

    Args:
      learning_rate: a; 1e-2, or 1e-3 for Keras.
      decay_power: 0.8 in β.
      momentum: w moves by a running mean, V = β₁ V + (1 − β₁) step; ``None``, as in the paper's last form: none, and no
        memory for V.
      epsilon: ε; 1e-30, or float32's for torch.
      smallest_scale: ε₂, so that zeros can move.
      update_clip: d.
      relative: ρₜ falls with t; otherwise it is a.  By default it does, except in optax's convention.
      scaled: multiply by max(ε₂, RMS(w)); otherwise the steps are absolute.
      smallest_factored: matrices with a shorter side keep all of A; 1, or 128 for optax.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: ``"torch"`` adds no ε to g²; its Â is max(R C/max(mean(R), ε), ε²).  ``"optax"`` factors the two
        longest axes.  ``"keras"`` is as the paper.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> state = optim.adafactor().init({"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)})
      >>> print({name: value.shape for name, value in state.moments["rows"].items() if value is not None})
      {'kernel': (3, 1)}
    """
    convention_of("adafactor", convention, CONVENTIONS)
    torch, optax = convention == "torch", convention == "optax"
    falls = relative if relative is not None else not optax
    shortest = smallest_factored if smallest_factored is not None else 128 if optax else 1

    def axes(group: Group) -> tuple[int, int] | None:
        """The axes of the stacked array that are factored."""
        shape = group.shapes[0]
        order = np.argsort(shape, kind="stable").tolist() if optax else list(range(len(shape)))
        if len(shape) < 2 or min(shape[order[-2]], shape[order[-1]]) < shortest:
            return None
        return order[-2] + 1, order[-1] + 1

    def start(w: Any, group: Group) -> dict[str, Any]:
        pair = axes(group)
        made = {"velocity": jnp.zeros_like(w)} if momentum is not None else {}
        if pair is None:
            return {**made, "second": jnp.zeros_like(w)}
        empty = jnp.zeros_like(w)
        return {
            **made,
            "rows": jnp.mean(empty, pair[1], keepdims=True),
            "columns": jnp.mean(empty, pair[0], keepdims=True),
        }

    def rms(x: Any) -> Any:
        return jnp.sqrt(jnp.mean(x * x, tuple(range(1, x.ndim)), keepdims=True))

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        h, pair, new = now.h, axes(now.group), {}
        share = now.t ** -h["decay_power"]  # 1 − β, exactly 1 at the first step
        square = g * g if torch else g * g + h["epsilon"]
        if pair is None:
            estimate = new["second"] = (1 - share) * moments["second"] + share * square
        else:
            rows, columns = (jnp.mean(square, axis, keepdims=True) for axis in (pair[1], pair[0]))
            rows = new["rows"] = (1 - share) * moments["rows"] + share * rows
            columns = new["columns"] = (1 - share) * moments["columns"] + share * columns
            mean = jnp.mean(rows, pair[0], keepdims=True)
            mean = jnp.maximum(mean, h["epsilon"]) if torch else jnp.where(mean == 0, 1, mean)
            estimate = rows / mean * columns
        if torch:
            estimate = jnp.maximum(estimate, h["epsilon"] ** 2)
        step = over_root(g, estimate)
        step = step / jnp.maximum(1, rms(step) / h["update_clip"])
        rate = jnp.minimum(h["learning_rate"], 1 / jnp.sqrt(now.t)) if falls else h["learning_rate"]
        step = rate * (jnp.maximum(h["smallest_scale"], rms(w)) if scaled else 1) * step
        if momentum is not None:
            step = new["velocity"] = h["momentum"] * moments["velocity"] + (1 - h["momentum"]) * step
        return w - step, new

    hyperparameters = {
        "learning_rate": learning_rate if learning_rate is not None else 1e-3 if convention == "keras" else 1e-2,
        "decay_power": decay_power,
        "epsilon": epsilon if epsilon is not None else float(jnp.finfo(jnp.float32).eps) if torch else 1e-30,
        "smallest_scale": smallest_scale,
        "update_clip": update_clip,
    }
    if momentum is not None:
        hyperparameters["momentum"] = momentum
    return by_group(start, move, hyperparameters, schedule, stacked=lambda path, leaf: True)
