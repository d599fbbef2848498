"""The rule of the discrete Fourier transform, in all four kinds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jax import lax
from jax.lax import FftType

from functional_dl.rules.matrices import exact
from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import vjp

__all__: list[str] = []


def _multiplicity(length: int, dtype: Any) -> np.ndarray:
    """How often each coefficient of half a spectrum occurs in the whole: twice but for 0 and, if even, the middle."""
    counts = np.full(length // 2 + 1, 2, dtype)
    counts[0] = 1
    if length % 2 == 0:
        counts[-1] = 1
    return counts


@vjp("fft")
@exact
def fft(ct: Any, y: Any, x: Any, *, fft_type: Any, fft_lengths: Any) -> Cts:
    """y_k = Σₙ xₙ e^{∓2πi kn/N}, over N places on the last axes; a real x or y has half its spectrum.

    FFT and IFFT have symmetric matrices: x̄ = FFT ȳ, x̄ = IFFT ȳ.  With m_k ∈ {1, 2} the number of times that
    coefficient k occurs in the whole spectrum, RFFT: x̄ = N IRFFT(ȳ* / m) and IRFFT: x̄ = (m / N) (RFFT ȳ)*.
    """
    if fft_type in (FftType.FFT, FftType.IFFT) or not fft_lengths:
        return (lax.fft(ct, fft_type, fft_lengths),)
    size, counts = math.prod(fft_lengths), _multiplicity(fft_lengths[-1], y.real.dtype)
    if fft_type == FftType.RFFT:
        return (size * lax.fft(lax.conj(ct) / counts, FftType.IRFFT, fft_lengths),)
    return (lax.conj(lax.fft(ct, FftType.RFFT, fft_lengths)) * (counts / y.dtype.type(size)),)
