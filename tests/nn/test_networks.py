"""What holds for every architecture: shapes, names, states, keys, dtypes, and our gradients in both modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_dl as fdl
from functional_dl import nn
from functional_dl.nn.architectures import autoencoder, cnn, mlp, resnet, rnn, transformer
from functional_dl.nn.repetition import repeated
from functional_dl.trees import name_leaves

KEY = jax.random.key(0)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 8, 8)), jnp.float32)
COLOURS = jnp.asarray(np.random.default_rng(1).normal(size=(4, 8, 8, 3)), jnp.float32)
IDS = jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, 6)))
GPT: dict[str, Any] = {"vocabulary": 11, "context": 7, "width": 8, "heads": 2, "depth": 2}
LLAMA: dict[str, Any] = {"kv_heads": 1, "positions": "rotary", "norm": "rms", "feedforward": "swiglu", "dropout": 0.2}

NETWORKS: dict[str, tuple[nn.Network, Any, tuple[int, ...]]] = {
    "mlp": (mlp(64, 10, hidden=[16, 12]), IMAGES, (3, 10)),
    "mlp-all": (mlp(64, 10, [8, 6], "parametric_relu", dropout=0.3, batch_norm=True), IMAGES, (3, 10)),
    "mlp-maxout": (mlp(64, 10, [8], "maxout", pieces=3), IMAGES, (3, 10)),
    "cnn": (cnn((8, 8), 10, channels=[4, 6], hidden=8), IMAGES, (3, 10)),
    "cnn-all": (cnn((8, 8, 3), 10, [4], 8, "parametric_relu", dropout=0.3, batch_norm=True), COLOURS, (4, 10)),
    "resnet": (resnet((8, 8, 3), 10, blocks=(1, 1), width=4, dropout=0.2), COLOURS, (4, 10)),
    "resnet-bottleneck": (resnet((8, 8, 3), 10, (2,), 2, bottleneck=True, stem="large"), COLOURS, (4, 10)),
    "vanilla": (rnn(8, 10, width=6, cell="vanilla"), IMAGES, (3, 10)),
    "gru": (rnn(8, 10, width=6), IMAGES, (3, 10)),
    "lstm-all": (rnn(8, 10, 6, "lstm", layers=2, bidirectional=True, dropout=0.3), IMAGES, (3, 10)),
    "autoencoder": (autoencoder(64, code=5), IMAGES, (3, 8, 8)),
    "autoencoder-deep": (autoencoder(64, 5, hidden=(12, 8)), IMAGES, (3, 8, 8)),
    "autoencoder-untied": (autoencoder(64, 5, hidden=(12,), tied=False), IMAGES, (3, 8, 8)),
    "transformer": (transformer(**GPT), IDS, (2, 6, 11)),
    "transformer-scanned": (transformer(**GPT, scanned=True), IDS, (2, 6, 11)),
    "transformer-llama": (transformer(**GPT, **LLAMA), IDS, (2, 6, 11)),
    "transformer-llama-scanned": (transformer(**GPT, **LLAMA, scanned=True), IDS, (2, 6, 11)),
}
STATEFUL = {"mlp-all", "cnn-all", "resnet", "resnet-bottleneck"}
RANDOM = {"mlp-all", "cnn-all", "resnet", "lstm-all", "transformer-llama", "transformer-llama-scanned"}


def loss_of(network: nn.Network, x: Any, training: bool) -> Callable[..., Any]:
    """A loss of the parameters and a state."""

    def loss(params: Any, state: Any) -> Any:
        y = network.train(params, x, state, KEY)[0] if training else network.apply(params, x, state)
        return jnp.sum(jnp.sin(y))

    return loss


def assert_close(found: Any, due: Any, tolerance: float = 2e-4) -> None:
    """Equal up to a share of each entry, and of the largest gradient of all as sums of many are."""
    named = name_leaves(due)
    scale = max(float(jnp.max(jnp.abs(g))) for g in named.values())
    for path, g in name_leaves(found).items():
        np.testing.assert_allclose(g, named[path], rtol=tolerance, atol=1e-2 * tolerance * scale, err_msg=path)


# Two are left out: that scanned and unrolled ones have the same gradients is seen below.
@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in {"transformer-scanned", "transformer-llama"}])
def test_gradient(name: str) -> None:
    """Our gradient equals JAX's for every parameter, in every mode, at a state that is not the first."""
    network, x, shape = NETWORKS[name]
    params, state = network.init(KEY), network.state()
    if name in STATEFUL:
        state = jax.jit(network.train)(params, x, None, KEY)[1]
    # The others have one mode only, or are evaluated as a network without dropout, here or in their layers' tests.
    modes = (False, True) if name in {"mlp-all", "cnn-all", "resnet"} else (True,)
    losses = [loss_of(network, x, training) for training in modes]

    def gradients(params: Any, state: Any) -> Any:
        y = network.apply(params, x, state)
        return y, [(fdl.grad(loss)(params, state), jax.grad(loss)(params, state)) for loss in losses]

    y, both = jax.jit(gradients)(params, state)
    assert y.shape == shape and np.all(np.isfinite(y))
    for found, due in both:
        assert_close(found, due)
        for path, g in name_leaves(found).items():
            assert np.any(g != 0), path


