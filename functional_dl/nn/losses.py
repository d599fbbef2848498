"""Losses: means over all examples, from logits where a probability would overflow, in float32 at least."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["accuracy", "binary_cross_entropy", "cross_entropy", "squared_error"]


def _wide(x: Any) -> jax.Array:
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def squared_error(predictions: Any, targets: Any) -> jax.Array:
    """Mean of (prediction − target)² over all entries."""
    return jnp.mean(jnp.square(_wide(predictions) - _wide(targets)))


def cross_entropy(logits: Any, labels: Any) -> jax.Array:
    """Mean of −log softmax(logits)[label].

    Args:
      logits: (…, classes).
      labels: (…), integers.
    """
    logits = _wide(logits)
    picked = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - picked)


def binary_cross_entropy(logits: Any, targets: Any) -> jax.Array:
    """Mean of −t log σ(a) − (1 − t) log(1 − σ(a)), as softplus(a) − t a."""
    logits = _wide(logits)
    return jnp.mean(jax.nn.softplus(logits) - _wide(targets) * logits)


def accuracy(logits: Any, labels: Any) -> jax.Array:
    """The share of examples whose largest logit is at their label."""
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels, dtype=jnp.float32)
