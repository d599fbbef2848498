"""Networks: shapes, names, gradients by our rules, and values against plain NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_dl as fdl
from functional_dl import nn
from functional_dl.trees import name_leaves

KEY = jax.random.key(0)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 8, 8)), jnp.float32)
IDS = jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, 6)))

NETWORKS: dict[str, tuple[nn.Network, Any, tuple[int, ...]]] = {
    "mlp": (nn.mlp(64, 10, hidden=[16, 12]), IMAGES, (3, 10)),
    "cnn": (nn.cnn((8, 8), 10, channels=[4, 6], hidden=8), IMAGES, (3, 10)),
    "gru": (nn.rnn(8, 10, width=6), IMAGES, (3, 10)),
    "vanilla": (nn.rnn(8, 10, width=6, cell="vanilla"), IMAGES, (3, 10)),
    "autoencoder": (nn.autoencoder(64, code=5), IMAGES, (3, 8, 8)),
    "transformer": (nn.transformer(11, 7, width=8, heads=2, depth=2), IDS, (2, 6, 11)),
    "scanned": (nn.transformer(11, 7, width=8, heads=2, depth=2, scanned=True), IDS, (2, 6, 11)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str) -> None:
    """Our gradient, eager and jitted, equals JAX's for every parameter, and every parameter matters."""
    network, x, shape = NETWORKS[name]
    params = network.init(KEY)

    def loss(params: Any) -> Any:
        return jnp.mean(jnp.sin(network.apply(params, x)))

    assert network.apply(params, x).shape == shape
    due = name_leaves(jax.grad(loss)(params))
    for found in (fdl.grad(loss)(params), jax.jit(fdl.grad(loss))(params)):
        for path, g in name_leaves(found).items():
            np.testing.assert_allclose(g, due[path], rtol=2e-4, atol=2e-6, err_msg=path)
            assert np.any(g != 0), path


def test_names_are_readable() -> None:
    names = list(name_leaves(NETWORKS["transformer"][0].init(KEY)))
    assert "blocks/0/attention/mix/qkv" in names and "tokens/table" in names


def test_scanned_and_unrolled_transformers_agree() -> None:
    unrolled, scanned = NETWORKS["transformer"][0], NETWORKS["scanned"][0]
    params = unrolled.init(KEY)
    stacked = {**params, "blocks": jax.tree.map(lambda *xs: jnp.stack(xs), *params["blocks"].values())}
    np.testing.assert_allclose(unrolled.apply(params, IDS), scanned.apply(stacked, IDS), rtol=1e-5, atol=1e-6)


def test_attention_is_causal() -> None:
    network = NETWORKS["transformer"][0]
    params = network.init(KEY)
    changed = IDS.at[:, 4].set((IDS[:, 4] + 1) % 11)
    before, after = network.apply(params, IDS), network.apply(params, changed)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.any(before[:, 4] != after[:, 4])


def test_tied_autoencoder_adds_both_uses_of_its_kernel() -> None:
    """∂L/∂W is the sum over the uses: encoder's and decoder's copies differentiated apart add up to it."""
    network = NETWORKS["autoencoder"][0]
    params = network.init(KEY)
    flat = IMAGES.reshape(3, -1)

    def untied(encoder: Any, decoder: Any) -> Any:
        h = jnp.tanh(flat @ encoder + params["encoder_bias"][None])
        return jnp.sum((h @ decoder.T + params["decoder_bias"][None] - flat) ** 2)

    def tied(kernel: Any) -> Any:
        return jnp.sum((network.apply({**params, "kernel": kernel}, IMAGES) - IMAGES) ** 2)

    apart = fdl.grad(untied, (0, 1))(params["kernel"], params["kernel"])
    np.testing.assert_allclose(fdl.grad(tied)(params["kernel"]), apart[0] + apart[1], rtol=1e-5, atol=1e-5)


def test_losses_stay_finite_and_right() -> None:
    logits = np.array([[1e4, -1e4, 0.0], [0.3, 0.2, 0.1]])
    labels = np.array([1, 2])
    shifted = logits - logits.max(1, keepdims=True)
    due = -(shifted[np.arange(2), labels] - np.log(np.exp(shifted).sum(1))).mean()
    for dtype in (jnp.float32, jnp.bfloat16):
        found = nn.losses.cross_entropy(jnp.asarray(logits, dtype), jnp.asarray(labels))
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, due, rtol=1e-2 if dtype == jnp.bfloat16 else 1e-6)
    a, t = np.array([-1e4, 0.5, 1e4]), np.array([1.0, 0.25, 1.0])
    due = np.mean(np.maximum(a, 0) - a * t + np.log1p(np.exp(-np.abs(a))))
    np.testing.assert_allclose(nn.losses.binary_cross_entropy(jnp.asarray(a), jnp.asarray(t)), due, rtol=1e-6)
    assert float(nn.losses.accuracy(jnp.asarray(logits), jnp.asarray([0, 1]))) == 0.5


@pytest.mark.parametrize(
    ("name", "deviation"),
    [("small_normal", 0.01), ("lecun_normal", 120**-0.5), ("glorot_normal", (2 / 210) ** 0.5),
     ("glorot_uniform", (2 / 210) ** 0.5), ("he_normal", (2 / 120) ** 0.5)],
)  # fmt: skip
def test_initial_spread(name: str, deviation: float) -> None:
    weights = np.asarray(nn.initializers.INITIALIZERS[name](KEY, (120, 90)))
    assert abs(weights.std() / deviation - 1) < 0.03 and abs(weights.mean()) < 0.05 * deviation


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="7 features.*takes 64"):
        NETWORKS["mlp"][0].apply(NETWORKS["mlp"][0].init(KEY), jnp.ones((2, 7)))
    with pytest.raises(ValueError, match="8 tokens; its context is 7"):
        NETWORKS["transformer"][0].apply(NETWORKS["transformer"][0].init(KEY), jnp.zeros((1, 8), jnp.int32))
    with pytest.raises(ValueError, match="10 is not divisible by 4"):
        nn.self_attention(10, 4)
