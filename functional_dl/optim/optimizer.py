"""What an optimizer is: ``init(params) -> state`` and ``update(state, grads) -> state``, both pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from functional_dl.optim.layout import Layout, Packed

__all__ = ["Optimizer", "State", "scalars"]

Apart = Callable[[str, Any], Hashable]
Storage = Callable[[Any], Any]


def scalars(**values: Any) -> dict[str, jax.Array]:
    """Numbers as float32 arrays."""
    return {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["step", "packed", "slots", "hyperparameters", "scalars"],
    meta_fields=[],
)
@dataclass(frozen=True)
class State:
    """The state of an optimizer: a pytree, to be passed through `jax.jit`; users read ``params`` and ``moments``.

    Attributes:
      step: int32, how many updates were made.
      packed: the parameters in few arrays (see `functional_dl.optim.layout`).
      slots: by name, what the optimizer remembers for each parameter, laid out like these, in float32 or wider.
      hyperparameters: by name, float32 scalars; to change one never recompiles.
      scalars: by name, what else is remembered: counts, sums, keys.
    """

    step: jax.Array
    packed: Packed
    slots: Mapping[str, Packed]
    hyperparameters: Mapping[str, Any]
    scalars: Mapping[str, Any]

    @property
    def layout(self) -> Layout:
        """How the parameters lie in memory."""
        return self.packed.layout

    @property
    def params(self) -> Any:
        """The parameters, the user's own pytree in the user's dtypes."""
        return self.packed.unpack(typed=True)

    @property
    def moments(self) -> dict[str, Any]:
        """What the optimizer remembers, by name, as pytrees like the parameters (``None`` where there is nothing)."""
        return {name: slot.unpack() for name, slot in self.slots.items()}

    def replace(self, **changes: Any) -> State:
        """A copy with some fields changed; ``hyperparameters`` and ``scalars`` are merged key by key.

        Example:
          >>> import jax.numpy as jnp, functional_dl.optim as optim
          >>> state = optim.sgd(0.1).init({"w": jnp.ones(2)})
          >>> print(state.replace(hyperparameters={"learning_rate": 0.01}).hyperparameters["learning_rate"])
          0.01
        """
        given = changes.pop("hyperparameters", {})
        unknown = given.keys() - self.hyperparameters.keys()
        if unknown:
            known = ", ".join(sorted(self.hyperparameters))
            raise KeyError(f"unknown hyperparameter {', '.join(sorted(unknown))}; this optimizer has {known}")
        if "params" in changes:
            changes["packed"] = self.layout.pack(changes.pop("params"), "params")
        merged = {**self.hyperparameters, **scalars(**given)}
        own = {**self.scalars, **changes.pop("scalars", {})}
        return replace(self, hyperparameters=merged, scalars=own, **changes)

    def on(self, layout: Layout) -> State:
        """The same arrays, said to lie in another layout of the same groups."""
        slots = {name: replace(slot, layout=layout) for name, slot in self.slots.items()}
        return replace(self, packed=replace(self.packed, layout=layout), slots=slots)

    def advance(self, packed: Packed, slots: Mapping[str, Packed], **remembered: Any) -> State:
        """The state after one step: new parameters, and those slots and scalars that changed."""
        return State(
            self.step + 1,
            packed,
            {**self.slots, **slots},
            self.hyperparameters,
            {**self.scalars, **remembered},
        )

    def unpacked(self) -> dict[str, Any]:
        """All of it as pytrees of the user's, for storing by path whatever the layout is."""
        return {
            "step": self.step,
            "params": self.packed.unpack(),
            "moments": self.moments,
            "hyperparameters": dict(self.hyperparameters),
            "scalars": dict(self.scalars),
        }

    def packed_again(self, tree: Mapping[str, Any]) -> State:
        """A state like this one from what `unpacked` gave."""
        slots = {}
        for name, slot in self.slots.items():
            leaves = self.layout.tree.flatten_up_to(tree["moments"][name])
            arrays = [
                None if old is None else _lay(group, [leaves[i] for i in group.members], rank)
                for group, old, rank in zip(self.layout.groups, slot.arrays, slot.ranks, strict=True)
            ]
            slots[name] = Packed(tuple(arrays), self.layout, slot.ranks)
        packed = self.layout.pack(tree["params"], "params")
        as_arrays = partial(jax.tree.map, jnp.asarray)
        return State(
            jnp.asarray(tree["step"]), packed, slots, as_arrays(tree["hyperparameters"]), as_arrays(tree["scalars"])
        )


def _lay(group: Any, leaves: list[Any], rank: int) -> jax.Array:
    """A slot's array from its leaves, which may have other axes than the parameters."""
    arrays = [jnp.asarray(x) for x in leaves]
    if group.kind == "stack":
        return jnp.stack(arrays, arrays[0].ndim - rank)
    return group.pack(arrays, arrays[0].dtype)


def _params(state: State) -> Any:
    return state.params


def _rates(state: State) -> tuple[Any, ...]:
    return (state.hyperparameters["learning_rate"],) * len(state.layout.groups)


class Optimizer(NamedTuple):
    """Pure functions of a state.

    Attributes:
      init: ``init(params) -> State``.  Wrappers pass on ``apart`` (leaves with different answers of ``apart(path,
        leaf)`` must lie in different arrays) and ``storage`` (from a leaf's dtype to the one stored).
      update: ``update(state, grads) -> State``, with ``grads`` a pytree like the parameters.
      eval_params: ``eval_params(state) -> params``: where the next gradient is to be taken.  For most it is
        ``state.params``; for Nesterov's momentum, schedule-free methods and line searches it is elsewhere.
      result: ``result(state) -> params``: what to test and to ship, an average if the optimizer keeps one.
      loss_scale: ``loss_scale(state) -> scalar``: by what the loss is to be multiplied before it is differentiated,
        which ``update`` takes out again; ``None``: nothing.
      rates: ``rates(state)``: for each array of the layout the learning rate of the coming step, schedules applied.
    """

    init: Callable[..., State]
    update: Callable[[State, Any], State]
    eval_params: Callable[[State], Any] = _params
    result: Callable[[State], Any] = _params
    loss_scale: Callable[[State], Any] | None = None
    rates: Callable[[State], tuple[Any, ...]] = _rates
