"""Check a function's gradient against central differences and against linearity, operand by operand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.tree_util import keystr, tree_flatten, tree_flatten_with_path, tree_leaves, tree_map, tree_unflatten

from functional_dl.autodiff.transforms import vjp

__all__ = ["GradientError", "OperandCheck", "check_vjp"]


class GradientError(AssertionError):
    """A gradient disagrees with what it was checked against."""


class OperandCheck(NamedTuple):
    """How well one operand's cotangent agrees.

    Attributes:
      name: the operand's path in the arguments.
      expected: the directional derivative by central differences (its worst direction).
      found: the same by the pullback.
      error: largest relative difference over the directions.
      linearity: largest relative departure from linearity in the cotangent.
    """

    name: str
    expected: float
    found: float
    error: float
    linearity: float

    def __str__(self) -> str:
        return f"{self.name}: relative error {self.error:.1e}, linearity {self.linearity:.1e}"


def _random_like(tree: Any, rng: np.random.Generator) -> Any:
    """Standard normal entries in the shape and dtype of every floating leaf; float0 zeros for the others."""

    def leaf(x: Any) -> Any:
        x = np.asarray(x)
        if np.issubdtype(x.dtype, np.complexfloating):
            return (rng.normal(size=x.shape) + 1j * rng.normal(size=x.shape)).astype(x.dtype)
        if jax.dtypes.issubdtype(x.dtype, np.floating):
            return rng.normal(size=x.shape).astype(x.dtype)
        return np.zeros(x.shape, jax.dtypes.float0)

    return tree_map(leaf, tree)


def _inner(cotangent: Any, values: Any) -> float:
    """Re Σ c·v over all floating leaves: JAX's pairing, which does not conjugate."""
    total = 0.0
    for c, v in zip(tree_leaves(cotangent), tree_leaves(values), strict=True):
        if c.dtype != jax.dtypes.float0:
            total += float(np.real(np.sum(np.asarray(c) * np.asarray(v))))
    return total


def _double(x: Any) -> Any:
    x = np.asarray(x)
    if np.issubdtype(x.dtype, np.complexfloating):
        return x.astype(np.complex128)
    return x.astype(np.float64) if jax.dtypes.issubdtype(x.dtype, np.floating) else x


def check_vjp(
    fun: Callable[..., Any],
    args: Sequence[Any],
    *,
    directions: int = 3,
    tolerance: float = 1e-6,
    step: float = 1e-5,
    seed: int = 0,
) -> list[OperandCheck]:
    """Check the gradient of ``fun`` at ``args``, one operand at a time, in float64.

    For random cotangents c and random directions v of one operand at a time, the pullback's c̄·v is compared with
    the central difference of c·fun along v, extrapolated once (Richardson) so that its own error is O(step⁴); and
    the pullback is checked to be linear in c.  ``fun`` may be anything that JAX can trace, a function with a
    `jax.custom_vjp` of your own included: that is what it is public for.

    Args:
      fun: a function of arrays or pytrees.
      args: where to check; floating leaves are checked in float64, others are held fixed.
      directions: how many random cotangents and directions per operand.
      tolerance: largest relative error that passes.
      step: distance of the difference quotient, relative to entries of size one.
      seed: of the random directions.

    Returns:
      One `OperandCheck` per floating leaf of ``args``.

    Raises:
      GradientError: an operand is off: which, by how much, what came and what was due.

    Example:
      >>> import jax.numpy as jnp, functional_dl as fdl
      >>> for operand in fdl.check_vjp(lambda x, y: jnp.sin(x) * y, (jnp.arange(3.0), 2.0)):
      ...     print(operand.name, operand.error < 1e-6)
      args[0] True
      args[1] True
    """
    with jax.enable_x64(True):
        return _check(fun, args, directions, tolerance, step, seed)


def _check(
    fun: Callable[..., Any], args: Sequence[Any], directions: int, tolerance: float, step: float, seed: int
) -> list[OperandCheck]:
    rng = np.random.default_rng(seed)
    args = tree_map(lambda x: jax.numpy.asarray(_double(x)), tuple(args))
    paths = [f"args{keystr(path)}" for path, _ in tree_flatten_with_path(args)[0]]
    leaves, tree = tree_flatten(args)
    out, pullback = vjp(fun, *args)
    checks = []
    floating = [i for i, x in enumerate(leaves) if np.issubdtype(x.dtype, np.inexact)]
    worst = dict.fromkeys(floating, (0.0, 0.0, -1.0))
    bent = dict.fromkeys(floating, 0.0)

    def run(values: Sequence[Any]) -> Any:
        return fun(*tree_unflatten(tree, values))

    for _ in range(directions):
        ct, other = _random_like(out, rng), _random_like(out, rng)
        slopes, others = tree_leaves(pullback(ct)), tree_leaves(pullback(other))
        mixed = tree_map(lambda a, b: a if a.dtype == jax.dtypes.float0 else 2 * a - 3 * b, ct, other)
        both = tree_leaves(pullback(mixed))
        for i in floating:
            direction = _random_like(leaves[i], rng)

            def quotient(h: float, i: int = i, direction: Any = direction, ct: Any = ct) -> float:
                ends = [run([*leaves[:i], leaves[i] + s * h * direction, *leaves[i + 1 :]]) for s in (1, -1)]
                change = tree_map(lambda a, b: np.asarray(a) - np.asarray(b) if _is_float(a) else a, *ends)
                return _inner(ct, change) / (2 * h)

            expected = (4 * quotient(step / 2) - quotient(step)) / 3
            found = _inner(lax.convert_element_type(slopes[i], leaves[i].dtype), direction)
            size = float(np.linalg.norm(np.ravel(slopes[i])) * np.linalg.norm(np.ravel(direction)))
            # Relative to the derivative itself or, where it nearly cancels, to what the sum was made of.
            scale = max(abs(expected), abs(found), size / np.sqrt(max(np.size(direction), 1)), 1e-3)
            error = abs(expected - found) / scale
            if not error <= worst[i][2]:
                worst[i] = (expected, found, error)
            straight = 2 * np.asarray(slopes[i]) - 3 * np.asarray(others[i])
            off = np.max(np.abs(np.asarray(both[i]) - straight), initial=0.0)
            bent[i] = max(bent[i], float(off / max(np.max(np.abs(straight), initial=0.0), 1e-3)))
    for i in floating:
        checks.append(OperandCheck(paths[i], *worst[i], bent[i]))
    wrong = [c for c in checks if not (c.error <= tolerance and c.linearity <= tolerance)]
    if wrong:
        lines = [
            f"  {c.name}: pullback gives {c.found:.9g}, central differences {c.expected:.9g} "
            f"(relative error {c.error:.1e}, allowed {tolerance:.0e}); departure from linearity {c.linearity:.1e}"
            for c in wrong
        ]
        name = getattr(fun, "__name__", "the function")
        raise GradientError(
            f"The gradient of {name} is off in {len(wrong)} of {len(checks)} operands:\n" + "\n".join(lines)
        )
    return checks


def _is_float(x: Any) -> bool:
    return bool(jax.dtypes.issubdtype(jax.typeof(x).dtype, np.inexact))
