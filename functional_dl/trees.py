"""Pytree arithmetic, and pytrees by readable name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_flatten_with_path, tree_leaves, tree_map, tree_unflatten

__all__ = ["TreeError", "count", "from_named", "global_norm", "name_leaves", "path_name", "zeros_like"]


class TreeError(ValueError):
    """Names or shapes that do not fit a pytree."""


def global_norm(tree: Any) -> jax.Array:
    """√ Σ |x|² over all entries of all leaves, added up in float32 or wider."""

    def squares(x: Any) -> jax.Array:
        x = jnp.asarray(x)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return jnp.sum(jnp.square(jnp.abs(wide)))

    return jnp.sqrt(sum((squares(x) for x in tree_leaves(tree)), start=jnp.float32(0)))


def zeros_like(tree: Any, dtype: Any = None) -> Any:
    """Zeros in the shape of every leaf, in ``dtype`` or its own."""
    return tree_map(lambda x: jnp.zeros(jnp.shape(x), dtype or jnp.result_type(x)), tree)


def count(tree: Any) -> int:
    """The number of entries in all leaves."""
    return sum(int(np.prod(np.shape(x))) for x in tree_leaves(tree))


def path_name(path: Any) -> str:
    """A key path as ``blocks/0/kernel``."""
    return "/".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)


def name_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by path.

    Example:
      >>> from functional_dl.trees import name_leaves
      >>> name_leaves({"dense": {"bias": 1.0, "kernel": [2.0, 3.0]}})
      {'dense/bias': 1.0, 'dense/kernel/0': 2.0, 'dense/kernel/1': 3.0}
    """
    return {path_name(path): x for path, x in tree_flatten_with_path(tree)[0]}


def from_named(like: Any, named: Mapping[str, Any]) -> Any:
    """A pytree like ``like`` with leaves from ``named``, which must have its names, shapes and dtypes.

    Raises:
      TreeError: a name is missing or unexpected, or a shape or dtype differs; the message names all of the first kind
        that occurs.
    """
    due = name_leaves(like)
    missing, extra = sorted(due.keys() - named.keys()), sorted(named.keys() - due.keys())
    if missing or extra:
        parts = [f"{kind} {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
                 for kind, names in (("missing", missing), ("unexpected", extra)) if names]  # fmt: skip
        raise TreeError("; ".join(parts))
    for name, x in due.items():
        came = named[name]
        if np.shape(came) != np.shape(x) or jnp.result_type(came) != jnp.result_type(x):
            raise TreeError(
                f"{name} is {jnp.result_type(came).name}{list(np.shape(came))}, "
                f"due is {jnp.result_type(x).name}{list(np.shape(x))}"
            )
    flat, tree = tree_flatten_with_path(like)
    return tree_unflatten(tree, [named[path_name(path)] for path, _ in flat])
