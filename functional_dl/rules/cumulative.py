"""Rules of cumulative reductions along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from functional_dl.rules.equivalents import as_program
from functional_dl.rules.table import Augmented, Call, structural, vjp

__all__: list[str] = []


@vjp("cumsum")
def cumsum(ct: Any, y: Any, x: Any, *, axis: int, reverse: bool) -> tuple[Any, ...]:
    """yᵢ = Σ_{j≤i} xⱼ.   x̄ⱼ = Σ_{i≥j} ȳᵢ."""
    return (lax.cumsum(ct, axis, not reverse),)


@vjp("cumprod")
def cumprod(ct: Any, y: Any, x: Any, *, axis: int, reverse: bool) -> tuple[Any, ...]:
    """yᵢ = Π_{k≤i} x_k.   x̄ⱼ = (Π_{k<j} x_k) sⱼ with sⱼ = ȳⱼ + x_{j+1} s_{j+1}.

    The recurrence is linear and solved by an associative scan; no quotient is formed, so zeros do no harm.
    """
    n = x.shape[axis]
    if n == 0:
        return (ct,)
    one = lax.full_like(lax.slice_in_dim(x, 0, 1, axis=axis), 1)
    if reverse:
        before = lax.concatenate([lax.slice_in_dim(y, 1, n, axis=axis), one], axis)
        factors = lax.concatenate([one, lax.slice_in_dim(x, 0, n - 1, axis=axis)], axis)
    else:
        before = lax.concatenate([one, lax.slice_in_dim(y, 0, n - 1, axis=axis)], axis)
        factors = lax.concatenate([lax.slice_in_dim(x, 1, n, axis=axis), one], axis)

    def follow(first: Any, second: Any) -> Any:
        (a, s), (b, t) = first, second
        return a * b, t + b * s

    _, sums = lax.associative_scan(follow, (factors, ct), reverse=not reverse, axis=axis)
    return (before * sums,)


def _through(name: str, combine: Callable[[Any, Any], Any], mathematics: str) -> None:
    """A rule that differentiates the primitive as the associative scan it is defined by, as JAX does.

    Where entries tie, the derivative is a convention that the tree of the scan decides; this is JAX's tree.
    """

    def rule(call: Call, differentiate: Callable[..., Any]) -> Augmented:
        axis, reverse = call.params["axis"], call.params["reverse"]
        return as_program(call, differentiate, lambda x: [lax.associative_scan(combine, x, reverse=reverse, axis=axis)])

    rule.__name__, rule.__doc__ = name, mathematics
    structural(name)(rule)


_through("cummax", lax.max, "yᵢ = max_{j≤i} xⱼ.   ȳᵢ goes to the xⱼ that is yᵢ.")
_through("cummin", lax.min, "yᵢ = min_{j≤i} xⱼ.   ȳᵢ goes to the xⱼ that is yᵢ.")
_through("cumlogsumexp", jax.numpy.logaddexp, "yᵢ = ln Σ_{j≤i} exp xⱼ.   x̄ⱼ = Σ_{i≥j} ȳᵢ exp(xⱼ − yᵢ).")
