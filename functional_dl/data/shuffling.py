"""A random order of examples, entry by entry: the batch of any step is computed on the device, from nothing stored.

An epoch's order is a permutation drawn from (seed, epoch).  To hold the orders of a thousand trainings that run side by
side would take a thousand times the data's length in memory and as many sorts; a permutation that can be evaluated at a
single index takes none.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

__all__ = ["batch_at", "permuted"]

# Four rounds make a pseudorandom permutation of pseudorandom functions (Luby & Rackoff 1988); ten, as NIST SP 800-38G
# takes for small domains, since these functions are a cheap mixing of bits.
ROUNDS = 10


def permuted(index: Any, size: int, keys: Any) -> Any:
    """Where a random permutation of 0 … size − 1 takes ``index``.

    A Feistel network on the fewest bits that hold ``size`` (Luby & Rackoff 1988), its two parts of lengths that differ
    by one at most, walked again from wherever it ends outside (cycle walking, Black & Rogaway 2002, section 4); fewer
    than two walks on average.  The use for shuffling on accelerators is that of Mitchell et al. 2022.

    Args:
      index: integers in [0, size), any shape.
      size: static, from 1 to 2³¹ − 1.
      keys: (10,) uint32, what the permutation is drawn from.

    Returns:
      int32 like ``index``: a bijection of [0, size).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> keys = jax.random.bits(jax.random.key(0), (10,))
      >>> sorted(permuted(jnp.arange(5), 5, keys).tolist())
      [0, 1, 2, 3, 4]
    """
    bits = max(2, (size - 1).bit_length())
    low = bits // 2
    halves = (jnp.uint32((1 << low) - 1), jnp.uint32((1 << (bits - low)) - 1))

    def walk(x: Any) -> Any:
        parts = [x & halves[0], x >> low]
        for i in range(ROUNDS):
            parts[i % 2] = parts[i % 2] ^ (_mixed(parts[1 - i % 2] ^ keys[i]) & halves[i % 2])
        return parts[0] | (parts[1] << low)

    def again(x: Any) -> Any:
        return jnp.where(x < size, x, walk(x))

    start = walk(jnp.asarray(index, jnp.uint32))
    return lax.while_loop(lambda x: jnp.any(x >= size), again, start).astype(jnp.int32)


def _mixed(x: Any) -> Any:
    """The 32 bits of x mixed so that each depends on all (the end of MurmurHash3, Appleby 2011)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def batch_at(key: Any, step: Any, size: int, batch: int) -> Any:
    """The examples of one step of a training: (batch,) int32 in [0, size).

    Each epoch is a permutation of its own, cut into size // batch batches; what is left over is dropped, as
    `functional_dl.data.Sampler` does.

    Args:
      key: a JAX key, what all epochs' orders are drawn from.
      step: the number of the step from 0; may be traced.
      size: number of examples.
      batch: examples per batch.

    Raises:
      ValueError: the batch is larger than the data.

    Example:
      >>> import jax
      >>> key = jax.random.key(0)
      >>> sorted(int(i) for step in range(3) for i in batch_at(key, step, 6, 2))
      [0, 1, 2, 3, 4, 5]
    """
    if not 1 <= batch <= size:
        raise ValueError(f"batch size {batch} for {size} examples; due is 1 to {size}.")
    per_epoch = size // batch
    keys = jax.random.bits(jax.random.fold_in(key, step // per_epoch), (ROUNDS,), jnp.uint32)
    return permuted((step % per_epoch) * batch + jnp.arange(batch, dtype=jnp.int32), size, keys)
