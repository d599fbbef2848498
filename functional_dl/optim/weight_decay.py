"""Weight decay for those leaves that a mask means, beside the gradient or in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from functional_dl.optim.layout import Packed
from functional_dl.optim.optimizer import Optimizer, State
from functional_dl.optim.patterns import Mask, chosen, holds
from functional_dl.optim.pointwise import wide
from functional_dl.optim.wrapping import regraded, widely, wrapped

__all__ = ["decay_weights"]


def decay_weights(optimizer: Optimizer, amount: float, mask: Mask = "*", coupled: bool = False) -> Optimizer:
    """W = update(W, g) − a λ W, decoupled from the gradient (Loshchilov & Hutter 2019), or update(W, g + λ W).

    No mask is stored: leaves that decay and leaves that do not lie in different arrays.  Decoupled decay takes the
    rate a of the step, schedule and parameter group included, and rests where the optimizer rests.  Coupled decay is
    the gradient of λ/2 ‖W‖² at the point where the optimizer wants the loss's.

    Args:
      optimizer: what moves the parameters.
      amount: λ, the hyperparameter ``decoupled_decay`` or ``coupled_decay``.
      mask: which leaves decay: a pattern of their paths such as ``"*kernel"``, or ``mask(path, leaf) -> bool``, where
        of the leaf shape and dtype are seen: ``lambda path, leaf: leaf.ndim > 1``.
      coupled: add it to the gradient, L2 regularisation, which adaptive optimizers rescale.

    Raises:
      KeyError: at ``init``, if it is decoupled and the optimizer has no learning rate.

    Example:
      >>> import jax, jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.decay_weights(optim.sgd(0.1), 1.0, mask="*kernel")
      >>> state = optimizer.init({"bias": jnp.ones(1), "kernel": jnp.ones((1, 1))})
      >>> print(optimizer.update(state, jax.tree.map(jnp.zeros_like, state.params)).params)
      {'bias': Array([1.], dtype=float32), 'kernel': Array([[0.9]], dtype=float32)}
    """

    def apart(path: str, leaf: Any) -> bool:
        return chosen(mask, path, leaf)

    if coupled:

        def change(state: State, packed: Packed) -> Packed:
            at = optimizer.eval_params(state.on(state.layout.unrounded()))
            weights, amount = state.layout.pack(at, own_types=True), state.hyperparameters["coupled_decay"]
            arrays = [
                (wide(g) + amount * wide(w)).astype(g.dtype) if holds(mask, group) else g
                for group, g, w in zip(state.layout.groups, packed.arrays, weights.arrays, strict=True)
            ]
            return replace(packed, arrays=tuple(arrays))

        return regraded(optimizer, change, {"coupled_decay": amount}, apart)

    def update(state: State, grads: Any) -> State:
        new, rates = widely(optimizer, state, grads), optimizer.rates(state)
        # Decay goes with a step: where the optimizer only gathers gradients, or skips bad ones, weights stay.
        amount = state.hyperparameters["decoupled_decay"] * (new.step - state.step).astype(jnp.float32)
        arrays = []
        for group, rate, old, w in zip(state.layout.groups, rates, state.packed.arrays, new.packed.arrays, strict=True):
            arrays.append((w - rate * amount * wide(old) if holds(mask, group) else w).astype(old.dtype))
        return replace(new, packed=replace(new.packed, arrays=tuple(arrays)))

    made = wrapped(optimizer, update, {"decoupled_decay": amount}, apart=apart)

    def init(params: Any, **layout: Any) -> State:
        state = made.init(params, **layout)
        try:
            optimizer.rates(state)
        except KeyError as error:
            raise KeyError("decay_weights: this optimizer has no learning_rate; take coupled=True") from error
        return state

    return made._replace(init=init)
