"""Rules of the special functions with parameters: incomplete gamma and beta, gamma samples, zeta, polygamma.

Where a derivative has no closed form it is an integral or a sum of plain operations, so that all higher derivatives
follow.  Relative accuracy in float64, measured against mpmath (tests/rules/test_special_functions.py): 1e-9, mostly
1e-11, for gamma parameters of 1e-3 to 1e4, beta parameters of 1e-3 to 3e3 and any zeta parameters, at any x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array, lax

from functional_dl.rules.broadcasting import unbroadcast
from functional_dl.rules.quadrature import computed_in_single, half_line
from functional_dl.rules.table import Augmented, Call, RuleError, structural, vjp

__all__: list[str] = []

Cts = tuple[Any, ...]


def _full(y: Array, *operands: Array) -> list[Array]:
    """The operands at the shape of ``y``."""
    return [jax.numpy.broadcast_to(x, y.shape) for x in operands]


# --- incomplete gamma functions -----------------------------------------------------------------------------------


def _gamma_density(a: Array, x: Array) -> Array:
    """p(x) = xᵃ⁻¹ e⁻ˣ / Γ(a), the derivative of P(a, x) in x."""
    return lax.exp(-x + (a - 1) * lax.log(x) - lax.lgamma(a))


@vjp("igamma")
def igamma(ct: Any, y: Any, a: Any, x: Any) -> Cts:
    """y = P(a, x) = ∫₀ˣ p, with p = tᵃ⁻¹ e⁻ᵗ / Γ(a).   ā = ȳ ∂P/∂a, which is a primitive;  x̄ = ȳ p(x)."""
    return unbroadcast(ct * lax.igamma_grad_a(a, x), a), unbroadcast(ct * _gamma_density(a, x), x)


@vjp("igammac")
def igammac(ct: Any, y: Any, a: Any, x: Any) -> Cts:
    """y = Q(a, x) = 1 − P(a, x).   The cotangents of P, negated."""
    return unbroadcast(-ct * lax.igamma_grad_a(a, x), a), unbroadcast(-ct * _gamma_density(a, x), x)


@vjp("igamma_grad_a")
def igamma_grad_a(ct: Any, y: Any, a: Any, x: Any) -> Cts:
    """y = ∂P/∂a.   x̄ = ȳ p(x) (ln x − ψ(a));  ā = ȳ ∂²P/∂a² = ȳ x p(x) J(a, x).

    At x = 0, where p may be infinite, ∂²P/∂a² is 0, as at x = ∞.
    """
    a_full, x_full = _full(y, a, x)
    density = _gamma_density(a, x)
    end = (a_full > 0) & ((x_full == 0) | (x_full == np.inf))
    second = lax.select(end, lax.full_like(y, 0), x_full * density * _curvature(a_full, x_full))
    return unbroadcast(ct * second, a), unbroadcast(ct * (density * (lax.log(x) - lax.digamma(a))), x)


@computed_in_single
def _curvature(a: Array, x: Array) -> Array:
    """J(a, x) = ∂²P/∂a² / (x p(x)).

    With D = ln t − ψ(a), which is ∂ ln p/∂a, the derivative is ∫₀ˣ (D² − ψ′(a)) p dt, or minus the same from x on,
    since p integrates to 1 for every a.  In s = ln t the density is log-concave.  From s = ln x away from its mode
    it falls as e^E with E(r) = −a r − x (e⁻ʳ − 1) downwards, E(r) = a r − x (eʳ − 1) upwards; r is measured in the
    length on which E reaches −1, from a quadratic equation that has its slope and curvature at 0 and its slope at ∞.
    """
    legal = (a > 0) & (a < np.inf) & (x > 0) & (x < np.inf)
    a, x = lax.select(legal, a, lax.full_like(a, 1)), lax.select(legal, x, lax.full_like(x, 1))
    up = (x >= 0.3) & (x > a)
    fall = lax.abs(x - a)
    upwards = 2 / (fall + lax.sqrt(lax.square(fall) + 2 * x))
    scale = lax.select(up, upwards, _reach(2 * (a - x) - 1, 4 * a, 2))
    sign = lax.select(up, lax.full_like(x, 1), lax.full_like(x, -1))

    def integrand(r: Array, a: Array, x: Array, sign: Array, psi: Array, variance: Array) -> Array:
        r = lax.min(sign * r, lax.full_like(r, 40))  # beyond, upwards, the density is 0: eʳ need not overflow
        deviation = lax.log(x) + r - psi
        return lax.exp(a * r - x * lax.expm1(r)) * (lax.square(deviation) - variance)

    psi, variance = lax.digamma(a), lax.polygamma(lax.full_like(a, 1), a)
    found = -sign * half_line(integrand, scale, a, x, sign, psi, variance)
    return lax.select(legal, found, lax.full_like(x, np.nan))


def _reach(b: Array, four_a: Array, m: Any) -> Array:
    """The positive root r of a r² + b r = m, without cancellation."""
    root = lax.sqrt(lax.square(b) + four_a * m)
    return jax.numpy.where(b > 0, 2 * m / (b + root), 2 * (root - b) / four_a)


@jax.custom_jvp
def _implicit(a: Array, x: Array) -> Array:
    """∂x/∂a at P(a, x) held fixed, that is −(∂P/∂a)/p(x), which JAX computes without forming p."""
    return lax.random_gamma_grad(a, x)


@_implicit.defjvp
def _implicit_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    """g = −P_a/p.   ∂g/∂x = −D − g ((a − 1)/x − 1),  ∂g/∂a = −x J − g D, with D = ln x − ψ(a)."""
    (a, x), (a_dot, x_dot) = primals, tangents
    g = _implicit(a, x)
    deviation = lax.log(x) - lax.digamma(a)
    in_x = -deviation - g * ((a - 1) / x - 1)
    in_a = -x * _curvature(a, x) - g * deviation
    return g, a_dot * in_a + x_dot * in_x


@vjp("random_gamma")
def random_gamma(ct: Any, y: Any, key: Any, a: Any, *, log_space: bool) -> Cts:
    """y ~ Gamma(a), or its logarithm.   ā = ȳ ∂y/∂a at P(a, y) held fixed.

    Implicit reparameterisation (Figurnov, Mohamed & Mnih 2018), for which no sample path need be differentiable.
    A logarithm whose exponential underflows counts as that of the smallest normal number.
    """
    if not log_space:
        return None, ct * _implicit(a, y)
    x = lax.exp(y)
    x = lax.select(x == 0, lax.full_like(x, jax.numpy.finfo(x.dtype).tiny), x)
    return None, ct * (_implicit(a, x) / x)


# --- incomplete beta function -------------------------------------------------------------------------------------


@vjp("regularized_incomplete_beta")
def regularized_incomplete_beta(ct: Any, y: Any, a: Any, b: Any, x: Any) -> Cts:
    """y = I_x(a, b) = ∫₀ˣ p, with p = tᵃ⁻¹ (1 − t)ᵇ⁻¹ / B(a, b).   x̄ = ȳ p(x);  ā and b̄ as integrals of p's scores."""
    log_beta = lax.lgamma(a) + lax.lgamma(b) - lax.lgamma(a + b)
    density = lax.exp((b - 1) * lax.log1p(-x) + (a - 1) * lax.log(x) - log_beta)
    in_a, in_b = _beta_scores(*_full(y, a, b, x))
    return unbroadcast(ct * in_a, a), unbroadcast(ct * in_b, b), unbroadcast(ct * density, x)


