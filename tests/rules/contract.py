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
from tests.comparison import Subject, against_differences, against_jax, refusal
from tests.evaluation import evaluate, primitives_in
from tests.oracles import JAX_REFUSES, assert_equal, complex_normal, normal

__all__ = ["Case", "assert_contract", "assert_recorded", "assert_traced", "case"]


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


def _rounding(jaxpr: Any) -> float:
    """Several rounding errors of the narrowest floating type in a jaxpr; of float64 where there is no other.

    Cotangents of a value that is cast twice may be added up on either side of the cast.
    """
    dtypes = {getattr(v.aval, "dtype", None) for eqn in jaxpr.eqns for v in eqn.outvars}
    widths = [jax.numpy.finfo(d).eps for d in dtypes if jax.dtypes.issubdtype(d, np.floating)]
    return max(1e-9, 8 * float(max(widths, default=0)))


def _cotangent(out: Any, seed: int) -> Any:
    """A random cotangent for ``out``, float0 zeros for integer leaves."""

    def leaf(x: Any) -> Any:
        if np.issubdtype(x.dtype, np.complexfloating):
            return complex_normal(*x.shape, seed=seed).astype(x.dtype)
        if np.issubdtype(x.dtype, np.floating):
            return normal(*x.shape, seed=seed).astype(x.dtype)
        return np.zeros(x.shape, jax.dtypes.float0)

    return jax.tree.map(leaf, out)


def assert_recorded(case: Case) -> None:
    """Check one case outside `jax.jit`, where it is recorded: first order, differences and linearity."""
    with jax.enable_x64(True):
        args = tuple(jax.numpy.asarray(a) for a in case.args)
        out, pullback = fdl.vjp(case.fun, *args)
        ct = _cotangent(out, seed=7)
        if case.refused > 1:
            due_out, due_pullback = jax.vjp(case.fun, *args)
            assert_equal(out, due_out, f"{case}: value")
            assert_equal(pullback(ct), due_pullback(ct), f"{case}: first order")
        else:
            with pytest.raises(JAX_REFUSES):
                jax.vjp(case.fun, *args)[1](ct)
        if case.numeric:
            fun = _in_haste(case.fun, jax.make_jaxpr(case.fun)(*args), jax.tree.structure(out))
            fdl.check_vjp(fun, case.args, tolerance=case.tolerance)


def _in_haste(fun: Callable[..., Any], program: Any, tree: Any) -> Callable[..., Any]:
    """``fun``; of numbers, which is where differences are taken of it, as its traced program, loops step by step.

    Outside `jax.jit` JAX compiles a loop anew at every point: a second and a half for each case that has one.
    """
    programs = [e for e in program.eqns if any(True for _ in jax.extend.core.jaxprs_in_params(e.params))]
    if all(e.primitive.name == "shard_map" for e in programs) or "reshard" in primitives_in(program):
        return fun

    def run(*args: Any) -> Any:
        traced = any(isinstance(x, jax.core.Tracer) for x in args)
        return fun(*args) if traced else tree.unflatten(evaluate(program, args))

    return run


def assert_traced(case: Case, order: int) -> None:
    """Check one case traced: the primitive is met; the value and ``order`` derivatives of it equal JAX's.

    From the order on at which JAX refuses, central differences take its place.
    """
    with jax.enable_x64(True):
        args = tuple(jax.numpy.asarray(a) for a in case.args)
        jaxpr = jax.make_jaxpr(case.fun)(*args)
        assert case.primitive in primitives_in(jaxpr.jaxpr), f"{case}: traced to {primitives_in(jaxpr.jaxpr)}"
        subject = Subject(str(case), case.fun, args, order, _rounding(jaxpr))
        if order < case.refused:
            against_jax(subject)
        else:
            assert refusal(subject, case.refused) == case.refused, f"{case}: JAX does not raise"
            if order > 1 or case.numeric:
                against_differences(subject, 10 * case.tolerance)


def assert_contract(case: Case) -> None:
    """Check one case in every way."""
    assert_recorded(case)
    assert_traced(case, case.order)
