"""Rules of elementwise arithmetic and choice among several operands, each of which may have been broadcast."""

from __future__ import annotations

from typing import Any

import jax
from jax import lax

from functional_dl.jaxprs import is_float
from functional_dl.rules.broadcasting import unbroadcast
from functional_dl.rules.table import vjp

__all__: list[str] = []

Cts = tuple[Any, ...]


@vjp("integer_pow")
def integer_pow(ct: Any, out: Any, x: Any, *, y: int) -> Cts:
    """out = xⁿ with n = ``y``.   x̄ = n xⁿ⁻¹ ·ct."""
    if y == 0:
        return (lax.full_like(ct, 0),)
    return (ct if y == 1 else ct * (lax.integer_pow(x, y - 1) * y),)


@vjp("add", "add_any")
def add(ct: Any, y: Any, a: Any, b: Any) -> Cts:
    """y = a + b.   ā = ȳ, b̄ = ȳ."""
    return unbroadcast(ct, a), unbroadcast(ct, b)


@vjp("sub")
def sub(ct: Any, y: Any, a: Any, b: Any) -> Cts:
    """y = a − b.   ā = ȳ, b̄ = −ȳ."""
    return unbroadcast(ct, a), unbroadcast(lax.neg(ct), b)


@vjp("mul")
def mul(ct: Any, y: Any, a: Any, b: Any, *, out_dtype: Any = None) -> Cts:
    """y = a b.   ā = ȳ b, b̄ = a ȳ, each in its operand's dtype."""
    return tuple(
        unbroadcast(lax.convert_element_type(ct * other.astype(ct.dtype), own.dtype), own)
        if ct.dtype != own.dtype
        else unbroadcast(ct * other, own)
        for own, other in ((a, b), (b, a))
    )


@vjp("div")
def div(ct: Any, y: Any, a: Any, b: Any) -> Cts:
    """y = a / b.   ā = ȳ / b, b̄ = −ȳ y / b."""
    return unbroadcast(ct / b, a), unbroadcast(lax.neg(ct) * y / b, b)


@vjp("rem")
def rem(ct: Any, y: Any, a: Any, b: Any) -> Cts:
    """y = a − b trunc(a/b).   ā = ȳ, b̄ = −ȳ trunc(a/b)."""
    quotient = a / b
    return unbroadcast(ct, a), unbroadcast(lax.neg(ct) * (lax.sign(quotient) * lax.floor(lax.abs(quotient))), b)


@vjp("pow")
def pow_(ct: Any, y: Any, a: Any, b: Any) -> Cts:
    """y = aᵇ.   ā = ȳ b aᵇ⁻¹, b̄ = ȳ y ln a;  where a = 0 the logarithm is taken as 0, as JAX has it."""
    if not is_float(b):
        # b aᵇ⁻¹ is 0 for b = 0, also where a = 0.
        less = lax.select(b == 0, lax.full_like(b, 1), b - 1)
        slope = jax.numpy.where(b == 0, lax.full_like(y, 0), b.astype(y.dtype) * lax.pow(a, less))
        return unbroadcast(ct * slope, a), None
    slope = lax.convert_element_type(ct * (b * lax.pow(a, b - 1)), y.dtype)  # never weakly typed: JAX's is not
    safe = lax.select(a == 0, lax.full_like(a, 1), a)
    return unbroadcast(slope, a), unbroadcast(ct * (lax.log(safe) * y), b)


@vjp("polynomial")
def polynomial(ct: Any, y: Any, x: Any, *coefficients: Any, unroll: int | None = None) -> Cts:
    """y = Σₖ cₖ xᵏ (JAX from 0.12 on).   x̄ = ȳ Σₖ k cₖ xᵏ⁻¹, c̄ₖ = ȳ xᵏ, each power from the one before."""
    slopes = [c * k for k, c in enumerate(coefficients)][1:]
    horner = lax.polynomial  # type: ignore[attr-defined]  # not in every version
    x_ct = unbroadcast(ct * horner(x, slopes, unroll=unroll), x)
    powers = [ct]
    for _ in slopes:
        powers.append(powers[-1] * x)
    return x_ct, *[unbroadcast(power, c) for power, c in zip(powers, coefficients, strict=True)]


@vjp("nextafter")
def nextafter(ct: Any, y: Any, a: Any, b: Any) -> Cts:
    """y = the number next to a in the direction of b.   ā = ȳ, to rounding;  b̄ = 0."""
    return unbroadcast(ct, a), None


@vjp("atan2")
def atan2(ct: Any, y: Any, a: Any, b: Any) -> Cts:
    """y = atan2(a, b).   ā = ȳ b / (a² + b²), b̄ = −ȳ a / (a² + b²)."""
    scaled = ct / (lax.square(a) + lax.square(b))
    return unbroadcast(scaled * b, a), unbroadcast(lax.neg(scaled) * a, b)


def _share(ct: Any, own: Any, y: Any, other: Any) -> Any:
    """The part of ``ct`` due to the operand that was chosen: all, or half where both are equal."""
    zero = lax.full_like(ct, 0)
    chosen, tied = jax.numpy.broadcast_to(own == y, ct.shape), jax.numpy.broadcast_to(other == y, ct.shape)
    return unbroadcast(lax.select(chosen, lax.select(tied, ct * 0.5, ct), zero), own)


@vjp("max", "min")
def extremum(ct: Any, y: Any, a: Any, b: Any) -> Cts:
    """y = max(a, b) or min(a, b).   ȳ goes to the one that is y, in equal parts where both are."""
    return _share(ct, a, y, b), _share(ct, b, y, a)


@vjp("clamp")
def clamp(ct: Any, y: Any, low: Any, x: Any, high: Any) -> Cts:
    """y = min(max(x, low), high).   ȳ goes to x strictly inside, to a bound strictly beyond it."""
    zero = lax.full_like(ct, 0)

    def where(mask: Any) -> Any:
        return lax.select(jax.numpy.broadcast_to(mask, ct.shape), ct, zero)

    return (
        unbroadcast(where((low > x) & (low < high)), low),
        where((x > low) & (x < high)),
        unbroadcast(where(high < x), high),
    )


@vjp("select_n")
def select_n(ct: Any, y: Any, which: Any, *cases: Any) -> Cts:
    """y = cases[which].   ȳ goes to the case that was chosen."""
    zero = lax.full_like(ct, 0)
    return None, *[lax.select_n(which, *[ct if j == i else zero for j in range(len(cases))]) for i in range(len(cases))]


@vjp("complex")
def complex_(ct: Any, y: Any, re: Any, im: Any) -> Cts:
    """y = re + i im.   r̄e = Re ȳ, īm = −Im ȳ = Re(i ȳ)."""
    return unbroadcast(lax.real(ct), re), unbroadcast(lax.neg(lax.imag(ct)), im)
