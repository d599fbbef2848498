"""Losses: means over all examples, from logits where a probability would overflow, in float32 at least; penalties.

``weights`` are a number for each example, in the shape of the leading axes of its losses, and the mean is
Σ w l / Σ w (0 where Σ w is). Of booleans, a mask, whatever is masked is not looked at, be it NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from functional_dl.nn.axes import wide
from functional_dl.traced import is_traced, is_zero
from functional_dl.trees import name_leaves

__all__ = [
    "LOSSES", "absolute_error", "accuracy", "binary_cross_entropy", "cross_entropy", "hinge", "huber", "is_weight",
    "l1_penalty", "l2_penalty", "multiclass_hinge", "softmax_cross_entropy", "squared_error",
]  # fmt: skip


def squared_error(predictions: Any, targets: Any, weights: Any = None) -> jax.Array:
    """Mean of (prediction − target)² over all entries.

    Args:
      predictions, targets: of one shape.
      weights: see the module.

    Raises:
      ValueError: the shapes differ, or the weights' is no beginning of it.
    """
    return _mean("squared_error", jnp.square(_difference("squared_error", predictions, targets)), weights)


def absolute_error(predictions: Any, targets: Any, weights: Any = None) -> jax.Array:
    """Mean of |prediction − target| over all entries; its derivative is 0 where they are equal. Else `squared_error`"""
    return _mean("absolute_error", _magnitude(_difference("absolute_error", predictions, targets)), weights)


def huber(predictions: Any, targets: Any, weights: Any = None, delta: float = 1.0) -> jax.Array:
    """Mean of r²/2 where |r| ≤ δ and of δ (|r| − δ/2) beyond, r = prediction − target (Huber 1964).

    Raises:
      ValueError: as `squared_error`; ``delta`` is not positive.
    """
    if not is_traced(delta) and not delta > 0:
        raise ValueError(f"huber: delta = {delta}; due is a positive number.")
    r = _difference("huber", predictions, targets)
    size = jnp.abs(r)
    return _mean("huber", jnp.where(size <= delta, 0.5 * jnp.square(r), delta * (size - 0.5 * delta)), weights)


def hinge(scores: Any, targets: Any, weights: Any = None) -> jax.Array:
    """Mean of max(0, 1 − t s) for targets t of −1 and 1; its derivative is 0 where t s = 1.

    Args:
      scores, targets: of one shape.
      weights: see the module.
    """
    _same("hinge", scores, targets)
    return _mean("hinge", jax.nn.relu(1 - wide(targets) * wide(scores)), weights)


def multiclass_hinge(scores: Any, labels: Any, weights: Any = None) -> jax.Array:
    """Mean of max(0, 1 + max_{j ≠ y} s_j − s_y) (Crammer & Singer 2001, eq. 5).

    Args:
      scores: (…, classes), two classes at least.
      labels: (…), integers.
      weights: see the module.

    Raises:
      ValueError: the shapes do not fit, or labels are no integers.
    """
    _labelled("multiclass_hinge", scores, labels)
    if jnp.shape(scores)[-1] < 2:
        raise ValueError(f"multiclass_hinge: scores are {jnp.shape(scores)}; due are two classes at least.")
    s = wide(scores)
    rivals = jnp.where(jax.nn.one_hot(labels, s.shape[-1], dtype=bool), -jnp.inf, s)
    return _mean("multiclass_hinge", jax.nn.relu(1 + jnp.max(rivals, axis=-1) - _picked(s, labels)), weights)


def binary_cross_entropy(logits: Any, targets: Any, weights: Any = None) -> jax.Array:
    """Mean of −t log σ(a) − (1 − t) log(1 − σ(a)) for targets t in [0, 1].

    As t softplus(−a) + (1 − t) softplus(a), where neither value nor derivative loses digits however sure a is.

    Args:
      logits, targets: of one shape.
      weights: see the module.

    Raises:
      ValueError: the shapes do not fit.
    """
    _same("binary_cross_entropy", logits, targets)
    a, t = wide(logits), wide(targets)
    return _mean("binary_cross_entropy", t * jax.nn.softplus(-a) + (1 - t) * jax.nn.softplus(a), weights)


def softmax_cross_entropy(logits: Any, probabilities: Any, weights: Any = None, smoothing: float = 0.0) -> jax.Array:
    """Mean of −Σ p log softmax(logits), p one-hot or soft.

    Args:
      logits, probabilities: (…, classes), of one shape; probabilities add up to one over the last axis.
      weights: see the module.
      smoothing: p becomes (1 − s) p + s/classes (Szegedy et al. 2016, section 7).

    Raises:
      ValueError: the shapes do not fit, or ``smoothing`` is not in [0, 1].
    """
    _same("softmax_cross_entropy", logits, probabilities)
    _share("softmax_cross_entropy", smoothing)
    log_p = jax.nn.log_softmax(wide(logits), axis=-1)
    p = wide(probabilities)
    p = p if is_zero(smoothing) else (1 - smoothing) * p + smoothing / p.shape[-1]
    return _mean("softmax_cross_entropy", -jnp.sum(p * log_p, axis=-1), weights)


def cross_entropy(logits: Any, labels: Any, weights: Any = None, smoothing: float = 0.0) -> jax.Array:
    """Mean of −log softmax(logits)[label]: `softmax_cross_entropy` without the one-hot array.

    Args:
      logits: (…, classes).
      labels: (…), integers.
      weights: see the module.
      smoothing: the label's share becomes 1 − s + s/classes, every other class's s/classes.

    Raises:
      ValueError: the shapes do not fit, labels are no integers, or ``smoothing`` is not in [0, 1].

    Example:
      >>> import jax.numpy as jnp, functional_dl.nn as nn
      >>> float(nn.losses.cross_entropy(jnp.array([[1e4, 0.0], [0.0, 1e4]]), jnp.array([0, 0])))
      5000.0
    """
    _labelled("cross_entropy", logits, labels)
    _share("cross_entropy", smoothing)
    # Shifted before the difference is taken, which at 10⁴ would have three digits left.
    a = wide(logits)
    a = a - lax.stop_gradient(jnp.max(a, axis=-1, keepdims=True))
    target = _picked(a, labels)
    target = target if is_zero(smoothing) else (1 - smoothing) * target + smoothing * jnp.mean(a, axis=-1)
    return _mean("cross_entropy", jnp.log(jnp.sum(jnp.exp(a), axis=-1)) - target, weights)


def accuracy(logits: Any, labels: Any, weights: Any = None) -> jax.Array:
    """The share of examples whose largest logit is at their label; arguments as `cross_entropy`'s."""
    _labelled("accuracy", logits, labels)
    return _mean("accuracy", (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32), weights)


