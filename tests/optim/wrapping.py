"""What the tests of wrappers share: parameters and gradients, a run of some steps, and a comparison."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from functional_dl import optim

__all__ = ["Wrap", "close", "gradients", "params", "run"]

Wrap = Callable[[optim.Optimizer], optim.Optimizer]


def params(dtype: Any = jnp.float32) -> Any:
    rng = np.random.default_rng(0)
    return {
        "dense": {
            "bias": jnp.asarray(rng.normal(size=3), dtype),
            "kernel": jnp.asarray(rng.normal(size=(4, 3)), dtype),
        },
        "scale": jnp.float32(1.5),
    }


def gradients(like: Any) -> Iterator[Any]:
    rng = np.random.default_rng(1)
    while True:
        yield jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), like)


def run(optimizer: optim.Optimizer, like: Any, steps: int, at: Callable[[Any], Any] | None = None) -> optim.State:
    """The state after some steps, with given gradients or those of a function of the point."""
    state, update = optimizer.init(like), jax.jit(optimizer.update)
    for grads in itertools.islice(gradients(like), steps):
        state = update(state, grads if at is None else at(optimizer.eval_params(state)))
    return state


def close(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    chex.assert_trees_all_close(a, b, rtol=rtol, atol=atol)
