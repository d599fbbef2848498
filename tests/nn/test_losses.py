"""Losses: values by NumPy in float64, derivatives by JAX, finite at ±10⁴ in float32 and bfloat16; masks, penalties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import functional_dl as fdl
from functional_dl import nn
from functional_dl.nn import losses
from functional_dl.nn.losses import LOSSES

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(5, 4)) * 3
REALS = RNG.normal(size=(5, 4)) * 3
SIGNS = RNG.choice([-1.0, 1.0], (5, 4))
SHARES = RNG.uniform(size=(5, 4))
SOFT = SHARES / SHARES.sum(1, keepdims=True)
LABELS = np.array([3, 0, 2, 2, 1])


def _multiclass_hinge(s: Any, labels: Any) -> Any:
    return np.array([max(0, 1 + max(np.delete(row, y)) - row[y]) for row, y in zip(s, labels, strict=True)])


def _log_softmax(a: Any) -> Any:
    return a - special.logsumexp(a, axis=-1, keepdims=True)


def _huber(p: Any, t: Any, delta: float = 1.0) -> Any:
    r = abs(p - t)
    return np.where(r <= delta, r**2 / 2, delta * (r - delta / 2))


# Targets, and the losses of all examples before the mean.
CASES: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "squared_error": (REALS, lambda p, t: (p - t) ** 2),
    "absolute_error": (REALS, lambda p, t: abs(p - t)),
    "huber": (REALS, _huber),
    "hinge": (SIGNS, lambda s, t: np.maximum(0, 1 - t * s)),
    "multiclass_hinge": (LABELS, _multiclass_hinge),
    "binary_cross_entropy": (SHARES, lambda a, t: -t * special.log_expit(a) - (1 - t) * special.log_expit(-a)),
    "softmax_cross_entropy": (SOFT, lambda a, p: -(p * _log_softmax(a)).sum(-1)),
    "cross_entropy": (LABELS, lambda a, y: -_log_softmax(a)[np.arange(len(y)), y]),
}


def as_floats(x: Any, dtype: Any = jnp.float32) -> Any:
    return jnp.asarray(x, dtype if np.asarray(x).dtype.kind == "f" else jnp.int32)


def test_every_loss_has_a_case() -> None:
    assert CASES.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_derivatives(name: str) -> None:
    targets, due = CASES[name]
    loss, p, t = LOSSES[name], as_floats(SCORES), as_floats(targets)
    np.testing.assert_allclose(loss(p, t), due(SCORES, targets).mean(), rtol=1e-6)
    wanted = (0, 1) if t.dtype == jnp.float32 else (0,)
    ours, jaxs = jax.jit(lambda p, t: (fdl.grad(loss, wanted)(p, t), jax.grad(loss, wanted)(p, t)))(p, t)
    for a, b in zip(ours, jaxs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    stacked = jnp.stack([p, -p])
    np.testing.assert_allclose(jax.vmap(loss, (0, None))(stacked, t), [loss(p, t), loss(-p, t)], rtol=1e-6)
    if name not in ("hinge", "multiclass_hinge"):
        # More axes than one in front of the classes: the mean is over all of them.
        np.testing.assert_allclose(loss(stacked, jnp.stack([t, t])), (loss(p, t) + loss(-p, t)) / 2, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda d: d.__name__)
@pytest.mark.parametrize("name", LOSSES)
def test_far_out(name: str, dtype: Any) -> None:
    """Right, finite and float32 with predictions of ±10⁴ and with those that are sure; gradients in their dtype."""
    p = as_floats([[1e4, -1e4, 0.0, 1e4], [-1e4, -1e4, -1e4, 30.0], [0.3, 0.2, 0.1, 0.0]], dtype)
    t = as_floats(CASES[name][0][:3], dtype)
    exact = [np.asarray(x, np.float64) if x.dtype == dtype else np.asarray(x) for x in (p, t)]
    found = LOSSES[name](p, t)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, CASES[name][1](*exact).mean(), rtol=1e-6)
    ours, jaxs = jax.jit(lambda p, t: (fdl.grad(LOSSES[name])(p, t), jax.grad(LOSSES[name])(p, t)))(p, t)
    assert ours.dtype == dtype and np.all(np.isfinite(ours))
    np.testing.assert_allclose(np.asarray(ours, np.float32), np.asarray(jaxs, np.float32), rtol=1e-2, atol=1e-7)


def test_sure_predictions_keep_their_digits() -> None:
    """Where softplus(a) − t a and lse − a_y would be 0, or have three digits left."""
    a = jnp.float32(30)
    np.testing.assert_allclose(losses.binary_cross_entropy(a, jnp.float32(1)), np.log1p(np.exp(-30.0)), rtol=1e-6)
    np.testing.assert_allclose(fdl.grad(losses.binary_cross_entropy)(a, 1.0), -special.expit(-30.0), rtol=1e-6)
    assert float(fdl.grad(losses.binary_cross_entropy)(jnp.float32(0), 1.0)) == -0.5
    logits = jnp.asarray([[10000.0, 9995.0]])
    due = np.log1p(np.exp(-5.0))
    np.testing.assert_allclose(losses.cross_entropy(logits, jnp.asarray([0])), due, rtol=1e-6)
    np.testing.assert_allclose(losses.softmax_cross_entropy(logits, jnp.asarray([[1.0, 0.0]])), due, rtol=1e-6)
    np.testing.assert_allclose(losses.binary_cross_entropy(1.5 * jnp.ones(3), jnp.ones(3)), 0.2014, atol=5e-5)


def test_gradient_of_softmax_cross_entropy_is_o_minus_y() -> None:
    o = special.softmax(SCORES, axis=-1)
    y = np.eye(4)[LABELS]
    for loss, targets in ((losses.cross_entropy, LABELS), (losses.softmax_cross_entropy, y.astype(np.float32))):
        found = fdl.grad(loss)(as_floats(SCORES), as_floats(targets))
        np.testing.assert_allclose(found, (o - y) / 5, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_label_smoothing(smoothing: float) -> None:
    p = (1 - smoothing) * np.eye(4)[LABELS] + smoothing / 4
    due, logits = -(p * _log_softmax(SCORES)).sum(-1).mean(), as_floats(SCORES)
    found = losses.cross_entropy(logits, as_floats(LABELS), smoothing=smoothing)
    np.testing.assert_allclose(found, due, rtol=1e-6)
    one_hot = as_floats(np.eye(4)[LABELS])
    np.testing.assert_allclose(losses.softmax_cross_entropy(logits, one_hot, smoothing=smoothing), due, rtol=1e-6)
    sparse = lambda a: losses.cross_entropy(a, as_floats(LABELS), smoothing=smoothing)
    np.testing.assert_allclose(fdl.grad(sparse)(logits), jax.grad(sparse)(logits), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("delta", [0.5, 2.0])
def test_huber_joins_smoothly(delta: float) -> None:
    p, t = as_floats(SCORES), as_floats(REALS)
    np.testing.assert_allclose(losses.huber(p, t, delta=delta), _huber(SCORES, REALS, delta).mean(), rtol=1e-6)
    at = lambda r: losses.huber(r, jnp.float32(0), delta=delta)
    for r, slope in ((delta, delta), (-delta, -delta), (0.0, 0.0), (10.0, delta), (delta / 2, delta / 2)):
        assert float(fdl.grad(at)(jnp.float32(r))) == slope


@pytest.mark.parametrize(("name", "p", "t"), [("absolute_error", 2.0, 2.0), ("hinge", 1.0, 1.0), ("hinge", -1.0, -1.0)])
def test_kinks(name: str, p: float, t: float) -> None:
    """0 where |·| is 0 (`jnp.abs` has 1) and where max(0, ·) begins."""
    for grad in (fdl.grad, jax.grad):
        assert float(grad(LOSSES[name])(jnp.float32(p), jnp.float32(t))) == 0


@pytest.mark.parametrize("name", [*LOSSES, "accuracy"])
def test_weights_and_masks(name: str) -> None:
    """Σ w l / Σ w; what a mask leaves out is not looked at, even if it is NaN or its label out of range."""
    loss = getattr(losses, name)
    targets, due = CASES.get(name, (LABELS, lambda a, y: a.argmax(-1) == y))
    p, t, w = as_floats(SCORES), as_floats(targets), np.array([0.0, 2.0, 0.5, 0.0, 1.0])
    each = due(SCORES, targets)
    rows = each.reshape(5, -1).mean(1)
    np.testing.assert_allclose(loss(p, t, as_floats(w)), (rows * w).sum() / w.sum(), rtol=1e-6)
    np.testing.assert_allclose(loss(p, t, as_floats(np.broadcast_to(w.reshape(5, *[1] * (each.ndim - 1)), each.shape))),
                               (rows * w).sum() / w.sum(), rtol=1e-6)  # fmt: skip
    broken = p.at[0].set(jnp.nan)
    spoilt = t.at[3].set(-100) if t.dtype == jnp.int32 else t.at[3].set(jnp.nan)
    found = loss(broken, spoilt, jnp.asarray(w > 0))
    np.testing.assert_allclose(found, rows[w > 0].mean(), rtol=1e-6)
    assert float(loss(p, t, jnp.zeros(5))) == 0 == float(loss(p, t, jnp.zeros(5, bool)))
    assert loss(p, t, as_floats(w, jnp.bfloat16)).dtype == jnp.float32
    if name != "accuracy":
        # A weight of 0 still has its derivative.
        one = lambda w: loss(p, t, w) * jnp.sum(w)
        np.testing.assert_allclose(fdl.grad(one)(as_floats(w)), each.reshape(5, -1).mean(1), rtol=1e-4, atol=1e-5)


def test_accuracy() -> None:
    assert float(losses.accuracy(as_floats(SCORES), as_floats(SCORES.argmax(1)))) == 1
    assert float(losses.accuracy(jnp.asarray([[1e4, -1e4], [0.3, 0.2]], jnp.bfloat16), jnp.asarray([0, 1]))) == 0.5
    assert losses.accuracy(jnp.ones((2, 3), jnp.bfloat16), jnp.asarray([0, 1])).dtype == jnp.float32


PARAMS = {
    "dense": {"kernel": jnp.asarray([[1.0, -2.0, 3.0]]), "bias": jnp.asarray([5.0, 5.0, 5.0])},
    "stacked": {"kernel": jnp.full((2, 1, 1), -4.0), "bias": jnp.ones((2, 3)), "scale": jnp.ones((2, 3))},
    "tokens": {"table": jnp.full((1, 2), 0.5)},
}


def test_penalties() -> None:
    """Over kernels and other matrices; not over biases and scales, stacked ones neither."""
    assert float(losses.l1_penalty(PARAMS)) == 6 + 8 + 1
    assert float(losses.l2_penalty(PARAMS)) == 14 + 32 + 0.5
    assert float(losses.l1_penalty(PARAMS, lambda path, leaf: path.endswith("dense/bias"))) == 15
    assert float(losses.l2_penalty({})) == 0
    many = {"kernel": jnp.ones((1000, 3), jnp.bfloat16)}
    assert float(losses.l2_penalty(many)) == 3000 and losses.l2_penalty(many).dtype == jnp.float32
    for penalty, due in ((losses.l1_penalty, np.sign), (losses.l2_penalty, lambda w: 2 * w)):
        found = fdl.grad(penalty)(PARAMS)
        np.testing.assert_array_equal(found["dense"]["kernel"], due(np.asarray(PARAMS["dense"]["kernel"])))
        np.testing.assert_array_equal(found["dense"]["bias"], np.zeros(3))
    assert fdl.grad(losses.l1_penalty)({"kernel": jnp.zeros(1)})["kernel"] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.squared_error(jnp.ones((3, 1)), jnp.ones(3)), r"squared_error.*\(3, 1\).*\(3,\); due.*same"),
        (lambda: losses.absolute_error(jnp.ones(3), jnp.ones(4)), r"absolute_error.*\(3,\).*\(4,\)"),
        (lambda: losses.huber(jnp.ones(3), jnp.ones(4)), r"huber.*\(3,\).*\(4,\)"),
        (lambda: losses.huber(jnp.ones(3), jnp.ones(3), delta=0), "delta = 0"),
        (lambda: losses.hinge(jnp.ones((3, 2)), jnp.ones(3)), r"hinge.*\(3, 2\).*\(3,\)"),
        (lambda: losses.multiclass_hinge(jnp.ones((3, 1)), jnp.ones(3, int)), r"\(3, 1\).*two classes"),
        (lambda: losses.binary_cross_entropy(jnp.ones((3, 1)), jnp.ones(3)), r"binary.*\(3, 1\).*\(3,\)"),
        (lambda: losses.softmax_cross_entropy(jnp.ones((3, 2)), jnp.ones(3)), r"softmax.*\(3, 2\).*\(3,\)"),
        (lambda: losses.softmax_cross_entropy(jnp.ones(2), jnp.ones(2), smoothing=2), "smoothing = 2"),
        (lambda: losses.cross_entropy(jnp.ones((3, 2)), jnp.ones(2, int)), r"\(3, 2\), labels \(2,\); due.*\(3,\)"),
        (lambda: losses.cross_entropy(jnp.ones((3, 2)), jnp.ones(3)), r"float32\[3\]; due are integers.*softmax"),
        (lambda: losses.accuracy(jnp.ones((3, 2)), jnp.ones((3, 2), int)), r"labels \(3, 2\); due are labels \(3,\)"),
        (lambda: losses.squared_error(jnp.ones((3, 2)), jnp.ones((3, 2)), jnp.ones(2)), r"weights are \(2,\).*3, 2"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_losses_train() -> None:
    """Thirty steps of gradient descent lower every loss of a linear model."""
    x = as_floats(RNG.normal(size=(5, 3)))
    network = nn.dense(3, 4)
    for name, loss in LOSSES.items():
        params, targets = network.init(jax.random.key(0)), as_floats(CASES[name][0])
        objective = jax.jit(lambda params, loss=loss, t=targets: loss(network.apply(params, x), t))
        slope, start = jax.jit(fdl.grad(objective)), float(objective(params))
        for _ in range(30):
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, slope(params))
        assert float(objective(params)) < 0.95 * start, name
