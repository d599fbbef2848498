"""The one place at run time where JAX's own gradient is asked: as the oracle that ours is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from functional_dl.autodiff import transforms
from functional_dl.trees import name_leaves

__all__ = ["compare"]


def compare(
    loss: Callable[..., Any], params: Any, batch: tuple[Any, ...], memory: str | int = "auto"
) -> dict[str, float]:
    """Relative difference ‖ours − JAX's‖ / ‖JAX's‖ of the gradient of ``loss``, by parameter name.

    Args:
      loss: ``loss(params, *batch) -> (scalar, aux)``.
      params: where to compare.
      batch: the batch.
      memory: how our backward is planned (see `functional_dl.value_and_grad`).
    """
    ours = jax.jit(transforms.grad(loss, has_aux=True, memory=memory))(params, *batch)[0]
    theirs = jax.jit(jax.grad(loss, has_aux=True))(params, *batch)[0]
    due = name_leaves(theirs)
    differences = {}
    for name, found in name_leaves(ours).items():
        a, b = np.asarray(found, np.float64), np.asarray(due[name], np.float64)
        size = float(np.linalg.norm(b))
        differences[name] = float(np.linalg.norm(a - b)) / (size if size > 0 else 1.0)
    return differences
