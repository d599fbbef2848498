"""What the tests of generated programs share: how many examples, and the comparison of two pullbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import functional_dl as fdl
from tests.oracles import complex_normal, normal

__all__ = ["DTYPES", "assert_same", "compiled", "entries", "few", "fewer", "sizes"]

few = settings(max_examples=12, deadline=None, derandomize=True)
fewer = settings(few, max_examples=6)  # for what compiles long
sizes = st.integers(1, 4)
DTYPES = st.sampled_from([np.float64, np.float32, np.complex128])


def compiled(vjp: Callable[..., Any], fun: Callable[..., Any]) -> Callable[..., Any]:
    """(ct, *args) → (value, *cotangents) as one program, compiled in haste: a new shape compiles everything anew."""

    def run(ct: Any, *args: Any) -> Any:
        y, pullback = vjp(fun, *args)
        return y, *pullback(ct)

    return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})


def assert_same(fun: Callable[..., Any], *args: Any) -> None:
    """One program, two pullbacks, one cotangent."""
    with jax.enable_x64(True):
        y = jax.eval_shape(fun, *args)
        ct = entries(y.shape, y.dtype, seed=5)
        found, due = (compiled(vjp, fun)(ct, *args) for vjp in (fdl.vjp, jax.vjp))
        np.testing.assert_array_equal(found[0], due[0])
        for a, b in zip(found[1:], due[1:], strict=True):
            assert a.dtype == b.dtype
            single = np.finfo(b.dtype).bits == 32
            np.testing.assert_allclose(a, b, rtol=1e-4 if single else 1e-9, atol=1e-4 if single else 1e-10)


def entries(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    draw = complex_normal if np.issubdtype(dtype, np.complexfloating) else normal
    return np.asarray(draw(*shape, seed=seed), dtype)
