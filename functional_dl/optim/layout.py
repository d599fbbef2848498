"""How leaves lie in memory: small ones end to end in one array, matrices of a shape on top of each other."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from functional_dl.trees import TreeError, path_name

__all__ = ["SMALL", "Group", "Layout", "Packed", "lay_out"]

# Entries up to which a leaf is laid end to end with others.  Below it the cost of a kernel of its own dominates, above
# it the copy into the common array: on two CPU cores an Adam step over 400 leaves of 16 to 16 000 entries takes 0.4 of
# the time of per-leaf updates (`python -m benchmarks.optimizers`).  Over ResNet-50's leaves it took the same time with
# thresholds of 2¹⁴, 2¹⁶ and 2¹⁸ and three times as long with none, measured while building by changing this number.
SMALL = 2**16


@dataclass(frozen=True)
class Group:
    """Leaves that lie in one array.

    Attributes:
      kind: ``alone``, a leaf as it is; ``flat``, leaves end to end, (n,); ``stack``, leaves of one shape on a new first
        axis, (k, *shape).
      members: the positions of its leaves among all.
      paths, shapes, dtypes: of these leaves, as the user sees them.
      dtype: what is stored.
    """

    kind: Literal["alone", "flat", "stack"]
    members: tuple[int, ...]
    paths: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype, ...]
    dtype: np.dtype

    @property
    def rank(self) -> int:
        """Axes of one leaf in the array, not counting the one that the leaves lie along."""
        return len(self.shapes[0]) if self.kind != "flat" else 0

    def pack(self, leaves: Sequence[Any], dtype: Any) -> jax.Array:
        """One array of this group's leaves, given in the order of ``members``; leading axes may be batched."""
        if self.kind == "alone":
            return leaves[0].astype(dtype)
        if self.kind == "stack":
            return jnp.stack([x.astype(dtype) for x in leaves], -(1 + self.rank))
        ends = [x.reshape(*x.shape[: x.ndim - len(s)], -1) for x, s in zip(leaves, self.shapes, strict=True)]
        return jnp.concatenate([x.astype(dtype) for x in ends], -1)

    def unpack(self, array: Any, rank: int) -> list[Any]:
        """The leaves of the array, whose own axes after the common one are ``rank``."""
        if self.kind == "alone":
            return [array]
        if self.kind == "stack":
            axis = array.ndim - 1 - rank
            return [jax.lax.index_in_dim(array, i, axis, keepdims=False) for i in range(len(self.members))]
        ends = np.cumsum([prod(s) for s in self.shapes]).tolist()
        cut = [array[..., a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        return [x.reshape(*array.shape[:-1], *s) for x, s in zip(cut, self.shapes, strict=True)]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where every leaf of a pytree lies.

    Attributes:
      groups: the arrays.
      tree: the user's pytree.
    """

    groups: tuple[Group, ...]
    tree: Any

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        return self.groups, self.tree

    @cached_property
    def _hash(self) -> int:
        return hash(self._key)

    # `jax.jit` looks both up at every call: a thousand paths are hashed once, and compared by identity.
    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Layout) and self._key == other._key)

    def pack(self, tree: Any, what: str = "grads", own_types: bool = False) -> Packed:
        """Lay a pytree like the parameters out; a `Packed` of this layout is taken as it is.

        Args:
          tree: the pytree.
          what: what errors call it.
          own_types: store it in its own types instead of the layout's: gradients need no copy in float32.

        Raises:
          TreeError: its structure or a shape differs from the parameters'.
        """
        if isinstance(tree, Packed):
            if tree.layout != self:
                raise TreeError(f"{what} are packed in another layout than the parameters of this state.")
            return tree
        flat, structure = tree_flatten_with_path(tree)
        if structure != self.tree:
            due = {path for group in self.groups for path in group.paths}
            came = {path_name(path) for path, _ in flat}
            parts = [f"{word} {', '.join(sorted(paths)[:5])}"
                     for word, paths in (("missing", due - came), ("unexpected", came - due)) if paths]  # fmt: skip
            raise TreeError(f"{what} must be a pytree like the parameters: {'; '.join(parts) or structure}.")
        leaves = [jnp.asarray(x) for _, x in flat]
        arrays = []
        for group in self.groups:
            for i, path, shape in zip(group.members, group.paths, group.shapes, strict=True):
                x = leaves[i]
                if x.shape[x.ndim - len(shape) :] != shape or x.ndim < len(shape):
                    raise TreeError(f"{what} at {path} are {list(x.shape)}; the parameter there is {list(shape)}.")
            own = [leaves[i] for i in group.members]
            arrays.append(group.pack(own, jnp.result_type(*own) if own_types else group.dtype))
        return Packed(tuple(arrays), self, tuple(g.rank for g in self.groups))

    def unrounded(self) -> Layout:
        """The same groups, seen by the user in the dtypes in which they are stored."""
        return Layout(tuple(replace(g, dtypes=(g.dtype,) * len(g.members)) for g in self.groups), self.tree)

    def widened(self) -> Layout:
        """The same groups, stored in float32 or wider."""
        wide = [np.dtype(jnp.promote_types(g.dtype, jnp.float32)) for g in self.groups]
        return Layout(tuple(replace(g, dtype=d) for g, d in zip(self.groups, wide, strict=True)), self.tree)

    def map(self, fun: Callable[..., Any], *packed: Packed) -> Packed:
        """``fun(group, *arrays)`` for each group; the result keeps what lies along each group's common axis."""
        arrays = [fun(g, *(p.arrays[i] for p in packed)) for i, g in enumerate(self.groups)]
        return Packed.of(self, arrays)


@partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["layout", "ranks"])
@dataclass(frozen=True)
class Packed:
    """A pytree in a layout's few arrays: `jax.tree.map` over it costs as many kernels as there are groups.

    Attributes:
      arrays: one for each group; ``None`` where a moment does not exist for a group.
      layout: whose groups they are.
      ranks: for each array, how many axes of a leaf follow the group's common axis.
    """

    arrays: tuple[Any, ...]
    layout: Layout
    ranks: tuple[int, ...]

    @classmethod
    def of(cls, layout: Layout, arrays: Sequence[Any]) -> Packed:
        """Arrays just made for each group: unless leaves lie flat or alone, each has the common axis first."""
        ranks = []
        for group, array in zip(layout.groups, arrays, strict=True):
            stacked = group.kind == "stack" and array is not None
            ranks.append(array.ndim - 1 if stacked else group.rank)
        return cls(tuple(arrays), layout, tuple(ranks))

    def unpack(self, typed: bool = False) -> Any:
        """The user's pytree; with ``typed``, in the dtypes of the parameters.  Leaves without a value are ``None``."""
        leaves: list[Any] = [None] * self.layout.tree.num_leaves
        for group, array, rank in zip(self.layout.groups, self.arrays, self.ranks, strict=True):
            if array is not None:
                for i, x, dtype in zip(group.members, group.unpack(array, rank), group.dtypes, strict=True):
                    leaves[i] = x.astype(dtype) if typed else x
        return jax.tree_util.tree_unflatten(self.layout.tree, leaves)


def _split(x: Any) -> bool:
    """Whether an array is divided over devices: then it must lie alone, as it does there."""
    sharding = getattr(x, "sharding", None)
    return sharding is not None and not getattr(sharding, "is_fully_replicated", True)


def lay_out(
    params: Any,
    stacked: Callable[[str, Any], bool] = lambda path, leaf: False,
    apart: Callable[[str, Any], Hashable] = lambda path, leaf: None,
    storage: Callable[[Any], Any] = lambda dtype: dtype,
) -> Layout:
    """Lay out parameters.

    Args:
      params: a pytree of floating-point arrays.
      stacked: ``stacked(path, leaf)``: whether a leaf is to lie with others of its shape on a first axis, which
        optimizers that see matrices need; the others lie end to end, or alone if they are larger than `SMALL`.
      apart: leaves with different answers lie in different arrays.
      storage: from a leaf's dtype to that in which it is stored.

    Raises:
      TreeError: a leaf is not a floating-point array.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_dl.optim.layout import lay_out
      >>> params = {"bias": jnp.zeros(3), "kernel": jnp.ones((2, 3))}
      >>> layout = lay_out(params)
      >>> print(layout.pack(params).arrays)
      (Array([0., 0., 0., 1., 1., 1., 1., 1., 1.], dtype=float32),)
    """
    flat, tree = tree_flatten_with_path(params)
    places: dict[Any, list[int]] = {}
    for i, (path, x) in enumerate(flat):
        x, name = jnp.asarray(x), path_name(path)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TreeError(
                f"parameter {name or keystr(path)} is {x.dtype.name}{list(x.shape)}; an optimizer moves floating-point "
                "arrays: keep others outside the parameters."
            )
        kind = "stack" if stacked(name, x) else "alone" if x.size > SMALL else "flat"
        own = i if kind == "alone" or _split(x) else None
        shape = x.shape if kind == "stack" else None
        # A divided leaf that is not stacked keeps its axes; end to end with nothing, it would be gathered.
        kind = "alone" if kind == "flat" and own is not None else kind
        places.setdefault((kind, shape, storage(x.dtype), own, apart(name, x)), []).append(i)
    groups = []
    for (kind, _, dtype, _, _), members in places.items():
        arrays = [jnp.asarray(flat[i][1]) for i in members]
        groups.append(
            Group(
                kind,
                tuple(members),
                tuple(path_name(flat[i][0]) for i in members),
                tuple(x.shape for x in arrays),
                tuple(np.dtype(x.dtype) for x in arrays),
                np.dtype(dtype),
            )
        )
    return Layout(tuple(groups), tree)
