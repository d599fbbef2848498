"""Clipping of gradients before an optimizer sees them: entries, all of them together, each leaf, each unit."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp

from functional_dl.optim.layout import Group, Packed
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.patterns import Mask, by_shape, chosen, holds, one_by_one
from functional_dl.optim.pointwise import convention_of, wide
from functional_dl.optim.wrapping import regraded
from functional_dl.trees import global_norm

__all__ = ["clip_adaptively", "clip_by_global_norm", "clip_by_leaf_norm", "clip_by_value"]

Convention = Literal["paper", "torch", "optax", "keras"]
CONVENTIONS = ("paper", "torch", "optax", "keras")


def _factor(due: Any, norm: Any, always: bool, epsilon: float = 0.0) -> Any:
    """By what gradients of this norm are multiplied; zero gradients stay, NaN stays NaN."""
    zero = norm == 0
    factor = due / (jnp.where(zero, 1.0, norm) + epsilon)
    return jnp.where(zero, 1.0, factor if always else jnp.minimum(1.0, factor))


def clip_by_value(optimizer: Optimizer, limit: float) -> Optimizer:
    """g = max(−c, min(c, g)) for each entry (Mikolov 2012; torch's ``clip_grad_value_``).

    Args:
      optimizer: what gets the gradients.
      limit: c, the hyperparameter ``clip_value``.  Infinite entries become ±c, NaN stays.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.clip_by_value(optim.sgd(1.0), 0.5)
      >>> print(optimizer.update(optimizer.init(jnp.zeros(2)), jnp.array([0.25, -3.0])).params)
      [-0.25  0.5 ]
    """

    def change(state: State, packed: Packed) -> Packed:
        c = state.hyperparameters["clip_value"]
        return jax.tree.map(lambda g: jnp.clip(wide(g), -c, c).astype(g.dtype), packed)

    return regraded(optimizer, change, {"clip_value": limit})


def clip_by_global_norm(
    optimizer: Optimizer, threshold: float, always: bool = False, convention: Convention = "paper"
) -> Optimizer:
    """g = min(1, c/‖g‖) g with the joint norm of all gradients (Pascanu et al. 2013, algorithm 1).

    Args:
      optimizer: what gets the gradients.
      threshold: c, the hyperparameter ``clip_threshold``.
      always: g = c/‖g‖ g: rescale shorter gradients *up* to c as well, as the textbook has it (Aggarwal 2018, section
        3.5.5).
      convention: ``"torch"`` divides by ‖g‖ + 1e-6, so that gradients come out a little shorter than c; the others
        agree with the paper.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.clip_by_global_norm(optim.sgd(1.0), 1.0)
      >>> print(optimizer.update(optimizer.init(jnp.zeros(2)), jnp.array([3.0, 4.0])).params)
      [-0.6 -0.8]
    """
    epsilon = 1e-6 if convention_of("clip_by_global_norm", convention, CONVENTIONS) == "torch" else 0.0

    def change(state: State, packed: Packed) -> Packed:
        factor = _factor(state.hyperparameters["clip_threshold"], global_norm(packed), always, epsilon)
        return jax.tree.map(lambda g: (g * factor).astype(g.dtype), packed)

    return regraded(optimizer, change, {"clip_threshold": threshold})


def clip_by_leaf_norm(optimizer: Optimizer, threshold: float, always: bool = False) -> Optimizer:
    """g_l = min(1, c/‖g_l‖) g_l for each leaf l by itself (Keras's ``clipnorm``).

    Leaves of one shape lie in one array of their own, which makes their norms one reduction.

    Args:
      optimizer: what gets the gradients.
      threshold: c, the hyperparameter ``clip_leaf_norm``.
      always: rescale shorter gradients up to c as well.
    """

    def change(state: State, packed: Packed) -> Packed:
        def clip(group: Group, g: Any) -> Any:
            each = wide(one_by_one(group, g))
            norm = jnp.sqrt(jnp.sum(each * each, axis=tuple(range(1, each.ndim)), keepdims=True))
            factor = _factor(state.hyperparameters["clip_leaf_norm"], norm, always)
            return (each * factor).reshape(g.shape).astype(g.dtype)

        return state.layout.map(clip, packed)

    return regraded(optimizer, change, {"clip_leaf_norm": threshold}, apart=by_shape)


def clip_adaptively(optimizer: Optimizer, ratio: float = 0.01, epsilon: float = 1e-3, mask: Mask = "*") -> Optimizer:
    """g_u = min(1, λ max(‖w_u‖, ε)/‖g_u‖) g_u for each unit u (adaptive gradient clipping, Brock et al. 2021, eq. 3).

    A unit of a kernel is its fan-in: the norms go over all axes but the last, which is that of the outputs in this
    library's dense and convolution kernels.  Vectors and scalars (biases, gains) are one unit, as in the authors' code.
    They leave the last layer as it is, for which there is ``mask``.

    Args:
      optimizer: what gets the gradients.
      ratio: λ, the hyperparameter ``clip_ratio``; 0.01 is theirs at batches of 4096, smaller batches take more.
      epsilon: ε, the hyperparameter ``clip_epsilon``, below which a weight's norm counts as ε: units that start at
        zero could not move otherwise.
      mask: which leaves are clipped: a pattern of their paths or ``mask(path, leaf) -> bool``, where of the leaf shape
        and dtype are seen.
    """

    def norm(x: Any) -> Any:
        axes = tuple(range(1, x.ndim - 1)) if x.ndim > 2 else tuple(range(1, x.ndim))
        return jnp.sqrt(jnp.sum(x * x, axis=axes, keepdims=True))

    def change(state: State, packed: Packed) -> Packed:
        h = state.hyperparameters

        def clip(group: Group, g: Any, w: Any) -> Any:
            if not holds(mask, group):
                return g
            each = wide(one_by_one(group, g))
            due = h["clip_ratio"] * jnp.maximum(norm(wide(one_by_one(group, w))), h["clip_epsilon"])
            return (each * _factor(due, norm(each), always=False)).reshape(g.shape).astype(g.dtype)

        return state.layout.map(clip, packed, state.packed)

    hyperparameters = {"clip_ratio": ratio, "clip_epsilon": epsilon}
    return regraded(
        optimizer, change, hyperparameters, apart=lambda path, x: (by_shape(path, x), chosen(mask, path, x))
    )
