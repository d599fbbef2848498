"""From an optimizer's formula for one array to an optimizer of whole pytrees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from functional_dl.optim.layout import Group, Packed, lay_out
from functional_dl.optim.optimizer import Apart, Optimizer, State, Storage, scalars
from functional_dl.optim.schedules import Schedule
from functional_dl.optim.wrapping import scheduled

__all__ = ["Now", "by_group", "convention_of", "wide"]


class Now(NamedTuple):
    """What a formula may read besides its arrays.

    Attributes:
      h: the hyperparameters of this step, schedules applied.
      t: the number of this step, from 1, float32.
      scalars: those of the state, already advanced by ``tick``.
      group: which leaves the arrays hold.
      shared: what ``together`` made for this group.
    """

    h: Mapping[str, Any]
    t: Any
    scalars: Mapping[str, Any]
    group: Group
    shared: Any = None


def wide(x: Any) -> Any:
    """In float32, or in its own type if that is wider."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def by_group(
    start: Callable[[Any, Group], dict[str, Any]],
    move: Callable[[Now, Any, Any, dict[str, Any]], tuple[Any, dict[str, Any]]],
    hyperparameters: Mapping[str, float],
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    stacked: Callable[[str, Any], bool] = lambda path, leaf: False,
    look: Callable[[Now, Any, dict[str, Any]], Any] | None = None,
    tick: Callable[[Mapping[str, Any], Any, Mapping[str, Any]], dict[str, Any]] | None = None,
    remembered: Mapping[str, float] | None = None,
    together: Callable[[list[tuple[Now, Any, dict[str, Any]]]], list[Any]] | None = None,
) -> Optimizer:
    """An optimizer that moves each array of the layout by the same formula.

    Args:
      start: ``start(w, group) -> moments``: the arrays to remember, by name, from the parameters in float32 or wider.
      move: ``move(now, w, g, moments) -> (w, moments)``, all in float32 or wider.  Names left out of the moments stay.
      hyperparameters: their first values; ``learning_rate`` among them.
      schedule: of the learning rate, or by hyperparameter.
      stacked: which leaves the formula sees as (k, *shape), as in `lay_out`; all others may come in any shape.
      look: ``look(now, w, moments) -> w``: where the next gradient is taken, if not at the parameters; ``now.t`` is the
        step that is coming.
      tick: ``tick(h, t, scalars) -> scalars``: what of the state's scalars changes with a step.
      remembered: the first scalars.
      together: ``together([(now, g, moments), …]) -> [shared, …]``: what is made of all groups at once, for
        each.
    """

    def init(params: Any, apart: Apart = lambda path, leaf: None, storage: Storage = lambda dtype: dtype) -> State:
        layout = lay_out(params, stacked, apart, storage)
        packed = layout.pack(jax.tree.map(jnp.array, params), "params")
        made = [start(wide(w), group) for group, w in zip(layout.groups, packed.arrays, strict=True)]
        names = list(dict.fromkeys(name for moments in made for name in moments))
        slots = {name: Packed.of(layout, [moments.get(name) for moments in made]) for name in names}
        return State(jnp.zeros((), jnp.int32), packed, slots, scalars(**hyperparameters), scalars(**(remembered or {})))

    def held(state: State, i: int) -> dict[str, Any]:
        return {name: slot.arrays[i] for name, slot in state.slots.items() if slot.arrays[i] is not None}

    def update(state: State, grads: Any) -> State:
        layout = state.layout
        given = layout.pack(grads, own_types=True)
        t = jnp.asarray(state.step + 1, jnp.float32)
        kept = dict(state.scalars)
        if tick is not None:
            kept.update(tick(state.hyperparameters, t, state.scalars))
        arrays, slots = [], {name: list(slot.arrays) for name, slot in state.slots.items()}
        nows = [Now(state.hyperparameters, t, kept, group) for group in layout.groups]
        read = [(now, wide(given.arrays[i]), held(state, i)) for i, now in enumerate(nows)]
        shared = together(read) if together is not None else [None] * len(read)
        for i, (now, g, moments) in enumerate(read):
            w = state.packed.arrays[i]
            new, moments = move(now._replace(shared=shared[i]), wide(w), g, moments)
            arrays.append(new.astype(w.dtype))
            for name, value in moments.items():
                slots[name][i] = value.astype(slots[name][i].dtype)
        changed = {name: Packed(tuple(xs), layout, state.slots[name].ranks) for name, xs in slots.items()}
        return state.advance(Packed(tuple(arrays), layout, state.packed.ranks), changed, **kept)

    def eval_params(state: State) -> Any:
        if look is None:
            return state.params
        t = jnp.asarray(state.step + 1, jnp.float32)
        arrays = []
        for i, group in enumerate(state.layout.groups):
            w = state.packed.arrays[i]
            now = Now(state.hyperparameters, t, state.scalars, group)
            arrays.append(look(now, wide(w), held(state, i)).astype(w.dtype))
        return Packed(tuple(arrays), state.layout, state.packed.ranks).unpack(typed=True)

    optimizer = Optimizer(init, update, eval_params)
    if schedule is None:
        return optimizer
    return scheduled(optimizer, **(schedule if isinstance(schedule, Mapping) else {"learning_rate": schedule}))


def convention_of(name: str, convention: str, known: tuple[str, ...]) -> str:
    """The convention, if the optimizer ``name`` has it.

    Raises:
      ValueError: it does not.
    """
    if convention not in known:
        raise ValueError(f"{name}: convention {convention!r}; due is {', '.join(map(repr, known))}.")
    return convention
