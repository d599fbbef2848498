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
import pytest

import functional_dl as fdl

# What JAX raises where it has no derivative: no rule, no transpose, or a rule that says so.
JAX_REFUSES = (NotImplementedError, TypeError, ValueError, AssertionError)

__all__ = [
    "JAX_REFUSES", "Case", "assert_contract", "assert_equal", "case", "complex_normal", "normal",
    "uniform",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One differentiable function for one primitive.

    Attributes:
      primitive: the primitive's name, which must occur in the program traced from ``fun``.
      fun: a function of ``args``; every argument is differentiated.  Integer operands are closed over.
      args: float64 or complex128 arrays.
      label: what sets this case apart from the primitive's other cases.
      order: the highest order compared with JAX's (1 where JAX's second is NaN and ours is not).
      numeric: whether central differences apply (not where the derivative is a convention, as at ties).
      refused: the lowest order at which JAX raises (checked) and ours goes on; from there on the oracle is central
        differences, of the function for the first order and of our gradient for the second.
      tolerance: of the central differences.
    """

    primitive: str
    fun: Callable[..., Any]
    args: tuple[np.ndarray, ...]
    label: str = ""
    numeric: bool = True
    order: int = 2
    refused: int = 3
    tolerance: float = 2e-6

    def __str__(self) -> str:
        return f"{self.primitive}-{self.label}" if self.label else self.primitive


def case(
    primitive: str,
    fun: Callable[..., Any],
    *args: np.ndarray,
    label: str = "",
    numeric: bool = True,
    order: int = 2,
    refused: int = 3,
    tolerance: float = 2e-6,
) -> Case:
    """A `Case`, with its arguments as trailing positional arguments."""
    return Case(primitive, fun, args, label, numeric, order, refused, tolerance)


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


def _cotangent(out: Any, seed: int) -> Any:
    """A random cotangent for ``out``, float0 zeros for integer leaves."""

    def leaf(x: Any) -> Any:
        if np.issubdtype(x.dtype, np.complexfloating):
            return complex_normal(*x.shape, seed=seed).astype(x.dtype)
        if np.issubdtype(x.dtype, np.floating):
            return normal(*x.shape, seed=seed).astype(x.dtype)
        return np.zeros(x.shape, jax.dtypes.float0)

    return jax.tree.map(leaf, out)


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


def assert_contract(case: Case) -> None:
    """Check one case: the primitive is met; first and second order equal JAX's; differences and linearity agree."""
    with jax.enable_x64(True):
        args = tuple(jax.numpy.asarray(a) for a in case.args)
        jaxpr = jax.make_jaxpr(case.fun)(*args)
        assert case.primitive in primitives_in(jaxpr.jaxpr), f"{case}: traced to {primitives_in(jaxpr.jaxpr)}"

        out, pullback = fdl.vjp(case.fun, *args)
        ct = _cotangent(out, seed=7)
        if case.refused > 1:
            due_out, due_pullback = jax.vjp(case.fun, *args)
            assert_equal(out, due_out, f"{case}: value")
            assert_equal(pullback(ct), due_pullback(ct), f"{case}: first order")
        else:
            with pytest.raises(JAX_REFUSES):
                jax.vjp(case.fun, *args)[1](ct)

        # Second order: our reverse mode over our pullback against JAX's over JAX's, in x and in the cotangent.
        floats = [np.issubdtype(x.dtype, np.inexact) for x in jax.tree.leaves(out)]
        given = [c for c, f in zip(jax.tree.leaves(ct), floats, strict=True) if f]

        def pulled(vjp: Callable[..., Any]) -> Callable[..., Any]:
            def run(cts: Any, *xs: Any) -> Any:
                y, back = vjp(case.fun, *xs)
                leaves, tree = jax.tree.flatten(y)
                it = iter(cts)
                full = [
                    next(it) if f else np.zeros(x.shape, jax.dtypes.float0) for x, f in zip(leaves, floats, strict=True)
                ]
                return back(jax.tree.unflatten(tree, full))

            return run

        if case.order > 1 and case.refused > 2:
            slopes, due_second = jax.vjp(pulled(jax.vjp), given, *args)
            _, second = fdl.vjp(pulled(fdl.vjp), given, *args)
            other = _cotangent(slopes, seed=8)
            assert_equal(second(other), due_second(other), f"{case}: second order")
        elif case.order > 1:
            if case.refused == 2:
                with pytest.raises(JAX_REFUSES):
                    slopes, due_second = jax.vjp(pulled(jax.vjp), given, *args)
                    due_second(_cotangent(slopes, seed=8))
            fdl.check_vjp(pulled(fdl.vjp), (given, *case.args), tolerance=10 * case.tolerance)
        if case.numeric:
            fdl.check_vjp(case.fun, case.args, tolerance=case.tolerance)