@pytest.mark.parametrize("name", ["mlp", "autoencoder"])
def test_eager_gradient(name: str) -> None:
    network, x, _ = NETWORKS[name]
    params, loss = network.init(KEY), loss_of(network, x, False)
    assert_close(fdl.grad(loss)(params, network.state()), jax.jit(jax.grad(loss))(params, network.state()))


@pytest.mark.parametrize("name", NETWORKS)
def test_state_and_key(name: str) -> None:
    """A state keeps its structure, shapes and dtypes; evaluation reads it, and draws nothing."""
    network, x, shape = NETWORKS[name]
    params, state = network.init(KEY), network.state()
    assert network.random == (name in RANDOM)
    assert bool(jax.tree.leaves(state)) == (name in STATEFUL)
    y, new = jax.eval_shape(network.train, params, x, state, KEY)
    assert y.shape == shape
    again = jax.eval_shape(network.train, params, x, new, KEY)[1]
    for tree in (new, again):
        assert jax.tree.structure(tree) == jax.tree.structure(state)
        for path, leaf in name_leaves(tree).items():
            due = name_leaves(state)[path]
            assert leaf.shape == due.shape and leaf.dtype == due.dtype, path
    assert jax.eval_shape(network.apply, params, x).shape == shape
    if network.random:
        with pytest.raises(ValueError, match="train needs a key"):
            network.train(params, x)


@pytest.mark.parametrize("name", ["mlp-all", "cnn-all", "lstm-all", "transformer-llama-scanned"])
def test_another_key_is_another_draw(name: str) -> None:
    network, x, _ = NETWORKS[name]
    params = network.init(KEY)
    train = jax.jit(lambda key: network.train(params, x, None, key)[0])
    first, again, other = train(KEY), train(KEY), train(jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_statistics_move_towards_the_batchs() -> None:
    """After many steps on one batch evaluation is what training is, but for n − 1 for n in the variance."""
    network = cnn((8, 8, 3), 10, channels=[4], hidden=8, batch_norm=True)
    params = network.init(KEY)

    def step(state: Any, _: Any) -> Any:
        return network.train(params, COLOURS, state)[1], None

    state = jax.jit(lambda state: jax.lax.scan(step, state, None, 200)[0])(network.state())
    y, _ = network.train(params, COLOURS, state)
    np.testing.assert_allclose(network.apply(params, COLOURS, state), y, atol=0.01 * float(jnp.std(y)))
    assert np.max(np.abs(network.apply(params, COLOURS) - y)) > 0.3 * float(jnp.std(y))


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision(name: str) -> None:
    """With parameters and inputs in bfloat16 outputs and gradients are bfloat16, and states stay as they were."""
    network, x, _ = NETWORKS[name]
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), network.init(KEY))
    half = x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x
    y, state = jax.eval_shape(network.train, params, half, None, KEY)
    assert y.dtype == jnp.bfloat16 and jax.eval_shape(network.apply, params, half).dtype == jnp.bfloat16
    assert jax.tree.map(lambda s: s.dtype, state) == jax.tree.map(lambda s: s.dtype, network.state())
    if name in {"mlp-all", "gru"}:
        y, grads = jax.jit(lambda p: (network.apply(p, half), fdl.grad(loss_of(network, half, True))(p, None)))(params)
        assert jnp.all(jnp.isfinite(y))
        assert {g.dtype for g in jax.tree.leaves(grads)} == {jnp.dtype(jnp.bfloat16)}
        assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(grads))


