"""Newton–Schulz iteration: matrices made nearly orthogonal by matrix products alone, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["newton_schulz", "orthogonalized"]

# Jordan's coefficients: the slope at 0 is as steep as it gets while five steps map [0.01, 1] into about [0.7, 1.2].
# The fixed point is not 1, on purpose: small singular values come up sooner.
QUINTIC = (3.4445, -4.7750, 2.0315)
# Sides up to FEW are filled with zeros, which the iteration leaves zeros, to a multiple of TILE: small matrices of many
# shapes then go through as few batches.  49 shapes with sides of 16 to 128 become 10 batches
# (`python -m benchmarks.optimizers --optimizers muon`).
TILE, FEW = 32, 128


def newton_schulz(x: Any, steps: int = 5, epsilon: Any = 1e-7, bfloat16: bool = False) -> Any:
    """U Vᵀ, nearly, of matrices X = U S Vᵀ: X ← X/(‖X‖_F + ε), then X ← a X + (b A + c A²) X with A = X Xᵀ.

    The singular values come out between about 0.7 and 1.2, not at 1.  A matrix of zeros stays zero.

    Args:
      x: (…, rows, columns).
      steps: how many times.
      epsilon: ε.
      bfloat16: whether to iterate in bfloat16, for which the method was made; the norm is taken in float32.

    Source: Jordan et al. 2024, Muon.

    Example:
      >>> import jax.numpy as jnp
      >>> from functional_dl.optim.newton_schulz import newton_schulz
      >>> print(jnp.round(newton_schulz(jnp.array([[3.0, 0.0, 0.0], [0.0, -0.1, 0.0]])), 1))
      [[ 0.7  0.   0. ]
       [ 0.  -1.1  0. ]]
    """
    return orthogonalized([x], steps, epsilon, bfloat16)[0]


def orthogonalized(xs: Sequence[Any], steps: int = 5, epsilon: Any = 1e-7, bfloat16: bool = False) -> list[Any]:
    """`newton_schulz` of each, those of nearly the same shape in one batch and all in one loop, compiled once."""
    batches: dict[Any, list[tuple[int, Any]]] = {}
    for i, x in enumerate(xs):
        x = x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + epsilon)
        x = x.astype(jnp.bfloat16) if bfloat16 else x
        # The Gram matrix of the shorter side is the smaller one.
        x = x.mT if x.shape[-2] > x.shape[-1] else x
        x = x.reshape(prod(x.shape[:-2]), *x.shape[-2:])
        sides = tuple(_filled(n) for n in x.shape[-2:])
        x = jnp.pad(x, [(0, 0), *((0, due - n) for due, n in zip(sides, x.shape[-2:], strict=True))])
        batches.setdefault((sides, x.dtype), []).append((i, x))

    def step(_: Any, stacks: list[Any]) -> list[Any]:
        a, b, c = QUINTIC
        grams = [x @ x.mT for x in stacks]
        return [a * x + (b * gram + c * (gram @ gram)) @ x for x, gram in zip(stacks, grams, strict=True)]

    stacks = [jnp.concatenate([x for _, x in batch]) for batch in batches.values()]
    done: list[Any] = [None] * len(xs)
    for batch, stack in zip(batches.values(), jax.lax.fori_loop(0, steps, step, stacks), strict=True):
        start = 0
        for i, x in batch:
            own = xs[i]
            tall = own.shape[-2] > own.shape[-1]
            short, long = sorted(own.shape[-2:])
            y = stack[start : start + len(x), :short, :long].reshape(*own.shape[:-2], short, long)
            done[i] = (y.mT if tall else y).astype(own.dtype)
            start += len(x)
    return done


def _filled(side: int) -> int:
    return side if side > FEW else -(-side // TILE) * TILE