@computed_in_single
def _beta_scores(a: Array, b: Array, x: Array) -> tuple[Array, Array]:
    """∂I_x(a, b)/∂a and ∂I_x(a, b)/∂b: the integrals of ln t − ψ(a) + ψ(a+b) and ln(1−t) − ψ(b) + ψ(a+b) times p.

    In s = ln t/(1−t) the density is log-concave.  By I_x(a, b) = 1 − I_{1−x}(b, a) the integral runs downwards from
    x, on whose lower side it falls as e^E with E(r) = −a r − (a + b) ln(1 + x (e⁻ʳ − 1)); there t is
    x e⁻ʳ / (1 + x (e⁻ʳ − 1)).  As for gamma, r is measured in the length on which E reaches −1.
    """
    edge = (a > 0) & (b > 0) & ((x == 0) | (x == 1))
    legal = (a > 0) & (b > 0) & (a < np.inf) & (b < np.inf) & (x > 0) & (x < 1)
    a, b, x = [lax.select(legal, v, lax.full_like(v, c)) for v, c in ((a, 1), (b, 1), (x, 0.5))]
    flip = x > (a + 1) / (a + b + 2)
    a, b, x = lax.select(flip, b, a), lax.select(flip, a, b), lax.select(flip, 1 - x, x)
    m = 2 / (1 - x)
    scale = _reach((a - (a + b) * x) * m - 1, 4 * a, m)

    def score(r: Array, a: Array, b: Array, x: Array, mean: Array, *, upper: bool) -> Array:
        share = lax.log1p(x * lax.expm1(-r))
        density = lax.exp(-a * r - (a + b) * share)
        return density * ((lax.log1p(-x) if upper else lax.log(x) - r) - share - mean)

    total = lax.digamma(a + b)
    log_beta = lax.lgamma(a) + lax.lgamma(b) - lax.lgamma(a + b)
    front = lax.exp(a * lax.log(x) + b * lax.log1p(-x) - log_beta)
    own, other = [
        front * half_line(lambda *v, u=upper: score(*v, upper=u), scale, a, b, x, lax.digamma(own) - total)
        for own, upper in ((a, False), (b, True))
    ]
    nothing = lax.select(edge, lax.full_like(x, 0), lax.full_like(x, np.nan))
    in_a, in_b = lax.select(flip, -other, own), lax.select(flip, -own, other)
    return lax.select(legal, in_a, nothing), lax.select(legal, in_b, nothing)


