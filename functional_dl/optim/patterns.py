"""Which leaves are meant: by a pattern of their paths, or by a function of path and leaf."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import jax
import numpy as np

from functional_dl.optim.layout import Group

__all__ = ["Mask", "by_shape", "chosen", "holds", "one_by_one"]

# A pattern such as "*kernel" or "blocks/*/bias", in which a star stands for slashes too; or a function of a leaf's
# path and of its shape and dtype.
Mask = str | Callable[[str, Any], bool]


def chosen(mask: Mask, path: str, leaf: Any) -> bool:
    """Whether the mask means this leaf; what a function sees of the leaf is a `jax.ShapeDtypeStruct`."""
    if isinstance(mask, str):
        return fnmatchcase(path, mask)
    return bool(mask(path, jax.ShapeDtypeStruct(leaf.shape, np.dtype(leaf.dtype))))


def holds(mask: Mask, group: Group) -> bool:
    """Whether the mask means the leaves of a group, which `chosen` in ``apart`` has made all alike."""
    return chosen(mask, group.paths[0], jax.ShapeDtypeStruct(group.shapes[0], group.dtypes[0]))


def by_shape(path: str, leaf: Any) -> tuple[int, ...]:
    """For ``apart``: leaves of other shapes lie in other arrays, so that `one_by_one` is a reshape."""
    return tuple(leaf.shape)


def one_by_one(group: Group, array: Any) -> Any:
    """The leaves of a group that are of one shape, (k, *shape), from the array in which they lie in any way."""
    return array.reshape(len(group.members), *group.shapes[0])
