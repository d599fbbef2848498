"""Which leaves are weight matrices, and how the leaves of one shape are seen as one batch of matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import jax

from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.schedules import Schedule
from functional_dl.optim.wrapping import scheduled, wrapped

__all__ = [
    "Choice",
    "as_matrices",
    "hidden",
    "in_scanned_blocks",
    "is_matrix",
    "is_scanned",
    "matrix_shape",
    "of_matrices",
]

Choice = Callable[[str, Any], bool]


def hidden(path: str, leaf: Any) -> bool:
    """Whether a leaf is inside the network by the names that `functional_dl.nn` gives.

    Outside are tables of embeddings and positions, ``…/table``, and output layers, ``…head/…``.  The last layer of
    `functional_dl.nn.mlp` is ``dense_<n>`` like those before it, and counts as inside.

    Example:
      >>> from functional_dl.optim.matrices import hidden
      >>> [hidden(path, None) for path in ("tokens/table", "head/kernel", "blocks/0/attention/mix/qkv")]
      [False, False, True]
    """
    parts = path.split("/")
    return parts[-1] != "table" and "head" not in parts


def in_scanned_blocks(path: str, leaf: Any) -> bool:
    """Whether a leaf has a first axis of layers, as in ``blocks/attention/…``; unrolled it is ``blocks/0/attention/…``.

    Example:
      >>> from functional_dl.optim.matrices import in_scanned_blocks
      >>> [in_scanned_blocks(path, None) for path in ("blocks/feedforward/up/kernel", "blocks/0/feedforward/up/kernel")]
      [True, False]
    """
    return any(here == "blocks" and not inside.isdigit() for here, inside in pairwise(path.split("/")))


def is_matrix(path: str, leaf: Any, chosen: Choice, scanned: Choice) -> bool:
    """Whether a leaf is chosen and has two axes or more besides that of its layers."""
    return leaf.ndim - bool(scanned(path, leaf)) >= 2 and chosen(path, leaf)


def is_scanned(group: Group, scanned: Choice) -> bool:
    """Whether the leaves of a group, which `of_matrices` has kept from others, have a first axis of layers."""
    return scanned(group.paths[0], jax.ShapeDtypeStruct(group.shapes[0], group.dtypes[0]))


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a kernel (…window, inputs, outputs) without an axis of layers.

    Example:
      >>> from functional_dl.optim.matrices import matrix_shape
      >>> matrix_shape((3, 3, 16, 32))
      (144, 32)
    """
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows, shape[-1]


def as_matrices(x: Any, layers: bool) -> Any:
    """(k, [layers,] …window, inputs, outputs) → (k, [layers,] window · inputs, outputs)."""
    lead = x.shape[: 2 if layers else 1]
    return x.reshape(*lead, *matrix_shape(x.shape[len(lead) :]))


def of_matrices(
    optimizer: Optimizer, matrices: Choice, scanned: Choice, schedule: Schedule | Mapping[str, Schedule] | None
) -> Optimizer:
    """Matrices with an axis of layers lie apart from those without: a kernel over time may have the same shape."""

    def apart(path: str, leaf: Any) -> bool:
        return is_matrix(path, leaf, matrices, scanned) and bool(scanned(path, leaf))

    made = wrapped(optimizer, optimizer.update, apart=apart)
    if schedule is None:
        return made
    return scheduled(made, **(schedule if isinstance(schedule, Mapping) else {"learning_rate": schedule}))
