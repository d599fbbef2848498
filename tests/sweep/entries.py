"""What the sweep knows of one module: entries (a function and its arguments), discrete functions, and exclusions."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Entry", "Table"]


@dataclass(frozen=True)
class Entry:
    """One call of a public function.

    Attributes:
      module, name: where the function lives.
      fun: the call as a function of ``args``; what is static or an integer is closed over.
      args: floating arrays, all of them differentiated.
      label: what sets this call apart from the function's others.
      refused: the lowest order at which some JAX version raises (3: none).  Where the version at hand does, central
        differences take the place of its answer.
      astray: the lowest order at which the answer of the JAX at hand is wrong (3: none), likewise.
      since: the first version of JAX that can run it on a CPU.
      why: the reason for ``refused``, ``astray`` or a ``tolerance``, for the reader.
      tolerance: relative, of the comparison with JAX.
      order: the highest order compared.
      traced: false where the function must see values (JAX's own trace of it fails too).
    """

    module: str
    name: str
    fun: Callable[..., Any]
    args: tuple[Any, ...]
    label: str = ""
    refused: int = 3
    astray: int = 3
    why: str = ""
    tolerance: float = 1e-9
    order: int = 2
    since: tuple[int, ...] = ()
    traced: bool = True

    def __str__(self) -> str:
        return f"{self.module}.{self.name}" + (f"-{self.label}" if self.label else "")


@dataclass
class Table:
    """The entries and exclusions of one module; names that the JAX at hand lacks fall away.

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

    def _find(self, name: str) -> Any:
        return getattr(importlib.import_module(self.module), name, None)

    def each(self, names: str, *args: Any, label: str = "", **static: Any) -> None:
        """Enter every function of ``names``, called with the same arguments; ``static`` are keywords."""
        for name in names.split():
            if (fun := self._find(name)) is not None:
                self.entries.append(Entry(self.module, name, functools.partial(fun, **static), args, label))

    def one(self, name: str, fun: Callable[..., Any], *args: Any, label: str = "", **settings: Any) -> None:
        """Enter one call of ``name``; ``settings`` are further attributes of the `Entry`."""
        if self._find(name) is not None:
            self.entries.append(Entry(self.module, name, fun, args, label, **settings))

    def integers(self, names: str, *args: Any, **static: Any) -> None:
        """State that ``names`` return integers or booleans only (the sweep checks that they do)."""
        for name in names.split():
            if (fun := self._find(name)) is not None:
                self.discrete.append(Entry(self.module, name, functools.partial(fun, **static), args))

    def exclude(self, reason: str, names: str) -> None:
        """State why ``names`` are not differentiated."""
        self.excluded |= dict.fromkeys(names.split(), reason)