def test_names_are_readable() -> None:
    def names(name: str) -> list[str]:
        return list(name_leaves(jax.eval_shape(NETWORKS[name][0].init, KEY)))

    assert {"blocks/0/attention/mix/qkv", "blocks/1/feedforward/down/kernel", "tokens/table", "positions/table"} <= set(
        names("transformer")
    )
    assert {"blocks/attention/mix/qkv", "blocks/feedforward/up/bias"} <= set(names("transformer-scanned"))
    assert {"blocks/feedforward/swiglu/gate", "blocks/attention/norm/scale"} <= set(names("transformer-llama-scanned"))
    assert not any("positions" in n or "dropout" in n for n in names("transformer-llama"))
    assert names("gru") == ["head/bias", "head/kernel"] + [
        f"recurrent/{n}" for n in ("bias", "input_kernel", "recurrent_kernel")
    ]
    assert "recurrent_1/backward/bias" in names("lstm-all")
    assert {"dense_0/kernel", "norm_1/scale", "activation_1/slope", "dense_2/bias"} <= set(names("mlp-all"))
    assert "dense_0/bias" not in names("mlp-all")
    assert {"convolution_0/kernel", "activation_0/slope", "head/kernel"} <= set(names("cnn-all"))
    assert {"stem/convolution/kernel", "stage_0/block_0/sum/convolution_1/kernel", "head/bias"} <= set(names("resnet"))
    assert {"stage_1/block_0/sum/shortcut/norm/bias", "stage_1/block_0/sum/inner/norm_0/scale"} <= set(names("resnet"))
    assert {"layer_0/kernel", "layer_1/decoder_kernel"} <= set(names("autoencoder-untied"))
    assert names("autoencoder") == ["decoder_bias", "encoder_bias", "kernel"]


def stacked(tree: dict[str, Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tree[f"{i}"] for i in range(len(tree))))


