"""Muon: momentum whose matrices are made orthogonal before the step, with AdamW for everything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
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
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.pointwise import Now, by_group, convention_of
from functional_dl.optim.schedules import Schedule

__all__ = ["muon", "newton_schulz"]

Convention = Literal["jordan", "moonlight"]

# Jordan's coefficients: the slope at 0 is as steep as it gets while five steps map [0.01, 1] into about [0.7, 1.2].
# The fixed point is not 1, on purpose: small singular values come up sooner.
QUINTIC = (3.4445, -4.7750, 2.0315)


def newton_schulz(x: Any, steps: int = 5, epsilon: Any = 1e-7, bfloat16: bool = False) -> Any:
    """U Vᵀ, nearly, of matrices X = U S Vᵀ: X ← X/(‖X‖_F + ε), then X ← a X + (b A + c A²) X with A = X Xᵀ.

    The singular values come out between about 0.7 and 1.2, not at 1.  A matrix of zeros stays zero.

    Args:
      x: (…, rows, columns).
      steps: how many times.
      epsilon: ε.
      bfloat16: whether to iterate in bfloat16, for which the method was made; the norm is taken in float32.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_dl.optim.muon import newton_schulz
      >>> print(jnp.round(newton_schulz(jnp.array([[3.0, 0.0, 0.0], [0.0, -0.1, 0.0]])), 1))
      [[ 0.7  0.   0. ]
       [ 0.  -1.1  0. ]]
    """
    a, b, c = QUINTIC
    own, tall = x.dtype, x.shape[-2] > x.shape[-1]
    x = x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + epsilon)
    x = x.astype(jnp.bfloat16) if bfloat16 else x
    # The Gram matrix of the shorter side is the smaller one.
    x = x.mT if tall else x

    def step(_: Any, x: Any) -> Any:
        gram = x @ x.mT
        return a * x + (b * gram + c * (gram @ gram)) @ x

    # A loop is compiled once, not for each step: with 28 shapes a fifth of the time.
    x = jax.lax.fori_loop(0, steps, step, x)
    return (x.mT if tall else x).astype(own)


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

    def orthogonal(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        h, mu = now.h, now.h["momentum"]
        v = mu * moments["momentum"] + g
        x = as_matrices(g + mu * v, is_scanned(now.group, scanned))
        inputs, outputs = x.shape[-2:]
        scale = 0.2 * max(inputs, outputs) ** 0.5 if moonlight else max(1.0, outputs / max(inputs, 1)) ** 0.5
        step = scale * newton_schulz(x, steps, h["epsilon"], bfloat16).reshape(w.shape)
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
    made = by_group(start, move, hyperparameters, stacked=stacked)._replace(rates=rates)
    return of_matrices(made, matrices, scanned, schedule)
