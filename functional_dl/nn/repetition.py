"""The same network several times over, in a Python loop or in one scan."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from functional_dl.nn.network import Mode, Network

__all__ = ["repeated"]


def repeated(part: Network, times: int, scanned: bool = False) -> Network:
    """Run ``times`` networks like ``part`` one after the other, each with its own parameters, state and key.

    Parameters and states stand under ``0``, ``1``, …; with ``scanned`` they are stacked along a new first axis instead
    and run by `lax.scan`, so that there is one ``part`` to compile however many there are.  Both do the same, to the
    numbers that are drawn in training.

    Example:
      >>> import jax, jax.numpy as jnp, functional_dl.nn as nn
      >>> from functional_dl.nn.repetition import repeated
      >>> network = repeated(nn.dense(3, 3), 5, scanned=True)
      >>> network.init(jax.random.key(0))["kernel"].shape
      (5, 3, 3)
    """

    def arrange(trees: list[Any]) -> Any:
        if scanned:
            return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
        return {f"{i}": tree for i, tree in enumerate(trees) if jax.tree.leaves(tree)}

    def init(key: Any) -> Any:
        return arrange([part.init(k) for k in jax.random.split(key, times)])

    def state() -> Any:
        return arrange([part.state() for _ in range(times)])

    def unrolled(params: Any, state: Any, x: Any, mode: Mode) -> tuple[Any, Any]:
        new = {}
        for i in range(times):
            name = f"{i}"
            x, after = part.forward(params.get(name, {}), state.get(name, {}), x, mode.part(i))
            if name in state:
                new[name] = after
        return x, new

    def scan(params: Any, state: Any, x: Any, mode: Mode) -> tuple[Any, Any]:
        # The keys that mode.part gives in the loop above.
        keys = jax.vmap(lambda i: mode.part(i).key)(jnp.arange(times)) if mode.key is not None and part.random else None

        def step(x: Any, own: Any) -> tuple[Any, Any]:
            params, state, key = own
            return part.forward(params, state, x, Mode(mode.training, key))

        return lax.scan(step, x, (params, state, keys), length=times)

    return Network(init, scan if scanned else unrolled, state, part.random)
