"""Parameter groups: an optimizer for each, by the paths of the leaves, in one state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import tree_flatten_with_path, tree_leaves, tree_structure, tree_unflatten

from functional_dl.optim.layout import Layout, Packed, lay_out
from functional_dl.optim.optimizer import Apart, Optimizer, State, Storage
from functional_dl.trees import TreeError, path_name

__all__ = ["frozen", "groups"]


def frozen() -> Optimizer:
    """W stays: an optimizer that remembers nothing, for groups of parameters that are not trained."""

    def init(params: Any, apart: Apart = lambda path, leaf: None, storage: Storage = lambda dtype: dtype) -> State:
        layout = lay_out(params, apart=apart, storage=storage)
        packed = layout.pack(jax.tree.map(jnp.array, params), "params")
        return State(jnp.zeros((), jnp.int32), packed, {}, {}, {})

    def update(state: State, grads: Any) -> State:
        state.layout.pack(grads, own_types=True)  # errors as of all optimizers
        return state.advance(state.packed, {})

    return Optimizer(init, update, rates=lambda state: (jnp.float32(0),) * len(state.layout.groups))


class Part(NamedTuple):
    """What an optimizer has of the whole.

    Attributes:
      name: the group's.
      indices: which of the whole layout's arrays.
      members: which of the whole tree's leaves, in order.
      layout: of these.
    """

    name: str
    indices: tuple[int, ...]
    members: tuple[int, ...]
    layout: Layout


def groups(optimizers: Mapping[str, Optimizer], patterns: Mapping[str, str] | None = None) -> Optimizer:
    """Each leaf belongs to the first group whose pattern fits its path, and is moved by that group's optimizer.

    Hyperparameters, scalars and moments of a group are called ``<name>/…``.  The scalar ``<name>/behind`` counts steps
    in which others moved and this group did not, as one that gathers gradients.

    Args:
      optimizers: by the group's name; `frozen` for leaves that stay.
      patterns: by the same names, as of `fnmatch`, with stars that stand for slashes too: ``"*bias"``; by default the
        names themselves.

    Raises:
      ValueError: the names of the patterns are others, or an optimizer of a group scales the loss, of which there is
        one: scale it outside, ``scale_loss(groups(...))``; or at ``init``, if a name in the state is of two groups.
      TreeError: at ``init``, if a leaf fits no pattern, or a pattern has no leaf.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> each = {"bias": optim.sgd(0.1), "rest": optim.adam()}
      >>> optimizer = optim.groups(each, {"bias": "*bias", "rest": "*"})
      >>> state = optimizer.init({"bias": jnp.ones(2), "kernel": jnp.ones((2, 2))})
      >>> print(sorted(state.moments))
      ['bias/velocity', 'rest/first', 'rest/second']
      >>> state = state.replace(hyperparameters={"bias/learning_rate": 0.0})
    """
    patterns = {name: name for name in optimizers} if patterns is None else dict(patterns)
    if patterns.keys() != optimizers.keys():
        odd = ", ".join(sorted(patterns.keys() ^ optimizers.keys()))
        raise ValueError(f"groups: {odd} is not among both the optimizers and the patterns.")
    for name, optimizer in optimizers.items():
        if optimizer.loss_scale is not None:
            raise ValueError(f"groups: {name} scales the loss, of which there is one; due is scale_loss(groups(...)).")

    def name_of(path: str) -> str | None:
        return next((name for name in optimizers if fnmatchcase(path, patterns[name])), None)

    def masked(leaves: list[Any], tree: Any, members: tuple[int, ...]) -> Any:
        """The user's pytree with ``None``, a pytree without leaves, for the leaves of other groups."""
        own = set(members)
        return tree_unflatten(tree, [x if i in own else None for i, x in enumerate(leaves)])

    # Asked at every update, and of a layout always the same.
    @lru_cache(maxsize=16)
    def parts(layout: Layout) -> tuple[Part, ...]:
        found = []
        for name in optimizers:
            indices = tuple(i for i, group in enumerate(layout.groups) if name_of(group.paths[0]) == name)
            members = tuple(sorted(m for i in indices for m in layout.groups[i].members))
            place = {m: i for i, m in enumerate(members)}
            tree = tree_structure(masked([0] * layout.tree.num_leaves, layout.tree, members))
            own = [replace(g, members=tuple(place[m] for m in g.members)) for g in (layout.groups[i] for i in indices)]
            found.append(Part(name, indices, members, Layout(tuple(own), tree)))
        return tuple(found)

    def owner(key: str) -> str | None:
        """To which group a name in the state belongs: the longest that it begins with."""
        return max((name for name in optimizers if key.startswith(f"{name}/")), key=len, default=None)

    def own(part: Part, named: Mapping[str, Any]) -> dict[str, Any]:
        return {k[len(part.name) + 1 :]: x for k, x in named.items() if owner(k) == part.name}

    def cut(part: Part, packed: Packed) -> Packed:
        return Packed(
            tuple(packed.arrays[i] for i in part.indices), part.layout, tuple(packed.ranks[i] for i in part.indices)
        )

    def split(part: Part, state: State) -> State:
        scalars = own(part, state.scalars)
        return State(
            state.step - scalars.pop("behind"),
            cut(part, state.packed),
            {name: cut(part, slot) for name, slot in own(part, state.slots).items()},
            own(part, state.hyperparameters),
            scalars,
        )

    def whole(layout: Layout, pieces: list[tuple[Part, Packed]]) -> Packed:
        """One from those of some groups; the others have nothing."""
        arrays: list[Any] = [None] * len(layout.groups)
        ranks = [group.rank for group in layout.groups]
        for part, packed in pieces:
            for i, array, rank in zip(part.indices, packed.arrays, packed.ranks, strict=True):
                arrays[i], ranks[i] = array, rank
        return Packed(tuple(arrays), layout, tuple(ranks))

    def merge(layout: Layout, step: Any, states: Mapping[str, State]) -> State:
        pieces = [(part, states[part.name]) for part in parts(layout)]
        slots: dict[str, Packed] = {}
        hyperparameters: dict[str, Any] = {}
        remembered: dict[str, Any] = {}
        for part, state in pieces:
            for name, slot in state.slots.items():
                slots[f"{part.name}/{name}"] = whole(layout, [(part, slot)])
            hyperparameters |= {f"{part.name}/{k}": x for k, x in state.hyperparameters.items()}
            remembered |= {f"{part.name}/{k}": x for k, x in state.scalars.items()}
            remembered[f"{part.name}/behind"] = step - state.step
        packed = whole(layout, [(part, state.packed) for part, state in pieces])
        return State(step, packed, slots, hyperparameters, remembered)

    def init(params: Any, apart: Apart = lambda path, leaf: None, storage: Storage = lambda dtype: dtype) -> State:
        flat, tree = tree_flatten_with_path(params)
        paths, leaves = [path_name(path) for path, _ in flat], [x for _, x in flat]
        names = [name_of(path) for path in paths]
        if None in names:
            lost = [path for path, name in zip(paths, names, strict=True) if name is None]
            raise TreeError(f"groups: {', '.join(lost[:5])} fits no pattern of {', '.join(patterns.values())}.")
        states, merged = {}, []
        for name, optimizer in optimizers.items():
            members = tuple(i for i, n in enumerate(names) if n == name)
            if not members:
                there = ", ".join(paths[:5])
                raise TreeError(f"groups: the pattern {patterns[name]} of {name} has no leaf of {there}.")
            states[name] = optimizer.init(masked(leaves, tree, members), apart=apart, storage=storage)
            for group in states[name].layout.groups:
                merged.append(replace(group, members=tuple(members[m] for m in group.members)))
            for key in (*states[name].hyperparameters, *states[name].scalars, *states[name].slots):
                if owner(f"{name}/{key}") != name:
                    raise ValueError(f"groups: {name}/{key} would be of both {name} and {owner(f'{name}/{key}')}.")
        return merge(Layout(tuple(merged), tree), jnp.zeros((), jnp.int32), states)

    def update(state: State, grads: Any) -> State:
        given = state.layout.pack(grads, own_types=True)
        before = {part.name: split(part, state) for part in parts(state.layout)}
        after = {
            part.name: optimizers[part.name].update(before[part.name], cut(part, given)) for part in parts(state.layout)
        }
        moved = [after[name].step - before[name].step for name in optimizers]
        new = merge(state.layout, state.step + jnp.max(jnp.stack(moved)), after)
        return State(
            new.step,
            new.packed,
            {**state.slots, **new.slots},
            state.hyperparameters,
            {**state.scalars, **new.scalars},
        )

    def together(read: Callable[[Optimizer, State], Any]) -> Callable[[State], Any]:
        def all_of(state: State) -> Any:
            leaves: list[Any] = [None] * state.layout.tree.num_leaves
            for part in parts(state.layout):
                found = tree_leaves(read(optimizers[part.name], split(part, state)))
                for i, x in zip(part.members, found, strict=True):
                    leaves[i] = x
            return tree_unflatten(state.layout.tree, leaves)

        return all_of

    def rates(state: State) -> tuple[Any, ...]:
        found: list[Any] = [None] * len(state.layout.groups)
        for part in parts(state.layout):
            for i, rate in zip(part.indices, optimizers[part.name].rates(split(part, state)), strict=True):
                found[i] = rate
        return tuple(found)

    return Optimizer(
        init,
        update,
        together(lambda optimizer, state: optimizer.eval_params(state)),
        together(lambda optimizer, state: optimizer.result(state)),
        rates=rates,
    )
