"""The rule of ``dot_general``: the cotangent of each factor is a contraction with the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

from functional_dl.rules.table import vjp

__all__: list[str] = []


def _factor(
    ct: Any,
    own: Any,
    other: Any,
    contract: tuple[Sequence[int], Sequence[int]],
    batch: tuple[Sequence[int], Sequence[int]],
    other_first: bool,
    options: dict[str, Any],
) -> Any:
    """Contract ``ct`` with ``other`` over what only ``other`` had, and bring the axes into the order of ``own``.

    Axes of ``ct``: batch, free axes of the left factor, free axes of the right factor.
    """
    own_free = [i for i in range(own.ndim) if i not in contract[0] and i not in batch[0]]
    other_free = [i for i in range(other.ndim) if i not in contract[1] and i not in batch[1]]
    first = len(batch[0]) + (0 if other_first else len(own_free))
    over = tuple(range(first, first + len(other_free)))
    dims = ((over, tuple(other_free)), (tuple(range(len(batch[0]))), tuple(batch[1])))
    found = lax.dot_general(ct, other, dims, **options)
    # What is left of `other`, its contracted axes, comes in ascending order.
    contracted = [contract[0][k] for k in np.argsort(contract[1])]
    order = np.argsort([*batch[0], *own_free, *contracted]).tolist()
    if order != list(range(own.ndim)):
        found = lax.transpose(found, order)
    return found if found.dtype == own.dtype else lax.convert_element_type(found, own.dtype)


@vjp("dot_general")
def dot_general(
    ct: Any,
    y: Any,
    a: Any,
    b: Any,
    *,
    dimension_numbers: Any,
    precision: Any,
    preferred_element_type: Any,
    out_sharding: Any = None,
) -> Sequence[Any]:
    """y = a · b over contracting axes, batch axes kept.   ā = ȳ · b, b̄ = ȳ · a, over the free axes of the other."""
    (ca, cb), (ba, bb) = dimension_numbers
    options = {"precision": precision, "preferred_element_type": preferred_element_type}
    return [
        _factor(ct, a, b, (ca, cb), (ba, bb), False, options),
        _factor(ct, b, a, (cb, ca), (bb, ba), True, options),
    ]
