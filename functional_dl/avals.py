"""Values by their type: arrays of a shape, dtype, explicit sharding and the manual axes along which they vary."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.ref import AbstractRef
from jax.sharding import AxisType, ManualAxisType, use_abstract_mesh

__all__ = [
    "conform", "describe", "full", "has_explicit_sharding", "is_float", "is_ref", "is_varying", "manual_type",
    "mesh_of", "tied", "zeros",
]  # fmt: skip


def is_float(aval: Any) -> bool:
    """Whether values of this type can carry a cotangent: floating or complex arrays."""
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and bool(jax.dtypes.issubdtype(dtype, np.inexact)) and not is_ref(aval)


def is_ref(aval: Any) -> bool:
    """Whether this is the type of a ref (`jax.new_ref`)."""
    return isinstance(aval, AbstractRef)


def describe(aval: Any) -> str:
    """A short name for a type, such as ``f32[3,4]``."""
    return str(aval.str_short(short_dtypes=True)) if hasattr(aval, "str_short") else str(aval)


def manual_type(aval: Any) -> Any:
    """Along which manual axes of a `jax.shard_map` a value varies, is unreduced or reduced; ``None`` if no array."""
    return getattr(aval, "mat", None)


def is_varying(aval: Any) -> bool:
    """Whether a value may differ from device to device inside a `jax.shard_map`, or is a sum over them not taken."""
    return manual_type(aval) not in (None, ManualAxisType())


def has_explicit_sharding(aval: Any) -> bool:
    """Whether the type of an array says how it is sharded."""
    sharding = getattr(aval, "sharding", None)
    return sharding is not None and AxisType.Explicit in sharding.mesh.axis_types


def mesh_of(aval: Any) -> Any:
    """A context in which operations on values of this type are traced with the mesh that they are on."""
    mesh = getattr(getattr(aval, "sharding", None), "mesh", None)
    return nullcontext() if mesh is None or mesh.empty else use_abstract_mesh(mesh)


def zeros(aval: Any) -> Any:
    """Zeros of a type: of its shape and dtype, its sharding where that is explicit, varying where it varies."""
    return full(aval, 0)


def full(aval: Any, value: Any) -> Any:
    """An array of a type, all of whose entries are ``value``."""
    dtype = aval.dtype
    if aval.weak_type:
        # A Python number without a dtype makes a weakly typed array.
        number = complex(value) if jax.dtypes.issubdtype(dtype, np.complexfloating) else float(value)
        if jax.typeof(number).dtype == dtype:
            value, dtype = number, None
    sharding = aval.sharding if has_explicit_sharding(aval) else None
    return conform(lax.full(aval.shape, value, dtype, sharding=sharding), aval)


def conform(x: Any, aval: Any) -> Any:
    """``x`` as a value of this type: varying along the manual axes it varies along, and of its explicit sharding."""
    came, due = manual_type(jax.typeof(x)), manual_type(aval)
    if came is None or due is None:
        return x
    if came != due:
        if missing := due.reduced - came.reduced:
            x = lax.pcast(x, tuple(missing), to="reduced")
        if missing := (due.varying | due.unreduced) - came.varying - came.unreduced:
            x = lax.pcast(x, tuple(missing), to="varying")
        if missing := due.unreduced - came.unreduced:
            x = lax.pcast(x, tuple(missing), to="unreduced")
    if has_explicit_sharding(aval):
        sharding = jax.typeof(x).sharding
        if sharding.mesh == aval.sharding.mesh and sharding != aval.sharding:
            x = jax.sharding.reshard(x, aval.sharding)
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
