"""Reading and writing the part of an array that a ref's index names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from functional_dl.rules.table import RuleError

__all__ = ["read", "write"]


def read(x: Any, transforms: Sequence[Any]) -> Any:
    """The part of ``x`` that ``transforms``, JAX's description of an index, name one after the other."""
    for transform in transforms:
        x = _Part(x, transform).read()
    return x


def write(x: Any, transforms: Sequence[Any], y: Any, add: bool) -> Any:
    """``x`` with ``y`` in that part, or added to it."""
    if not transforms:
        return lax.add(x, y) if add else y
    part = _Part(x, transforms[0])
    if len(transforms) > 1:
        y, add = write(part.read(), transforms[1:], y, add), False
    return part.write(y, add)


class _Part:
    """A part of an array: a window that starts anywhere, and of that what a static or an array index names.

    Single positions and slices that start at a traced position make the window, which JAX clamps into the array as
    `lax.dynamic_slice` does; slices that start at a known position and arrays of positions are NumPy's.
    """

    def __init__(self, x: Any, transform: Any) -> None:
        if type(transform).__name__ != "NDIndexer":
            raise RuleError(
                f"No gradient goes through the view {type(transform).__name__} of a ref; index the ref, and reshape or "
                "convert what is read."
            )
        self.x = x
        self.starts: list[Any] = []
        self.sizes: list[int] = []
        self.index: list[Any] = []
        single = transform.int_indexer_shape == ()
        for i, n in zip(transform.indices, np.shape(x), strict=True):
            start, size, index = 0, n, i
            if hasattr(i, "stride"):
                extent = (i.size - 1) * i.stride + 1
                if isinstance(i.start, (int, np.integer)):
                    index = slice(int(i.start), int(i.start) + extent, i.stride)
                else:
                    start, size, index = i.start, extent, slice(0, extent, i.stride)
            elif single:
                start, size, index = i, 1, 0
            self.starts.append(start)
            self.sizes.append(size)
            self.index.append(index)
        self.windowed = self.sizes != list(np.shape(x)) or any(not isinstance(s, int) or s for s in self.starts)
        self.dropped = [d for d, i in enumerate(self.index) if isinstance(i, int)]
        self.whole = all(
            isinstance(i, int) or i == slice(0, n, 1) if isinstance(i, (int, slice)) else False
            for i, n in zip(self.index, self.sizes, strict=True)
        )

    def _window(self) -> Any:
        return lax.dynamic_slice(self.x, self._starts(), self.sizes) if self.windowed else self.x

    def _starts(self) -> list[Any]:
        return [lax.convert_element_type(s, np.int32) for s in self.starts]

    def read(self) -> Any:
        window = self._window()
        return lax.squeeze(window, self.dropped) if self.whole else window[tuple(self.index)]

    def write(self, y: Any, add: bool) -> Any:
        if self.whole:
            window = lax.expand_dims(y, self.dropped)
            if add:
                window = lax.add(self._window(), window)
        else:
            at = jnp.asarray(self._window()).at[tuple(self.index)]
            window = at.add(y) if add else at.set(y)
        return lax.dynamic_update_slice(self.x, window, self._starts()) if self.windowed else window
