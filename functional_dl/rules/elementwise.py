"""Rules of elementwise functions of one operand: powers, exponentials, trigonometry, error functions, parts."""

from __future__ import annotations

import math
from typing import Any

import jax
from jax import lax
from jax.extend.core import primitives

from functional_dl.jaxprs import is_float
from functional_dl.rules.table import vjp

__all__: list[str] = []

Cts = tuple[Any, ...]

# 1 − x² as one primitive, accurate near 1: from JAX 0.11 on.
_ONE_MINUS_SQUARE = getattr(primitives, "one_minus_square_p", None)


@vjp("neg")
def neg(ct: Any, y: Any, x: Any) -> Cts:
    """y = −x.   x̄ = −ȳ."""
    return (lax.neg(ct),)


@vjp("copy")
def copy(ct: Any, y: Any, x: Any) -> Cts:
    """y = x.   x̄ = ȳ."""
    return (ct,)


@vjp("name")
def name(ct: Any, y: Any, x: Any, *, name: str) -> Cts:
    """y = x, with a name for checkpoint policies.   x̄ = ȳ."""
    return (ct,)


@vjp("reduce_precision")
def reduce_precision(ct: Any, y: Any, x: Any, *, exponent_bits: int, mantissa_bits: int) -> Cts:
    """y = x rounded.   x̄ = ȳ rounded likewise, as JAX has it."""
    return (lax.reduce_precision(ct, exponent_bits, mantissa_bits),)


@vjp("convert_element_type")
def convert_element_type(ct: Any, y: Any, x: Any, *, new_dtype: Any, weak_type: bool, sharding: Any) -> Cts:
    """y = x in another dtype.   x̄ = ȳ in that of x, weak if x is; its real part if x is real and y complex."""
    if not is_float(x):
        return (None,)
    if jax.numpy.iscomplexobj(ct) and not jax.numpy.iscomplexobj(x):
        ct = lax.real(ct)
    weak = jax.typeof(x).weak_type
    if ct.dtype == x.dtype and jax.typeof(ct).weak_type == weak:
        return (ct,)
    return (primitives.convert_element_type_p.bind(ct, new_dtype=x.dtype, weak_type=weak, sharding=None),)


@vjp("real")
def real(ct: Any, y: Any, x: Any) -> Cts:
    """y = Re x.   x̄ = ȳ."""
    return (lax.complex(ct, lax.full_like(ct, 0)),)


@vjp("imag")
def imag(ct: Any, y: Any, x: Any) -> Cts:
    """y = Im x = Re(−i x).   x̄ = −i ȳ."""
    return (lax.complex(lax.full_like(ct, 0), lax.neg(ct)),)


@vjp("conj")
def conj(ct: Any, y: Any, x: Any, *, input_dtype: Any) -> Cts:
    """y = x*.   x̄ = ȳ*, its real part if x is real."""
    return (lax.conj(ct) if jax.numpy.iscomplexobj(x) else lax.real(ct),)


@vjp("abs")
def abs_(ct: Any, y: Any, x: Any) -> Cts:
    """y = |x|.   x̄ = ȳ for x ≥ 0, −ȳ below, as JAX has it at 0;  for complex x, ȳ x*/|x|, and 0 at 0."""
    if not jax.numpy.iscomplexobj(x):
        return (lax.select(x >= 0, ct, lax.neg(ct)),)
    size = lax.complex(lax.select(y == 0, lax.full_like(y, 1), y), lax.full_like(y, 0))
    return (lax.complex(ct, lax.full_like(ct, 0)) * (lax.conj(x) / size),)


@vjp("sign")
def sign(ct: Any, y: Any, x: Any) -> Cts:
    """y = x/|x|, 0 at 0.   x̄ = 0;  for complex x, where only the angle counts, −i y* Im(−ȳ y)/|x|."""
    if not jax.numpy.iscomplexobj(x):
        return (None,)
    size = lax.abs(x)
    turn = lax.imag(ct * y) / lax.select(size == 0, lax.full_like(size, 1), size)
    return (lax.conj(y) * lax.complex(lax.full_like(turn, 0), turn),)


@vjp("square")
def square(ct: Any, y: Any, x: Any) -> Cts:
    """y = x².   x̄ = 2x ȳ."""
    return (ct * (x * 2),)


@vjp("one_minus_square")
def one_minus_square(ct: Any, y: Any, x: Any) -> Cts:
    """y = 1 − x² (JAX from 0.11 on).   x̄ = −2x ȳ."""
    return (ct * (x * -2),)