def is_weight(path: str, leaf: Any) -> bool:
    """Whether a parameter is one that penalties are usually put on: a kernel or another matrix.

    Not what is named bias, scale or slope, although stacked layers make matrices of them.
    """
    name = path.rpartition("/")[2]
    return name.endswith("kernel") or (jnp.ndim(leaf) >= 2 and not name.endswith(("bias", "scale", "slope")))


def l1_penalty(params: Any, select: Callable[[str, Any], bool] = is_weight) -> jax.Array:
    """Σ |w| over the parameters that ``select(path, leaf)`` takes, in float32 at least; derivative 0 at w = 0."""
    return _added(_magnitude, params, select)


def l2_penalty(params: Any, select: Callable[[str, Any], bool] = is_weight) -> jax.Array:
    """Σ w² over the parameters that ``select(path, leaf)`` takes, in float32 at least, not halved: ∂/∂w = 2 w.

    Example:
      >>> import jax.numpy as jnp, functional_dl.nn as nn
      >>> params = {"dense": {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.ones(3)}}
      >>> float(nn.losses.l2_penalty(params))
      24.0
      >>> float(nn.losses.l2_penalty(params, lambda path, leaf: path == "dense/bias"))
      3.0
    """
    return _added(jnp.square, params, select)


LOSSES: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f
    for f in (
        squared_error, absolute_error, huber, hinge, multiclass_hinge, binary_cross_entropy, softmax_cross_entropy,
        cross_entropy,
    )
}  # fmt: skip


def _added(measure: Callable[[Any], Any], params: Any, select: Callable[[str, Any], bool]) -> jax.Array:
    taken = [x for path, x in name_leaves(params).items() if select(path, x)]
    return sum((jnp.sum(measure(wide(x))) for x in taken), start=jnp.float32(0))


def _magnitude(x: jax.Array) -> jax.Array:
    """|x| with derivative 0 at 0, so that what has got there stays; `jnp.abs` has 1."""
    return x * lax.stop_gradient(jnp.sign(x))


def _same(who: str, a: Any, b: Any) -> None:
    if jnp.shape(a) != jnp.shape(b):
        raise ValueError(f"{who}: predictions are {jnp.shape(a)}, targets {jnp.shape(b)}; due is the same shape.")


def _difference(who: str, predictions: Any, targets: Any) -> jax.Array:
    _same(who, predictions, targets)
    return wide(predictions) - wide(targets)


def _labelled(who: str, logits: Any, labels: Any) -> None:
    came, due = jnp.shape(labels), jnp.shape(logits)[:-1]
    if came != due or not jnp.ndim(logits):
        raise ValueError(f"{who}: logits are {jnp.shape(logits)}, labels {came}; due are labels {due}.")
    if not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        kind = jnp.result_type(labels).name
        raise ValueError(f"{who}: labels are {kind}{list(came)}; due are integers (probabilities: softmax_{who}).")


def _share(who: str, smoothing: float) -> None:
    if not is_traced(smoothing) and not 0 <= smoothing <= 1:
        raise ValueError(f"{who}: smoothing = {smoothing}; due is a share from 0 to 1.")


def _picked(scores: jax.Array, labels: Any) -> jax.Array:
    return jnp.take_along_axis(scores, jnp.asarray(labels)[..., None], axis=-1)[..., 0]


def _mean(who: str, losses: jax.Array, weights: Any) -> jax.Array:
    if weights is None:
        return jnp.mean(losses)
    w = jnp.asarray(weights)
    if w.shape != losses.shape[: w.ndim]:
        raise ValueError(
            f"{who}: weights are {w.shape}, losses {losses.shape}; due is the latter or a beginning of it."
        )
    w = jnp.broadcast_to(w.reshape(w.shape + (1,) * (losses.ndim - w.ndim)), losses.shape)
    # A mask chooses, because 0 × NaN is NaN; weights multiply, because they may be differentiated where they are 0.
    chosen = jnp.where(w, losses, 0) if w.dtype == bool else wide(w) * losses
    total = jnp.sum(wide(w))
    return jnp.sum(chosen) / jnp.where(total == 0, 1, total)
