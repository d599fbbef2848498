"""What derivatives are compared at, and how closely."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

__all__ = ["JAX_REFUSES", "assert_equal", "complex_normal", "normal", "uniform"]

# What JAX raises where it has no derivative: no rule, no transpose, or a rule that says so.
JAX_REFUSES = (NotImplementedError, TypeError, ValueError, AssertionError)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float64 entries."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def uniform(low: float, high: float, *shape: int, seed: int = 0) -> np.ndarray:
    """Float64 entries uniform in [low, high)."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, size=shape)


def complex_normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Complex128 entries with standard normal real and imaginary parts."""
    return normal(*shape, seed=seed) + 1j * normal(*shape, seed=seed + 1)


def assert_equal(found: Any, due: Any, what: str, tolerance: float = 1e-9) -> None:
    """The same structure, types and numbers, up to ``tolerance`` (and a hundredth of it, of the largest entry)."""
    leaves, tree = jax.tree.flatten(found)
    due_leaves, due_tree = jax.tree.flatten(due)
    assert tree == due_tree, what
    for a, b in zip(leaves, due_leaves, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape, f"{what}: {a.dtype}{a.shape} for {b.dtype}{b.shape}"
        if a.dtype != jax.dtypes.float0:
            scale = np.max(np.abs(np.where(np.isfinite(b), b, 0)), initial=1.0)
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=1e-2 * tolerance * scale, err_msg=what)
