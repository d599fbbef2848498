"""The public functions of JAX's array modules, found by walking them."""

from __future__ import annotations

import importlib
import pkgutil
import typing
from collections.abc import Iterator
from typing import Any

from tests.sweep import table_lax, table_nn, table_numpy, table_scipy, table_stats
from tests.sweep.entries import Table

__all__ = ["MODULES", "TABLES", "public_functions"]

TABLES: dict[str, Table] = {
    table.module: table
    for source in (table_numpy, table_lax, table_nn, table_scipy, table_stats)
    for table in source.TABLES
}


def _modules(name: str) -> Iterator[str]:
    """``name`` and the public modules below it."""
    yield name
    for module in pkgutil.iter_modules(getattr(importlib.import_module(name), "__path__", ())):
        if not module.name.startswith("_"):
            yield from _modules(f"{name}.{module.name}")


MODULES = [
    *("jax.numpy", "jax.numpy.linalg", "jax.numpy.fft", "jax.lax", "jax.lax.linalg", "jax.nn", "jax.nn.initializers"),
    *("jax.image", "jax.random", "jax.ops", *_modules("jax.scipy")),
]


def public_functions(module: str) -> dict[str, Any]:
    """The public names of a module that stand for functions: not modules, constants, types or forms of `typing`.

    A type counts where the module's table has an entry for it (`jax.scipy.spatial.transform.Rotation`).
    """
    table = TABLES.get(module)
    wanted = {entry.name for entry in table.entries} if table else set()
    found = {}
    for name, value in vars(importlib.import_module(module)).items():
        is_type = isinstance(value, type) or typing.get_origin(value) is not None
        if not name.startswith("_") and callable(value) and (not is_type or name in wanted):
            found[name] = value
    return found
