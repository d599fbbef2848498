"""The contract of every derivative rule: three oracles for every case, one tolerance for all.

A case is a function whose traced program contains the primitive, and real or complex arrays to differentiate it
at.  Shapes are never square, operands stay inside the domain and away from kinks (ties and kinks have tests of
their own, where the oracle is JAX's convention rather than a difference quotient).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

__all__ = ["Case", "assert_contract", "case", "complex_normal", "normal", "uniform"]


@dataclass(frozen=True)
class Case:
    """One differentiable function for one primitive.

    Attributes:
      primitive: the primitive's name, which must occur in the program traced from ``fun``.
      fun: a function of ``args``; every argument is differentiated.  Integer operands are closed over.
      args: float64 or complex128 arrays.
      label: what sets this case apart from the primitive's other cases.
      numeric: whether central differences apply (not where the derivative is a convention, as at ties).
    """

    primitive: str
    fun: Callable[..., Any]
    args: tuple[np.ndarray, ...]
    label: str = ""
    numeric: bool = True

    def __str__(self) -> str:
        return f"{self.primitive}-{self.label}" if self.label else self.primitive


def case(primitive: str, fun: Callable[..., Any], *args: np.ndarray, label: str = "", numeric: bool = True) -> Case:
    """A `Case`, with its arguments as trailing positional arguments."""
    return Case(primitive, fun, args, label, numeric)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float64 entries."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray:
    """Float64 entries uniform in [low, high)."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, size=shape)


def complex_normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Complex128 entries with standard normal real and imaginary parts."""
    return normal(*shape, seed=seed) + 1j * normal(*shape, seed=seed + 1)


def primitives_in(jaxpr: Any) -> set[str]:
    """The names of all primitives in a jaxpr and the jaxprs inside it."""
    names: set[str] = set()
    for eqn in jaxpr.eqns:
        names.add(eqn.primitive.name)
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            names |= primitives_in(inner)
    return names
