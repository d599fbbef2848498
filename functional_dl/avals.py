"""Values by their type: arrays of a shape, dtype, explicit sharding and the manual axes along which they vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, ManualAxisType

__all__ = ["full", "is_varying", "manual_type", "tied", "varying_like", "zeros"]


def manual_type(aval: Any) -> Any:
    """Along which manual axes of a `jax.shard_map` a value varies, is unreduced or reduced; ``None`` if no array."""
    return getattr(aval, "mat", None)


def is_varying(aval: Any) -> bool:
    """Whether a value may differ from device to device inside a `jax.shard_map`, or is a sum over them not taken."""
    return manual_type(aval) not in (None, ManualAxisType())


def zeros(aval: Any) -> Any:
    """Zeros of a type: of its shape and dtype, its sharding where that is explicit, varying where it varies."""
    return full(aval, 0)


def full(aval: Any, value: Any) -> Any:
    """An array of a type, all of whose entries are ``value``."""
    sharding = aval.sharding if AxisType.Explicit in aval.sharding.mesh.axis_types else None
    return varying_like(lax.full(aval.shape, value, aval.dtype, sharding=sharding), aval)


def varying_like(x: Any, aval: Any) -> Any:
    """``x`` as a value that varies, inside a `jax.shard_map`, along all the mesh axes that ``aval`` varies along."""
    came, due = manual_type(jax.typeof(x)), manual_type(aval)
    if came == due or came is None or due is None:
        return x
    if missing := due.reduced - came.reduced:
        x = lax.pcast(x, tuple(missing), to="reduced")
    if missing := (due.varying | due.unreduced) - came.varying - came.unreduced:
        x = lax.pcast(x, tuple(missing), to="varying")
    if missing := due.unreduced - came.unreduced:
        x = lax.pcast(x, tuple(missing), to="unreduced")
    return x


def tied(values: Sequence[Any]) -> list[Any]:
    """``values`` behind an `optimization_barrier`, with the types they have.

    JAX makes all that goes through one barrier vary along the same manual axes, and nothing undoes that; values of
    different kinds therefore go through barriers of their own.
    """
    kinds: dict[Any, list[int]] = {}
    for i, x in enumerate(values):
        kinds.setdefault(manual_type(jax.typeof(x)), []).append(i)
    out = list(values)
    for places in kinds.values():
        for i, x in zip(places, lax.optimization_barrier([values[i] for i in places]), strict=True):
            out[i] = x
    return out
