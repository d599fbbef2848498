"""How an optimizer is wrapped in another, and the wrapper that schedules hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.layout import Packed
from functional_dl.optim.optimizer import Apart, Optimizer, State, Storage, scalars
from functional_dl.optim.schedules import Schedule

__all__ = ["regraded", "scheduled", "widely", "wrapped"]


def wrapped(
    inner: Optimizer,
    update: Callable[[State, Any], State],
    hyperparameters: Mapping[str, float] | None = None,
    remembered: Mapping[str, Any] | None = None,
    slots: Callable[[State], Mapping[str, Packed]] | None = None,
    apart: Apart | None = None,
    storage: Storage | None = None,
    **others: Any,
) -> Optimizer:
    """An optimizer around ``inner``, whose state is the inner one's with more in it.

    Args:
      inner: what is wrapped.
      update: the new update; it calls ``inner.update``, which passes on what it does not know.
      hyperparameters, remembered, slots: what is added to the first state.
      apart, storage: what is asked of the layout besides what wrappers further out ask (see `lay_out`).
      others: fields of `Optimizer` that differ from the inner one's.

    Raises:
      ValueError: at ``init``, if the state already has something by such a name, as when an optimizer is wrapped in
        the same wrapper twice.
    """

    def init(params: Any, **layout: Any) -> State:
        if apart is not None:
            layout["apart"] = _both(apart, layout.get("apart"))
        if storage is not None:
            layout["storage"] = _after(storage, layout.get("storage"))
        state = inner.init(params, **layout)
        return replace(
            state,
            hyperparameters=_joined(state.hyperparameters, scalars(**(hyperparameters or {}))),
            scalars=_joined(state.scalars, remembered or {}),
            slots=_joined(state.slots, slots(state) if slots else {}),
        )

    return inner._replace(init=init, update=update, **others)


def _joined(held: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    if twice := held.keys() & more.keys():
        raise ValueError(f"{', '.join(sorted(twice))} is there twice: an optimizer takes each wrapper once.")
    return {**held, **more}


def _both(apart: Apart, outer: Apart | None) -> Apart:
    return apart if outer is None else lambda path, leaf: (apart(path, leaf), outer(path, leaf))


def _after(storage: Storage, outer: Storage | None) -> Storage:
    return storage if outer is None else lambda dtype: storage(outer(dtype))


def regraded(
    optimizer: Optimizer,
    change: Callable[[State, Packed], Packed],
    hyperparameters: Mapping[str, float],
    apart: Apart | None = None,
) -> Optimizer:
    """An optimizer that gets other gradients: ``change(state, grads) -> grads``, both packed.

    If what is wrapped scales the loss, the change is made to the gradients of the loss itself, and entries that
    overflowed stay so, for the scaling to see.
    """

    def update(state: State, grads: Any) -> State:
        packed = state.layout.pack(grads, own_types=True)
        if optimizer.loss_scale is None:
            return optimizer.update(state, change(state, packed))
        scale = optimizer.loss_scale(state)
        own = jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, jnp.float32)) / scale, packed)
        changed = jax.tree.map(lambda g, c: jnp.where(jnp.isfinite(g), c * scale, g), own, change(state, own))
        return optimizer.update(state, changed)

    return wrapped(optimizer, update, hyperparameters, apart=apart)


def widely(optimizer: Optimizer, state: State, grads: Any) -> State:
    """The updated state with parameters as they are before they are rounded to the dtype in which they are stored."""
    layout = state.layout
    given = replace(layout.pack(grads, own_types=True), layout=layout.widened())
    arrays = tuple(x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in state.packed.arrays)
    wider = replace(state, packed=replace(state.packed, arrays=arrays)).on(given.layout)
    return optimizer.update(wider, given).on(layout)


def scheduled(optimizer: Optimizer, **schedules: Schedule) -> Optimizer:
    """Multiply hyperparameters by their schedules' factors; the constants of these are hyperparameters themselves.

    Args:
      optimizer: what is scheduled.
      schedules: by the hyperparameter's name, such as ``learning_rate=optim.schedules.cosine(1000)``.  The constants of
        the learning rate's are called ``schedule_…``, of others ``<name>_schedule_…``.

    Raises:
      KeyError: at ``init``, if the optimizer has no such hyperparameter.
    """

    def called(name: str, constant: str) -> str:
        return f"schedule_{constant}" if name == "learning_rate" else f"{name}_schedule_{constant}"

    def now(state: State) -> State:
        current = dict(state.hyperparameters)
        for name, schedule in schedules.items():
            constants = {k: state.hyperparameters[called(name, k)] for k in schedule.constants}
            factor = schedule.factor(state.step, constants)
            current[name] = state.hyperparameters[name] * factor
            current[f"{name}_factor"] = factor  # for decay that goes with the schedule alone
        return replace(state, hyperparameters=current)

    def update(state: State, grads: Any) -> State:
        return replace(optimizer.update(now(state), grads), hyperparameters=state.hyperparameters)

    constants = {called(name, k): x for name, schedule in schedules.items() for k, x in schedule.constants.items()}
    made = wrapped(
        optimizer,
        update,
        constants,
        eval_params=lambda state: optimizer.eval_params(now(state)),
        result=lambda state: optimizer.result(now(state)),
        rates=lambda state: optimizer.rates(now(state)),
    )

    def init(params: Any, **layout: Any) -> State:
        state = made.init(params, **layout)
        if missing := schedules.keys() - state.hyperparameters.keys():
            known = ", ".join(sorted(state.hyperparameters))
            raise KeyError(f"scheduled: no hyperparameter {', '.join(sorted(missing))}; this optimizer has {known}")
        return state

    return made._replace(init=init)
