"""What the sweep knows of one module: entries (a function and its arguments), discrete functions, and exclusions."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax

__all__ = ["Entry", "Table"]


@dataclass(frozen=True)
class Entry:
    """One call of a public function.

    Attributes:
      module, name: where the function lives.
      fun: the call as a function of ``args``; what is static or an integer is closed over.
      args: floating arrays, all of them differentiated.
      label: what sets this call apart from the function's others.
      order: the highest order at which it is differentiated.
      refused: the lowest order at which some JAX version raises (3: none).  Where the version at hand does, central
        differences take the place of its answer.
      astray: the lowest order at which JAX's answer is not the derivative (3: none), likewise.
      since: the first version of JAX that can run it on a CPU.
      traced: false to run it outside `jax.jit`: it must see values, or once did not work there.
      tolerance: relative, of the comparison with JAX.
      why: the reason for whatever is not as usual, for the reader.
    """

    module: str
    name: str
    fun: Callable[..., Any]
    args: tuple[Any, ...]
    label: str = ""
    order: int = 2
    refused: int = 3
    astray: int = 3
    since: tuple[int, ...] = ()
    traced: bool = True
    tolerance: float = 1e-9
    why: str = ""

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" + (f"-{self.label}" if self.label else "")

    @property
    def present(self) -> bool:
        """Whether the JAX at hand has the function."""
        return hasattr(importlib.import_module(self.module), self.name) and jax.__version_info__ >= self.since


@dataclass
class Table:
    """The entries and exclusions of one module, for all versions of JAX: what one lacks is not `Entry.present`.

    Attributes:
      module: the module's dotted name.
      entries: the calls to differentiate.
      discrete: calls that must have no floating output, so that there is nothing to differentiate.
      excluded: per name, the reason why it is not differentiated.
    """

    module: str
    entries: list[Entry] = field(default_factory=list)
    discrete: list[Entry] = field(default_factory=list)
    excluded: dict[str, str] = field(default_factory=dict)

    def each(self, names: str, *args: Any, label: str = "", **static: Any) -> None:
        """Enter every function of ``names``, called with the same arguments; ``static`` are keywords."""
        self.entries += [Entry(self.module, name, self._call(name, static), args, label) for name in names.split()]

    def one(self, name: str, fun: Callable[..., Any], *args: Any, label: str = "", **settings: Any) -> None:
        """Enter one call of ``name``; ``settings`` are further attributes of the `Entry`."""
        self.entries.append(Entry(self.module, name, fun, args, label, **settings))

    def integers(self, names: str, *args: Any, **static: Any) -> None:
        """State that ``names`` return integers or booleans only (the sweep checks that they do)."""
        self.discrete += [Entry(self.module, name, self._call(name, static), args) for name in names.split()]

    def exclude(self, reason: str, names: str) -> None:
        """State why ``names`` are not differentiated."""
        self.excluded |= dict.fromkeys(names.split(), reason)

    def _call(self, name: str, static: dict[str, Any]) -> Callable[..., Any]:
        fun = getattr(importlib.import_module(self.module), name, None)
        return functools.partial(fun, **static) if fun is not None else _absent


def _absent(*_: Any) -> Any:
    raise AttributeError("this JAX has no such function")
