"""One optimizer as the contract sees it: how it is made, what it equals, and how fast it must descend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from functional_dl import optim

__all__ = ["Case", "Descent", "Gradient", "LeafReference", "each_leaf", "pull"]

Params = dict[str, np.ndarray]
Gradient = Callable[[Any, Any], Any]
LeafReference = Callable[[Gradient, np.ndarray, int], np.ndarray]


class Descent(NamedTuple):
    """A loss must be below ``below`` after ``steps`` steps.

    Attributes:
      below: the bound.
      steps: how many steps.
      hyperparameters: what is set in the state before, such as ``{"learning_rate": 0.1}``.
    """

    below: float
    steps: int
    hyperparameters: Mapping[str, float]


class Case(NamedTuple):
    """What `tests/optim/test_contract.py` needs to know of an optimizer.

    Attributes:
      make: the optimizer.  Hyperparameters that float32 holds exactly (0.875, 2⁻⁶) let the reference be met closely.
      reference: ``reference(gradient, params, steps) -> params`` in float64 NumPy, written from the paper, where
        ``gradient(params, t)`` is to be asked once for each step t = 1, 2, … at the point where the optimizer wants it
        (``eval_params``).  `each_leaf` makes one from the formula for one array.  ``None``: tested elsewhere.
      parabola: bounds the loss Σ w² from [1, −2].
      rosenbrock: bounds (1 − x)² + 100 (y − x²)² from (−1, 1).
      digits: bounds the mean cross-entropy of an MLP, one hidden layer of 32, on the first 256 training digits.
      close: (rtol, atol) of the parameters after 50 steps in float64.
      single: (rtol, atol) of them in float32.
      rests: zero gradients leave the parameters where they are (no decay, no noise).
    """

    make: Callable[[], optim.Optimizer]
    reference: Callable[[Gradient, Params, int], Params] | None = None
    parabola: Descent = Descent(1e-3, 500, {"learning_rate": 0.05})
    rosenbrock: Descent = Descent(1e-2, 2000, {"learning_rate": 0.02})
    digits: Descent = Descent(0.5, 100, {"learning_rate": 0.01})
    close: tuple[float, float] = (1e-6, 1e-7)
    single: tuple[float, float] = (2e-4, 2e-5)
    rests: bool = True


def each_leaf(formula: LeafReference) -> Callable[[Gradient, Params, int], Params]:
    """A reference for pytrees from ``formula(gradient, w, steps) -> w`` for one array."""

    def reference(gradient: Gradient, params: Params, steps: int) -> Params:
        def of(name: str) -> Gradient:
            return lambda w, t: gradient({name: w}, t)[name]

        return {name: formula(of(name), w, steps) for name, w in params.items()}

    return reference


def pull(params: Any, t: Any) -> Any:
    """A gradient that depends on the leaf's name, the entry, the position and the step, for NumPy and JAX alike."""

    def leaf(name: str, w: Any) -> Any:
        xp = np if isinstance(w, np.ndarray | np.generic) else jnp
        place = np.arange(np.size(w), dtype=np.float64).reshape(np.shape(w))
        shift = xp.asarray((0.7 * place + sum(map(ord, name))) % (2 * np.pi), w.dtype)
        return 0.5 * w + xp.sin(0.3 * xp.asarray(t, w.dtype) + shift) + 0.2

    return {name: leaf(name, w) for name, w in params.items()}