@pytest.mark.parametrize("settings", [{"dropout": 0.2}, LLAMA], ids=["gpt", "llama"])
def test_scanned_and_unrolled_transformers_agree(settings: dict[str, Any]) -> None:
    """In evaluation and in training, where they drop the same entries; so do their gradients."""
    unrolled, scanned = transformer(**GPT, **settings), transformer(**GPT, **settings, scanned=True)
    params = unrolled.init(KEY)
    both = {**params, "blocks": stacked(params["blocks"])}
    assert jax.tree.map(jnp.shape, both) == jax.tree.map(jnp.shape, jax.eval_shape(scanned.init, KEY))

    def run(network: nn.Network) -> Any:
        loss = loss_of(network, IDS, True)
        return lambda p: (network.apply(p, IDS), network.train(p, IDS, None, KEY)[0], fdl.grad(loss)(p, {}))

    found, due = jax.jit(run(scanned))(both), jax.jit(run(unrolled))(params)
    for a, b in zip(found[:2], due[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert np.any(found[0] != found[1])
    assert_close(found[2], {**due[2], "blocks": stacked(due[2]["blocks"])})


def test_repeated_networks_thread_states_and_keys() -> None:
    """Each layer has statistics and draws of its own, in a loop and in a scan alike."""
    part = nn.serial(dense=nn.dense(4, 4, bias=False), norm=nn.batch_norm(4), dropout=nn.dropout(0.4))
    unrolled, scanned = repeated(part, 3), repeated(part, 3, scanned=True)
    params, x = unrolled.init(KEY), jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    state, both = unrolled.state(), stacked(params)
    assert jax.tree.map(jnp.shape, scanned.state()) == jax.tree.map(jnp.shape, stacked(state))
    assert jax.tree.map(jnp.shape, scanned.init(KEY)) == jax.tree.map(jnp.shape, both)
    many = scanned.state()
    for step in range(2):
        key = jax.random.key(step)
        due, state = jax.jit(unrolled.train)(params, x, state, key)
        found, many = jax.jit(scanned.train)(both, x, many, key)
        np.testing.assert_allclose(found, due, rtol=1e-5, atol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), many, stacked(state))
    means = np.asarray(many["norm"]["mean"])
    assert all(np.any(means[i] != means[j]) for i in range(3) for j in range(i))
    np.testing.assert_allclose(scanned.apply(both, x, many), unrolled.apply(params, x, state), rtol=1e-5, atol=1e-5)
    found, due = (
        jax.jit(fdl.grad(loss_of(n, x, True)))(p, s) for n, p, s in ((scanned, both, many), (unrolled, params, state))
    )
    assert_close(found, stacked(due))


def test_repeated_layers_draw_apart() -> None:
    """What a layer keeps says nothing of what the next one keeps: of 4000 entries 0.6² pass both, not 0.6."""
    for scanned in (False, True):
        network = repeated(nn.dropout(0.4), 2, scanned)
        assert network.init(KEY) == {} and network.state() == {}
        y, _ = network.train({}, jnp.ones((4000,)), {}, KEY)
        assert abs(float(jnp.mean(y != 0)) - 0.36) < 0.03


def test_embeddings_are_dropped() -> None:
    """Where the blocks add nothing two draws differ by what is dropped of the embedding alone."""
    network = transformer(**GPT, dropout=0.5)
    params = network.init(KEY)
    params["blocks"] = jax.tree.map(jnp.zeros_like, params["blocks"])
    first, other = (network.train(params, IDS, None, jax.random.key(i))[0] for i in range(2))
    assert np.any(first != other)


@pytest.mark.parametrize("name", ["transformer", "transformer-llama-scanned"])
def test_transformers_are_causal(name: str) -> None:
    network = NETWORKS[name][0]
    params = network.init(KEY)
    changed = IDS.at[:, 4].set((IDS[:, 4] + 1) % 11)
    before, after = (jax.jit(network.apply)(params, ids) for ids in (IDS, changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.any(before[:, 4] != after[:, 4])


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_transformers_hear_the_order(positions: Any) -> None:
    """Without positions the last logits would be the same whatever the order of what is before."""
    network = transformer(**GPT, positions=positions)
    # Larger than at first, where scores are next to zero and attention a plain mean.
    params = jax.tree.map(lambda p: 4 * p, network.init(KEY))
    swapped = IDS.at[:, 0].set(IDS[:, 1]).at[:, 1].set(IDS[:, 0])
    assert np.any(np.abs(network.apply(params, IDS) - network.apply(params, swapped))[:, -1] > 1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mlp(64, 10).apply(mlp(64, 10).init(KEY), jnp.ones((2, 7))), "7 features.*takes 64"),
        (lambda: mlp(64, 10, activation="rely"), "unknown activation 'rely'; known: identity, .*maxout"),
        (lambda: cnn((8, 8), 10, channels=[2] * 4), r"image of \(8, 8\) cannot be halved 4 times"),
        (lambda: cnn((8,), 10), r"cnn: shape = \(8,\); due is"),
        (lambda: resnet((8, 8), 10, activation="maxout"), "resnet: maxout"),
        (lambda: resnet((8, 8), 10, stem="big"), "unknown stem 'big'"),  # type: ignore[arg-type]
        (lambda: rnn(8, 10, layers=0), "layers = 0"),
        (lambda: rnn(8, 10, cell="gnu"), "unknown cell 'gnu'; known: vanilla, lstm, gru"),
        (lambda: transformer(**GPT, positions="sine"), "unknown positions 'sine'"),
        (lambda: transformer(**GPT, kv_heads=3), "2 heads of queries are not divisible by 3"),
        (lambda: transformer(**GPT).apply(transformer(**GPT).init(KEY), jnp.zeros((1, 8), int)), "8 tokens.* is 7"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