# --- zeta and polygamma -------------------------------------------------------------------------------------------


@vjp("zeta")
def zeta(ct: Any, y: Any, x: Any, q: Any) -> Cts:
    """y = ζ(x, q) = Σₙ (q + n)⁻ˣ.   q̄ = −ȳ x ζ(x + 1, q);  x̄ = −ȳ Σₙ (q + n)⁻ˣ ln(q + n), for q > 0."""
    return (
        unbroadcast(ct * computed_in_single(_zeta_slope)(*_full(y, x, q)), x),
        unbroadcast(ct * (-x * lax.zeta(x + 1, q)), q),
    )


# B₂ₖ/(2k)! for k = 1, 2, …, 12.
_BERNOULLI = [
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600,
    -3617 / 10670622842880000, 43867 / 5109094217170944000, -174611 / 802857662698291200000,
    77683 / 14101100039391805440000, -236364091 / 1693824136731743669452800000,
]  # fmt: skip


def _zeta_slope(x: Array, q: Array) -> Array:
    """∂ζ(x, q)/∂x by the Euler–Maclaurin formula (DLMF 25.11.8, differentiated in x), its tail at w = q + 12:

    −Σ_{n<12} (q+n)⁻ˣ ln(q+n) − w⁻ˣ (w (ln w/(x−1) + 1/(x−1)²) + ½ ln w + Σₖ B₂ₖ/(2k)! (x)₂ₖ₋₁ w¹⁻²ᵏ (ln w − Sₖ)),
    where (x)ₘ = x (x+1) … (x+m−1) and Sₖ is the sum of the inverses of these factors.
    """
    head = lax.full_like(x, 0)
    for n in range(12):
        head = head - lax.exp(-x * lax.log(q + n)) * lax.log(q + n)
    w = q + 12
    log_w = lax.log(w)
    tail = w * (log_w / (x - 1) + 1 / lax.square(x - 1)) + 0.5 * log_w
    factor, inverses = x / w, 1 / x
    for k, bernoulli in enumerate(_BERNOULLI):
        tail = tail + bernoulli * factor * (log_w - inverses)
        first, second = x + (2 * k + 1), x + (2 * k + 2)
        factor = factor * (first / w) * (second / w)
        inverses = inverses + 1 / first + 1 / second
    return lax.select(x > 1, head - lax.exp(-x * log_w) * tail, lax.full_like(x, np.nan))


@structural("polygamma")
def polygamma(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = ψ⁽ᵐ⁾(x).   x̄ = ȳ ψ⁽ᵐ⁺¹⁾(x);  m is an order, and y is NaN between the whole ones."""
    if call.active[0]:
        raise RuleError(
            "polygamma(m, x) has no derivative in its order m: it is defined (and finite) at whole m only.  "
            "Stop the gradient before m, or differentiate in x alone."
        )

    def backward(cts: Any, ys: Any, residuals: Any, m: Array, x: Array) -> Cts:
        return None, unbroadcast(cts[0] * lax.polygamma(m + 1, x), x)

    return Augmented(None, backward)
