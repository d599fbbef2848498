"""Numbers of networks and losses may be traced: values as of Python floats, and the very same units dropped."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl import nn
from functional_dl.nn.losses import LOSSES

KEY = jax.random.key(3)
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
LABELS = jnp.array([3, 0, 2, 2, 1, 0])
TARGETS: dict[str, Any] = {"huber": X[::-1], "cross_entropy": LABELS, "softmax_cross_entropy": jax.nn.softmax(X[::-1])}


def trained(network: nn.Network, x: Any = X) -> Any:
    """Parameters, output and state of one pass in training, and the output of an evaluation after it."""
    params = network.init(jax.random.key(0))
    y, state = network.train(params, x, key=KEY)
    return params, y, state, network.apply(params, x, state)


# What a number makes, and three values of it.
LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[float, ...]]] = {
    "dropout": (lambda rate: trained(nn.dropout(rate)), (0.25, 0.5, 0.9)),
    "batch_norm.momentum": (lambda a: trained(nn.batch_norm(4, momentum=a)), (0.0, 0.1, 1.0)),
    "batch_norm.epsilon": (lambda e: trained(nn.batch_norm(4, epsilon=e)), (1e-5, 0.1, 1.0)),
    "layer_norm": (lambda e: trained(nn.layer_norm(4, e)), (1e-5, 0.1, 1.0)),
    "rms_norm": (lambda e: trained(nn.rms_norm(4, e)), (1e-5, 0.1, 1.0)),
    "group_norm": (lambda e: trained(nn.group_norm(4, 2, e)), (1e-5, 0.1, 1.0)),
    "parametric_relu": (lambda a: trained(nn.parametric_relu(4, a)), (0.0, 0.25, 0.5)),
    "lstm_cell": (
        lambda b: trained(nn.recurrent(nn.lstm_cell(4, 2, forget_bias=b)), X[:, None]),
        (0.0, 1.0, 2.0),
    ),
}
LOSSES_WITH_NUMBERS = [
    (name, p) for name, loss in LOSSES.items() for p, hint in get_type_hints(loss).items() if hint is float
]
for loss_name, number in LOSSES_WITH_NUMBERS:
    LAYERS[f"{loss_name}.{number}"] = (
        lambda x, name=loss_name, p=number: LOSSES[name](X, TARGETS[name], **{p: x}),  # type: ignore[misc]
        (0.25, 0.5, 1.0),
    )


@pytest.mark.parametrize("name", LAYERS)
def test_layer_or_loss(name: str) -> None:
    make, values = LAYERS[name]
    one = jax.jit(make)
    together = jax.jit(jax.vmap(make))(np.float32(values))
    for i, value in enumerate(values):
        due = jax.jit(lambda: make(value))()  # noqa: B023
        for found in (one(np.float32(value)), jax.tree.map(lambda x: x[i], together)):  # noqa: B023
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, due)
    assert any(np.ptp(x, axis=0).max() > 1e-3 for x in jax.tree.leaves(together)), "it changes nothing here"


def test_losses_that_have_numbers() -> None:
    assert LOSSES_WITH_NUMBERS == [
        ("huber", "delta"), ("softmax_cross_entropy", "smoothing"), ("cross_entropy", "smoothing"),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("rate", [0.0, 0.1, 1 / 3, 0.7, 0.999])
def test_the_same_units_are_dropped(rate: float, dtype: Any) -> None:
    """Bit for bit, whatever the activations are; what is left has their dtype and, to its rounding, their mean."""
    x = jnp.ones((512, 512), dtype)
    due = nn.dropout(rate).train({}, x, key=KEY)[0]
    found = jax.jit(lambda rate: nn.dropout(rate).train({}, x, key=KEY)[0])(np.float32(rate))
    several = jax.vmap(lambda rate: nn.dropout(rate).train({}, x, key=KEY)[0])(np.float32([0.5, rate]))[1]
    wide = nn.dropout(rate).train({}, x.astype(jnp.float32), key=KEY)[0]
    for y in (found, several):
        assert y.dtype == due.dtype == dtype
        np.testing.assert_array_equal(y != 0, due != 0)
        np.testing.assert_array_equal(y != 0, wide != 0)
        np.testing.assert_allclose(y.astype(jnp.float32), due.astype(jnp.float32), rtol=1e-6)


def test_a_traced_rate_is_random_and_a_known_one_is_checked() -> None:
    seen: list[bool] = []
    jax.eval_shape(lambda rate: seen.append(nn.mlp(4, 2, [3], dropout=rate).random), np.float32(0))
    assert seen == [True] and not nn.mlp(4, 2, [3], dropout=0.0).random
    with pytest.raises(ValueError, match="rate = 1.5"):
        nn.dropout(1.5)
    with pytest.raises(ValueError, match="needs a key"):
        jax.eval_shape(lambda rate: nn.dropout(rate).train({}, X), np.float32(0.5))


IMAGES, SERIES = X.reshape(1, 6, 4), X.reshape(2, 3, 4)
GPT: dict[str, Any] = {"vocabulary": 5, "context": 6, "width": 4, "heads": 2, "depth": 2}
NETWORKS: dict[str, tuple[Callable[..., nn.Network], dict[str, Any], Any]] = {
    "mlp": (nn.mlp, {"inputs": 4, "outputs": 2, "hidden": [3, 3]}, X),
    "cnn": (nn.ARCHITECTURES["cnn"], {"shape": (6, 4), "outputs": 2, "channels": [2], "hidden": 3}, IMAGES),
    "resnet": (nn.ARCHITECTURES["resnet"], {"shape": (6, 4), "outputs": 2, "blocks": (1,), "width": 2}, IMAGES),
    "rnn": (nn.ARCHITECTURES["rnn"], {"inputs": 4, "outputs": 2, "width": 3, "layers": 2}, SERIES),
    "transformer": (nn.transformer, GPT, LABELS[None]),
    "transformer-scanned": (nn.transformer, GPT | {"scanned": True}, LABELS[None]),
}


def test_every_architecture_with_dropout_is_here() -> None:
    dropping = {name for name, make in nn.ARCHITECTURES.items() if "dropout" in inspect.signature(make).parameters}
    assert dropping == {name.partition("-")[0] for name in NETWORKS}


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_of_an_architecture(name: str) -> None:
    make, settings, x = NETWORKS[name]
    params = jax.jit(make(**settings, dropout=0.4).init)(jax.random.key(0))

    def output(rate: Any) -> Any:
        return make(**settings, dropout=rate).train(params, x, key=KEY)[0]

    due, found = jax.jit(lambda: output(0.4))(), jax.jit(output)(np.float32(0.4))
    np.testing.assert_allclose(found, due, rtol=1e-5, atol=1e-6)
    assert not np.allclose(found, jax.jit(make(**settings).apply)(params, x), atol=1e-3)