@vjp("sqrt")
def sqrt(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = √x.   x̄ = ȳ / 2y."""
    return (ct * (0.5 / y),)


@vjp("rsqrt")
def rsqrt(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = 1/√x.   x̄ = −ȳ y / 2x."""
    return (ct * (y / x * -0.5),)


@vjp("cbrt")
def cbrt(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = ∛x.   x̄ = ȳ / 3y²."""
    return (ct * (lax.integer_pow(y, -2) * (1 / 3)),)


@vjp("exp")
def exp(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = eˣ.   x̄ = ȳ y."""
    return (ct * y,)


@vjp("exp2")
def exp2(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = 2ˣ.   x̄ = ȳ y ln 2."""
    return (ct * (y * math.log(2)),)


@vjp("expm1")
def expm1(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = eˣ − 1.   x̄ = ȳ eˣ, which far left keeps the digits that y + 1 has lost."""
    return (ct * lax.exp(x),)


@vjp("log")
def log(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = ln x.   x̄ = ȳ / x."""
    return (ct / x,)


@vjp("log2")
def log2(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = log₂ x.   x̄ = ȳ / (x ln 2)."""
    return (ct / (x * math.log(2)),)


@vjp("log1p")
def log1p(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = ln(1 + x).   x̄ = ȳ / (1 + x)."""
    return (ct / (x + 1),)


@vjp("logistic")
def logistic(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = 1/(1 + e⁻ˣ).   x̄ = ȳ y (1 − y)."""
    return (ct * (y * (1 - y)),)


@vjp("sin")
def sin(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = sin x.   x̄ = ȳ cos x."""
    return (ct * lax.cos(x),)


@vjp("cos")
def cos(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = cos x.   x̄ = −ȳ sin x."""
    return (lax.neg(ct * lax.sin(x)),)


@vjp("tan")
def tan(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = tan x.   x̄ = ȳ (1 + y²)."""
    return (ct * (1 + lax.square(y)),)


@vjp("asin")
def asin(ct: Any, y: Any, x: Any) -> Cts:
    """y = asin x.   x̄ = ȳ / √(1 − x²)."""
    return (ct * lax.rsqrt((1 - x) * (1 + x)),)


@vjp("acos")
def acos(ct: Any, y: Any, x: Any) -> Cts:
    """y = acos x.   x̄ = −ȳ / √(1 − x²)."""
    return (lax.neg(ct * lax.rsqrt((1 - x) * (1 + x))),)


@vjp("atan")
def atan(ct: Any, y: Any, x: Any) -> Cts:
    """y = atan x.   x̄ = ȳ / (1 + x²)."""
    return (ct / (1 + lax.square(x)),)


@vjp("sinh")
def sinh(ct: Any, y: Any, x: Any) -> Cts:
    """y = sinh x.   x̄ = ȳ cosh x."""
    return (ct * lax.cosh(x),)


@vjp("cosh")
def cosh(ct: Any, y: Any, x: Any) -> Cts:
    """y = cosh x.   x̄ = ȳ sinh x."""
    return (ct * lax.sinh(x),)


@vjp("tanh")
def tanh(ct: Any, y: Any, x: Any, *, accuracy: Any) -> Cts:
    """y = tanh x.   x̄ = ȳ (1 − y²), as a product so that it stays accurate where |y| is near 1."""
    slope = (1 + y) * (1 - y) if _ONE_MINUS_SQUARE is None else _ONE_MINUS_SQUARE.bind(y)
    return (ct * slope,)


@vjp("asinh")
def asinh(ct: Any, y: Any, x: Any) -> Cts:
    """y = asinh x.   x̄ = ȳ / √(x² + 1)."""
    return (ct * lax.rsqrt(lax.square(x) + 1),)


@vjp("acosh")
def acosh(ct: Any, y: Any, x: Any) -> Cts:
    """y = acosh x.   x̄ = ȳ / √((x − 1)(x + 1)), each root by itself, which keeps the branch for complex x."""
    return (ct * (lax.rsqrt(x - 1) * lax.rsqrt(x + 1)),)


@vjp("atanh")
def atanh(ct: Any, y: Any, x: Any) -> Cts:
    """y = atanh x.   x̄ = ȳ / (1 − x²)."""
    return (ct / ((1 + x) * (1 - x)),)


@vjp("erf")
def erf(ct: Any, y: Any, x: Any) -> Cts:
    """y = erf x.   x̄ = ȳ 2/√π e^(−x²)."""
    return (ct * (lax.exp(lax.neg(lax.square(x))) * (2 / math.sqrt(math.pi))),)


@vjp("erfc")
def erfc(ct: Any, y: Any, x: Any, *, accuracy: Any = None) -> Cts:
    """y = erfc x.   x̄ = −ȳ 2/√π e^(−x²)."""
    return (ct * (lax.exp(lax.neg(lax.square(x))) * (-2 / math.sqrt(math.pi))),)


@vjp("erf_inv")
def erf_inv(ct: Any, y: Any, x: Any) -> Cts:
    """y = erf⁻¹ x.   x̄ = ȳ √π/2 e^(y²)."""
    return (ct * (lax.exp(lax.square(y)) * (math.sqrt(math.pi) / 2)),)


@vjp("lgamma")
def lgamma(ct: Any, y: Any, x: Any) -> Cts:
    """y = ln |Γ(x)|.   x̄ = ȳ ψ(x)."""
    return (ct * lax.digamma(x),)


@vjp("digamma")
def digamma(ct: Any, y: Any, x: Any) -> Cts:
    """y = ψ(x).   x̄ = ȳ ψ⁽¹⁾(x)."""
    return (ct * lax.polygamma(lax.full_like(x, 1), x),)


@vjp("bessel_i0e")
def bessel_i0e(ct: Any, y: Any, x: Any) -> Cts:
    """y = e^(−|x|) I₀(x).   x̄ = ȳ (e^(−|x|) I₁(x) − y sign x)."""
    return (ct * (lax.bessel_i1e(x) - lax.sign(x) * y),)


@vjp("bessel_i1e")
def bessel_i1e(ct: Any, y: Any, x: Any) -> Cts:
    """y = e^(−|x|) I₁(x).   x̄ = ȳ (e^(−|x|) I₀(x) − y (sign x + 1/x)), and ȳ/2 at 0."""
    far = lax.abs(x) > jax.numpy.finfo(x.dtype).eps
    safe = lax.select(far, x, lax.full_like(x, 1))
    slope = lax.bessel_i0e(safe) - y * (lax.sign(safe) + 1 / safe)
    return (ct * lax.select(far, slope, lax.full_like(x, 0.5)),)
