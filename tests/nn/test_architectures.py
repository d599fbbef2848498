"""Single architectures against plain NumPy, and against the parameter counts of the papers' networks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_dl as fdl
from functional_dl import nn
from functional_dl.nn.architectures import autoencoder, cnn, mlp, resnet, rnn, transformer
from functional_dl.nn.attention import block
from functional_dl.nn.recurrent import bidirectional, lstm_cell, recurrent, vanilla_cell
from functional_dl.trees import count, name_leaves

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).uniform(size=(3, 8, 8)).astype(np.float32)
COLOURS = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)


def drawn(tree: Any, seed: int = 0) -> Any:
    """Entries of a size that matters for every leaf, variances above zero."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        x = rng.normal(size=leaf.shape).astype(np.float32)
        last = path[-1].key
        fan_in = int(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 1
        return np.abs(x) + 0.5 if last in ("variance", "scale") else x / np.sqrt(fan_in)

    return jax.tree_util.tree_map_with_path(draw, tree)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """The sum over the window, one place at a time; ⌈n/stride⌉ places, the odd row of padding after."""
    window, side = kernel.shape[0], -(-x.shape[1] // stride)
    total = max((side - 1) * stride + window - x.shape[1], 0)
    ends = (total // 2, total - total // 2)
    padded = np.pad(x, [(0, 0), ends, ends, (0, 0)])
    y = np.zeros((len(x), side, side, kernel.shape[3]))
    for i in range(side):
        for j in range(side):
            seen = padded[:, i * stride : i * stride + window, j * stride : j * stride + window]
            y[:, i, j] = np.tensordot(seen, kernel, 3)
    return y


def normed(params: Any, state: Any, x: np.ndarray) -> np.ndarray:
    return (x - state["mean"]) / np.sqrt(state["variance"] + 1e-5) * params["scale"] + params["bias"]


def unit(params: Any, state: Any, suffix: str, x: np.ndarray, stride: int) -> np.ndarray:
    y = convolved(x, params[f"convolution{suffix}"]["kernel"], stride)
    return normed(params[f"norm{suffix}"], state[f"norm{suffix}"], y)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_resnet(bottleneck: bool) -> None:
    """He et al. 2016, eqs. 1 and 2, figure 5: two stages of two blocks, the third of which halves the image."""
    network = resnet((8, 8, 3), 5, blocks=(2, 2), width=4, bottleneck=bottleneck)
    params = drawn(jax.eval_shape(network.init, KEY))
    state = drawn(network.state(), 1)
    p, s = params["stem"], state["stem"]
    x = relu(unit(p, s, "", COLOURS, 1))
    for i in range(2):
        for j in range(2):
            p, s = (tree[f"stage_{i}"][f"block_{j}"]["sum"] for tree in (params, state))
            stride, across = (2 if (i, j) == (1, 0) else 1), x
            if "shortcut" in p:
                across = unit(p["shortcut"], s["shortcut"], "", x, stride)
                p, s = p["inner"], s["inner"]
            else:
                assert j == 1 or not (bottleneck or i)
            if bottleneck:
                y = relu(unit(p, s, "_0", x, 1))
                y = unit(p, s, "_2", relu(unit(p, s, "_1", y, stride)), 1)
            else:
                y = unit(p, s, "_1", relu(unit(p, s, "_0", x, stride)), 1)
            x = relu(across + y)
    assert x.shape == (2, 4, 4, 32 if bottleneck else 8)
    due = x.mean((1, 2)) @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(jax.jit(network.apply)(params, COLOURS, state), due, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "due"),
    [  # of torchvision's resnet18, resnet34, resnet50 and resnet101
        ({"blocks": (2, 2, 2, 2), "width": 64}, 11_689_512),
        ({"blocks": (3, 4, 6, 3), "width": 64}, 21_797_672),
        ({"blocks": (3, 4, 6, 3), "width": 64, "bottleneck": True}, 25_557_032),
        ({"blocks": (3, 4, 23, 3), "width": 64, "bottleneck": True}, 44_549_160),
    ],
)
def test_sizes_of_the_papers_residual_networks(settings: dict[str, Any], due: int) -> None:
    network = resnet((224, 224, 3), 1000, **settings)
    assert count(jax.eval_shape(network.init, KEY)) == due


def test_stems() -> None:
    """The first stage sees the image whole, or a quarter of each side."""

    def first_stage(**settings: Any) -> int:
        network = resnet(blocks=(1,), width=4, outputs=2, **settings)
        x = jax.ShapeDtypeStruct((1, *settings["shape"], 3)[:4], jnp.float32)
        jaxpr = jax.make_jaxpr(network.apply)(jax.eval_shape(network.init, KEY), x)
        sides = [e.outvars[0].aval.shape[1] for e in jaxpr.eqns if e.primitive.name == "conv_general_dilated"]
        assert len(sides) == 3 and sides[1] == sides[2]
        return sides[1]

    assert first_stage(shape=(32, 32, 3)) == 32
    assert first_stage(shape=(32, 32, 3), stem="large") == 8
    assert first_stage(shape=(96, 96, 3)) == 24
    assert first_stage(shape=(96, 96, 3), stem="small") == 96
    assert first_stage(shape=(96, 64, 3)) == 96


def test_cnn() -> None:
    network = cnn((8, 8), 5, channels=[4, 6], hidden=7, activation="maxout", batch_norm=True, pieces=2)
    params, state = drawn(jax.eval_shape(network.init, KEY)), drawn(network.state(), 1)
    x = IMAGES[..., None]
    for i in range(2):
        y = unit(params, state, f"_{i}", x, 1)
        x = y.reshape(*y.shape[:3], -1, 2).max(-1)
        n, side = len(x), x.shape[1] // 2
        x = x.reshape(n, side, 2, side, 2, -1).max((2, 4))
    h = x.reshape(len(x), -1) @ params["dense"]["kernel"] + params["dense"]["bias"]
    due = h.reshape(len(x), -1, 2).max(-1) @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(jax.jit(network.apply)(params, IMAGES, state), due, rtol=1e-3, atol=1e-4)


def test_mlp() -> None:
    network = mlp(64, 5, [7, 6], "tanh", dropout=0.2, batch_norm=True)
    params, state = drawn(jax.eval_shape(network.init, KEY)), drawn(network.state(), 1)
    x = IMAGES.reshape(3, -1)
    for i in range(2):
        x = np.tanh(normed(params[f"norm_{i}"], state[f"norm_{i}"], x @ params[f"dense_{i}"]["kernel"]))
    due = x @ params["dense_2"]["kernel"] + params["dense_2"]["bias"]
    np.testing.assert_allclose(network.apply(params, IMAGES, state), due, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("hidden", [(), (12,), (12, 8)])
def test_autoencoder(hidden: tuple[int, ...], tied: bool) -> None:
    network = autoencoder(64, 5, "sigmoid", hidden, tied)
    params = drawn(jax.eval_shape(network.init, KEY))
    layers = [params[f"layer_{i}"] for i in range(len(hidden) + 1)] if hidden else [params]
    x = IMAGES.reshape(3, -1)
    for p in layers:
        x = 1 / (1 + np.exp(-(x @ p["kernel"] + p["encoder_bias"])))
    assert x.shape == (3, 5)
    for i in range(len(layers) - 1, -1, -1):
        p = layers[i]
        x = x @ (p["kernel"].T if tied else p["decoder_kernel"]) + p["decoder_bias"]
        x = 1 / (1 + np.exp(-x)) if i > 0 else x
    np.testing.assert_allclose(network.apply(params, IMAGES), x.reshape(3, 8, 8), rtol=1e-4, atol=1e-5)


def test_tied_autoencoder_adds_both_uses_of_its_kernels() -> None:
    """∂L/∂W is the sum over its uses: with copies in an untied decoder the two gradients add up to it."""
    tied, untied = (autoencoder(64, 5, hidden=(12,), tied=tied) for tied in (True, False))
    params = tied.init(KEY)
    copied = {name: {**p, "decoder_kernel": p["kernel"].T} for name, p in params.items()}

    def slope(network: nn.Network, params: Any) -> Any:
        return jax.jit(fdl.grad(lambda p: jnp.sum((network.apply(p, IMAGES) - IMAGES) ** 2)))(params)

    found, apart = slope(tied, params), slope(untied, copied)
    for name in ("layer_0", "layer_1"):
        both = apart[name]["kernel"] + apart[name]["decoder_kernel"].T
        np.testing.assert_allclose(found[name]["kernel"], both, rtol=1e-4, atol=1e-4)
        assert np.any(np.abs(apart[name]["decoder_kernel"]) > 1e-3)


def test_dropout_leaves_weights_and_evaluation_alone() -> None:
    """A network with dropout starts with the same names, and evaluates as the one without."""
    for make in (lambda rate: mlp(64, 5, [7], dropout=rate), lambda rate: cnn((8, 8), 5, [2], 4, dropout=rate)):
        plain, dropping = make(0.0), make(0.5)
        params = dropping.init(KEY)
        assert name_leaves(params).keys() == name_leaves(plain.init(KEY)).keys()
        np.testing.assert_array_equal(plain.apply(params, IMAGES), dropping.apply(params, IMAGES))
        assert dropping.random and not plain.random


def test_rnn() -> None:
    """Layers read all outputs of the one below, and the head the last one's last."""
    network = rnn(8, 5, width=6, cell="vanilla", layers=3)
    params = drawn(jax.eval_shape(network.init, KEY))
    x = IMAGES
    for i in range(3):
        x = recurrent(vanilla_cell(8 if i == 0 else 6, 6), sequence=True).apply(params[f"recurrent_{i}"], x)
    due = x[:, -1] @ params["head"]["kernel"] + params["head"]["bias"][None]
    np.testing.assert_allclose(network.apply(params, IMAGES), due, rtol=1e-5, atol=1e-6)
    both = rnn(8, 5, width=6, cell="lstm", bidirectional=True)
    params = drawn(jax.eval_shape(both.init, KEY))
    x = bidirectional(lstm_cell(8, 6)).apply(params["recurrent"], IMAGES)
    due = x @ params["head"]["kernel"] + params["head"]["bias"][None]
    np.testing.assert_allclose(both.apply(params, IMAGES), due, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_transformer(positions: Any) -> None:
    """Embedding, positions, blocks one after the other, norm, and the embedding's transpose."""
    network = transformer(11, 7, width=8, heads=2, depth=2, positions=positions, kv_heads=1)
    params = drawn(jax.eval_shape(network.init, KEY))
    ids = np.random.default_rng(0).integers(0, 11, (2, 6))
    x = params["tokens"]["table"][ids]
    if positions == "learned":
        x = x + params["positions"]["table"][:6][None]
    one = block(8, 2, kv_heads=1, rotary=positions == "rotary")
    for i in range(2):
        x = one.apply(params["blocks"][f"{i}"], x)
    due = nn.layer_norm(8).apply(params["norm"], x) @ params["tokens"]["table"].T
    np.testing.assert_allclose(jax.jit(network.apply)(params, ids), due, rtol=1e-4, atol=1e-5)
