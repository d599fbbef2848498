"""Cases of the discrete Fourier transform: every kind, even and odd lengths, one axis and several, batches."""

from __future__ import annotations

import jax.numpy as jnp

from tests.oracles import complex_normal, normal
from tests.rules.contract import Case, case

__all__ = ["CASES"]

CASES: list[Case] = [
    case("fft", jnp.fft.fft, complex_normal(3, 5)),
    case("fft", lambda x: jnp.fft.ifft(x, axis=0), complex_normal(4, 3), label="inverse, first axis"),
    case("fft", lambda x: jnp.fft.fftn(x, axes=(0, 2)), complex_normal(3, 2, 4), label="two axes"),
    case("fft", jnp.fft.ifftn, complex_normal(2, 3, 4), label="inverse, three axes"),
    case("fft", jnp.fft.fft, normal(2, 4), label="of real numbers"),
    case("fft", jnp.fft.rfft, normal(2, 6), label="real, even"),
    case("fft", jnp.fft.rfft, normal(2, 5), label="real, odd"),
    case("fft", jnp.fft.rfft, normal(3, 1), label="real, one place"),
    case("fft", jnp.fft.rfftn, normal(3, 2, 6), label="real, three axes, even"),
    case("fft", jnp.fft.rfft2, normal(2, 4, 5), label="real, two axes, odd, batched"),
    case("fft", jnp.fft.irfft, complex_normal(2, 4), label="to real, even"),
    case("fft", lambda x: jnp.fft.irfft(x, 5), complex_normal(2, 3), label="to real, odd"),
    case("fft", lambda x: jnp.fft.irfftn(x, (3, 4)), complex_normal(2, 3, 3), label="to real, two axes, even, batched"),
    case("fft", lambda x: jnp.fft.irfft2(x, (3, 5)), complex_normal(3, 3), label="to real, two axes, odd"),
    case("fft", lambda x: jnp.fft.hfft(x, 6), complex_normal(2, 4), label="Hermitian"),
]
