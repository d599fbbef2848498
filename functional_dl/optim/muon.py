"""Muon: momentum whose matrices are made orthogonal before the step, with AdamW for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax.numpy as jnp

from functional_dl.optim.adam import first_and_second
from functional_dl.optim.layout import Group
from functional_dl.optim.matrices import (
    Choice,
    as_matrices,
    hidden,
    in_scanned_blocks,
    is_matrix,
    is_scanned,
    of_matrices,
)
from functional_dl.optim.newton_schulz import orthogonalized
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.schedules import Schedule

__all__ = ["muon"]

Convention = Literal["jordan", "moonlight"]


def muon(
    learning_rate: float | None = None,
    momentum: float = 0.95,
    weight_decay: float | None = None,
    epsilon: float = 1e-7,
    adam_learning_rate: float | None = None,
    adam_beta_1: float = 0.9,
    adam_beta_2: float = 0.95,
    adam_epsilon: float | None = None,
    adam_weight_decay: float | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    convention: Convention = "jordan",
    matrices: Choice = hidden,
    scanned: Choice = in_scanned_blocks,
    steps: int = 5,
    bfloat16: bool = False,
) -> Optimizer:
    """V = μ V + G;  W −= a (s · NewtonSchulz(G + μ V) + λ W)  for matrices, AdamW for others (Jordan et al. 2024).

    s = √max(1, outputs/inputs).  Jordan writes rows/columns, as PyTorch keeps a kernel as (outputs, inputs); here it is
    (inputs, outputs).  Kernels of convolutions count as (window · inputs, outputs), fused ones such as ``qkv`` as one
    matrix.

    Args:
      learning_rate: a; 0.02, for Moonlight 1e-3.
      momentum: μ.
      weight_decay: λ, decoupled; 0, for Moonlight 0.1.
      epsilon: of the normalisation before Newton–Schulz.
      adam_learning_rate: for the rest; 3e-4, for Moonlight 1e-3.  A schedule of ``learning_rate`` goes for it as well,
        unless it has its own.
      adam_beta_1, adam_beta_2, adam_epsilon, adam_weight_decay: as of `adamw`; ε is 1e-10 and the decay 0, for
        Moonlight 1e-8 and 0.1.
      schedule: of the learning rate, or a dict by hyperparameter.
      convention: ``"moonlight"`` takes s = 0.2 √max(inputs, outputs), with which steps have the size of Adam's and both
        share a rate (Liu et al. 2025, eq. 4).
      matrices: ``matrices(path, leaf)``: which leaves of two axes and more count as hidden matrices.  By default all
        but ``…/table`` and ``…head/…``, the names of tables and output layers in `functional_dl.nn`.  The output layer
        of an `nn.mlp` is ``dense_<n>`` and counts as hidden unless this says otherwise.
      scanned: ``scanned(path, leaf)``: which leaves have a first axis of layers, each a matrix of its own; by default
        ``blocks/…`` without a number after it.
      steps: of Newton–Schulz.
      bfloat16: iterate in bfloat16, the fastest on accelerators.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.muon(0.1)
      >>> state = optimizer.init({"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)})
      >>> state = optimizer.update(state, {"kernel": jnp.array([[5.0, 0.0], [0.0, 1.0]]), "bias": jnp.ones(2)})
      >>> print(jnp.round(state.params["kernel"], 2))
      [[-0.07  0.  ]
       [ 0.   -0.08]]
    """
    moonlight = convention_of("muon", convention, ("jordan", "moonlight")) == "moonlight"

    def default(value: float | None, jordans: float, moonlights: float) -> float:
        return value if value is not None else moonlights if moonlight else jordans

    def stacked(path: str, leaf: Any) -> bool:
        return is_matrix(path, leaf, matrices, scanned)

    def adam_rate(h: Mapping[str, Any]) -> Any:
        follows = "adam_learning_rate_factor" not in h
        return h["adam_learning_rate"] * (h.get("learning_rate_factor", 1.0) if follows else 1.0)

    def rates(state: State) -> tuple[Any, ...]:
        h = state.hyperparameters
        return tuple(h["learning_rate"] if g.kind == "stack" else adam_rate(h) for g in state.layout.groups)

    def start(w: Any, group: Group) -> dict[str, Any]:
        return {"momentum": jnp.zeros_like(w)} if group.kind == "stack" else first_and_second(w, group)

    def together(read: list[tuple[Now, Any, dict[str, Any]]]) -> list[Any]:
        found: list[Any] = [None] * len(read)
        places = [i for i, (now, _, _) in enumerate(read) if now.group.kind == "stack"]
        matrices_of = []
        for now, g, moments in (read[i] for i in places):
            mu = now.h["momentum"]
            ahead = g + mu * (mu * moments["momentum"] + g)
            matrices_of.append(as_matrices(ahead, is_scanned(now.group, scanned)))
        epsilon = read[0][0].h["epsilon"] if read else 0.0
        for i, x in zip(places, orthogonalized(matrices_of, steps, epsilon, bfloat16), strict=True):
            found[i] = x
        return found

    def orthogonal(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        h, mu = now.h, now.h["momentum"]
        v = mu * moments["momentum"] + g
        inputs, outputs = now.shared.shape[-2:]
        scale = 0.2 * max(inputs, outputs) ** 0.5 if moonlight else max(1.0, outputs / max(inputs, 1)) ** 0.5
        step = scale * now.shared.reshape(w.shape)
        return w - h["learning_rate"] * (step + h["weight_decay"] * w), {"momentum": v}

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if now.group.kind == "stack":
            return orthogonal(now, w, g, moments)
        h, b1, b2 = now.h, now.h["adam_beta_1"], now.h["adam_beta_2"]
        a = adam_rate(h)
        m = b1 * moments["first"] + (1 - b1) * g
        v = b2 * moments["second"] + (1 - b2) * g * g
        step = m / (1 - b1**now.t) / (jnp.sqrt(v / (1 - b2**now.t)) + h["adam_epsilon"])
        return w - a * (step + h["adam_weight_decay"] * w), {"first": m, "second": v}

    hyperparameters = {
        "learning_rate": default(learning_rate, 0.02, 1e-3),
        "momentum": momentum,
        "weight_decay": default(weight_decay, 0.0, 0.1),
        "epsilon": epsilon,
        "adam_learning_rate": default(adam_learning_rate, 3e-4, 1e-3),
        "adam_beta_1": adam_beta_1,
        "adam_beta_2": adam_beta_2,
        "adam_epsilon": default(adam_epsilon, 1e-10, 1e-8),
        "adam_weight_decay": default(adam_weight_decay, 0.0, 0.1),
    }
    made = by_group(start, move, hyperparameters, stacked=stacked, together=together)._replace(rates=rates)
    return of_matrices(made, matrices, scanned, schedule)
