"""Averages of the parameters over the steps, which generalise better than the last ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.layout import Packed
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.pointwise import wide
from functional_dl.optim.wrapping import wrapped

__all__ = ["average", "swa"]


def average(optimizer: Optimizer, decay: float = 0.999, debias: bool = False, warmup: bool = False) -> Optimizer:
    """M = d M + (1 − d) W after every step, an exponential moving average in float32 (Polyak & Juditsky 1992).

    ``optimizer.result(state)`` is M, and ``state.moments["average"]`` too, which starts at the first parameters.

    Args:
      optimizer: what moves W, whose own ``result`` is averaged.
      decay: d, the hyperparameter ``average_decay``.
      debias: M/(1 − dᵗ) of an M that starts at zero, as Adam's moments: the first parameters do not count.
      warmup: min(d, (1 + t)/(10 + t)) for d, so that early averages are short (TensorFlow's
        ``ExponentialMovingAverage``).

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.average(optim.sgd(1.0), decay=0.5)
      >>> state = optimizer.update(optimizer.init(jnp.array([1.0])), jnp.array([1.0]))
      >>> print(state.params, optimizer.result(state))
      [0.] [0.5]
    """

    def update(state: State, grads: Any) -> State:
        new = optimizer.update(state, grads)
        d = state.hyperparameters["average_decay"]
        if warmup:
            t = new.step.astype(jnp.float32)
            d = jnp.minimum(d, (1 + t) / (10 + t))
        # With the share of M that is of parameters counted, M is unbiased by itself: it moves by (1 − d)/(1 − dᵗ).
        share = d * state.scalars["average_share"] + (1 - d)
        part = jnp.where(share > 0, (1 - d) / jnp.where(share > 0, share, 1.0), 0.0)
        moved = new.step > state.step
        mean = _towards(optimizer, "average", new, jnp.where(moved, part, 0.0))
        share = jnp.where(moved, share, state.scalars["average_share"])
        return _kept(new, "average", mean, average_share=share)

    def result(state: State) -> Any:
        return state.slots["average"].unpack(typed=True)

    remembered = {"average_share": jnp.float32(0 if debias else 1)}
    return wrapped(optimizer, update, {"average_decay": decay}, remembered, _start(optimizer, "average"), result=result)


def swa(optimizer: Optimizer, start: int, every: int = 1) -> Optimizer:
    """M = (n M + W)/(n + 1) every k steps from step s on: stochastic weight averaging (Izmailov et al. 2018).

    ``optimizer.result(state)`` is M, or before there is one what the optimizer itself would give.  Running statistics
    of batch normalisation belong to other parameters: gather them anew for M.

    Args:
      optimizer: what moves W, whose own ``result`` is averaged.
      start: s, the hyperparameter ``swa_start``: the parameters after step s + k are the first that count.
      every: k, the hyperparameter ``swa_every``.  The scalar ``swa_count`` is n.
    """

    def update(state: State, grads: Any) -> State:
        new, h = optimizer.update(state, grads), state.hyperparameters
        over = new.step.astype(jnp.float32) - h["swa_start"]
        due = (new.step > state.step) & (over > 0) & (jnp.mod(over, h["swa_every"]) == 0)
        count = state.scalars["swa_count"] + due.astype(jnp.int32)
        part = jnp.where(due, 1 / jnp.maximum(count, 1).astype(jnp.float32), 0.0)
        return _kept(new, "swa", _towards(optimizer, "swa", new, part), swa_count=count)

    def result(state: State) -> Any:
        mean = state.slots["swa"].unpack(typed=True)
        none = state.scalars["swa_count"] == 0
        return jax.tree.map(lambda own, m: jnp.where(none, own, m), optimizer.result(state), mean)

    remembered = {"swa_count": jnp.zeros((), jnp.int32)}
    hyperparameters = {"swa_start": start, "swa_every": every}
    return wrapped(optimizer, update, hyperparameters, remembered, _start(optimizer, "swa"), result=result)


def _result(optimizer: Optimizer, state: State) -> Packed:
    """What the optimizer gives, not rounded to the user's dtypes, in float32 or wider."""
    layout = state.layout
    due = layout.unrounded()
    given = due.pack(optimizer.result(state.on(due)), "results", own_types=True)
    return replace(jax.tree.map(wide, given), layout=layout)


def _start(optimizer: Optimizer, name: str) -> Callable[[State], dict[str, Packed]]:
    return lambda state: {name: _result(optimizer, state)}


def _towards(optimizer: Optimizer, name: str, state: State, part: Any) -> Packed:
    """The average moved by a part of the way to the optimizer's result."""
    now = _result(optimizer, state)
    return jax.tree.map(lambda m, w: m + part.astype(m.dtype) * (w.astype(m.dtype) - m), state.slots[name], now)


def _kept(state: State, name: str, mean: Packed, **remembered: Any) -> State:
    return replace(state, slots={**state.slots, name: mean}, scalars={**state.scalars, **remembered})
