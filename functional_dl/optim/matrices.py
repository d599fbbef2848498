"""Which leaves are weight matrices, and how the leaves of one shape are seen as one batch of matrices."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax

from functional_dl.optim.layout import Group
from functional_dl.optim.optimizer import Apart, Optimizer, State, Storage

__all__ = [
    "Choice",
    "apart_by",
    "as_matrices",
    "hidden",
    "in_scanned_blocks",
    "is_matrix",
    "is_scanned",
    "matrix_shape",
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
    """Whether the leaves of a group, which `apart_by` has kept from others, have a first axis of layers."""
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


def apart_by(optimizer: Optimizer, matrices: Choice, scanned: Choice) -> Optimizer:
    """Keep leaves with an axis of layers apart from those without: a kernel over time may have the same shape."""

    def init(params: Any, apart: Apart = lambda path, leaf: None, storage: Storage = lambda dtype: dtype) -> State:
        def both(path: str, leaf: Any) -> Any:
            return apart(path, leaf), is_matrix(path, leaf, matrices, scanned) and bool(scanned(path, leaf))

        return optimizer.init(params, apart=both, storage=storage)

    return optimizer._replace(init=init)
