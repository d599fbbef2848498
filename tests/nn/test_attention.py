"""Attention, rotary positions and the transformer block against plain NumPy in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import functional_dl as fdl
from functional_dl.nn.attention import block, rotate, self_attention, swiglu
from functional_dl.trees import count, name_leaves

B, T, D, HEADS = 2, 5, 24, 6
SIZE = D // HEADS
X = np.random.default_rng(0).normal(size=(B, T, D))
# JAX's attention takes its softmax in float32, and angles are float32, whatever the inputs are.
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def drawn(network: Any, seed: int = 0) -> Any:
    """Parameters of the network's shapes, all of them of a size that matters, scales and biases too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) / 3 + (len(s.shape) == 1)), shapes)


def turned(x: np.ndarray, t: int, base: float = 10_000.0) -> np.ndarray:
    """One head's entries at position t, as complex numbers multiplied by exp(i t base^(−2k/H))."""
    half = len(x) // 2
    z = (x[:half] + 1j * x[half:]) * np.exp(1j * t * base ** (-2 * np.arange(half) / len(x)))
    return np.concatenate([z.real, z.imag])


def attended(
    params: Any, x: np.ndarray, heads: int, kv_heads: int, causal: bool = True, rotary: bool = False
) -> np.ndarray:
    """One example, one head and one position at a time."""
    qkv, out = np.asarray(params["qkv"]), np.asarray(params["out"])
    width = x.shape[-1]
    size = width // heads
    result = np.zeros_like(x)
    for n, example in enumerate(x):
        rows = example @ qkv
        keys = rows[:, width : width + kv_heads * size]
        values = rows[:, width + kv_heads * size :]
        for t in range(len(example)):
            heard = []
            for head in range(heads):
                own = head * kv_heads // heads
                q, ks = rows[t, head * size : (head + 1) * size], keys[:, own * size : (own + 1) * size]
                if rotary:
                    q, ks = turned(q, t), np.stack([turned(k, s) for s, k in enumerate(ks)])
                scores = np.exp(ks @ q / np.sqrt(size))
                if causal:
                    scores[t + 1 :] = 0
                heard.append(scores / scores.sum() @ values[:, own * size : (own + 1) * size])
            result[n, t] = np.concatenate(heard) @ out
    return result


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [6, 3, 2, 1])
def test_attention(kv_heads: int, causal: bool, rotary: bool) -> None:
    network = self_attention(D, HEADS, causal, kv_heads, rotary)
    params = drawn(network)
    assert params["qkv"].shape == (D, D + 2 * kv_heads * SIZE)
    due = attended(params, X, HEADS, kv_heads, causal, rotary)
    np.testing.assert_allclose(jax.jit(network.apply)(params, X), due, atol=TOLERANCE)


def test_grouped_heads_default_to_one_each() -> None:
    plain, given = self_attention(D, HEADS), self_attention(D, HEADS, kv_heads=HEADS)
    params = plain.init(jax.random.key(0))
    np.testing.assert_array_equal(plain.apply(params, X), given.apply(params, X))


def test_rotation() -> None:
    x = np.random.default_rng(1).normal(size=(2, 300, 3, 8))
    due = np.stack([[[turned(h, t) for h in heads] for t, heads in enumerate(example)] for example in x])
    np.testing.assert_allclose(rotate(x), due, atol=1e-4)
    np.testing.assert_allclose(rotate(x)[:, 0], x[:, 0], atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(rotate(x), axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-6)


def test_rotated_products_depend_on_distance_alone() -> None:
    """RoFormer, eq. 16: ⟨R_s q, R_t k⟩ = g(q, k, s − t)."""
    q, k = np.random.default_rng(2).normal(size=(2, 8))
    turned_q, turned_k = (rotate(np.broadcast_to(v, (1, 40, 1, 8)))[0, :, 0] for v in (q, k))
    products = np.asarray(turned_q @ turned_k.T)
    for distance in range(-39, 40):
        np.testing.assert_allclose(np.diagonal(products, distance), np.diagonal(products, distance)[0], atol=1e-4)
    assert np.ptp(products[0]) > 1


def test_rotation_keeps_dtype_and_far_positions_apart() -> None:
    x = jnp.ones((1, 300, 1, 4), jnp.bfloat16)
    y = rotate(x)
    assert y.dtype == jnp.bfloat16
    assert np.any(np.asarray(y[0, 256], np.float32) != np.asarray(y[0, 257], np.float32))


@pytest.mark.parametrize("rotary", [False, True])
def test_attention_is_causal(rotary: bool) -> None:
    network = self_attention(D, HEADS, kv_heads=2, rotary=rotary)
    params = drawn(network)
    changed = X.copy()
    changed[:, 3] += 1
    before, after = network.apply(params, X), network.apply(params, changed)
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.all(before[:, 3] != after[:, 3])


def normed(params: Any, x: np.ndarray, kind: str) -> np.ndarray:
    if kind == "rms":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * params["scale"]
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * params["scale"] + params["bias"]


@pytest.mark.parametrize("feedforward", ["gelu", "swiglu"])
@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_block(norm: Any, feedforward: Any) -> None:
    network = block(D, HEADS, kv_heads=3, norm=norm, feedforward=feedforward)
    params = drawn(network)
    p = jax.tree.map(np.asarray, params)
    due = X + attended(p["attention"]["mix"], normed(p["attention"]["norm"], X, norm), HEADS, 3)
    q = p["feedforward"]
    h = normed(q["norm"], due, norm)
    if feedforward == "gelu":
        a = h @ q["up"]["kernel"] + q["up"]["bias"]
        a = a / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3)))
        due = due + a @ q["down"]["kernel"] + q["down"]["bias"]
    else:
        a = h @ q["swiglu"]["gate"]
        due = due + (a * expit(a) * (h @ q["swiglu"]["up"])) @ q["swiglu"]["down"]
    np.testing.assert_allclose(jax.jit(network.apply)(params, X), due, rtol=TOLERANCE, atol=TOLERANCE)


def test_swiglu_has_the_size_of_the_gelu_layer() -> None:
    for width in (24, 96, 768):
        found = block(width, 2, feedforward="swiglu").init(jax.random.key(0))["feedforward"]["swiglu"]
        assert abs(count(found) / (8 * width**2) - 1) < 0.02 and found["up"].shape[1] % 8 == 0


@pytest.mark.parametrize(
    ("kv_heads", "rotary", "norm", "feedforward"), [(6, False, "layer", "gelu"), (2, True, "rms", "swiglu")]
)
def test_gradients(kv_heads: int, rotary: bool, norm: Any, feedforward: Any) -> None:
    """Of parameters and input, in evaluation and in training with what is dropped held fixed."""
    network = block(D, HEADS, True, kv_heads, rotary, norm, feedforward, dropout=0.3)
    params = drawn(network)

    def evaluated(params: Any, x: Any) -> Any:
        return jnp.sum(jnp.sin(network.apply(params, x)))

    def trained(params: Any, x: Any) -> Any:
        return jnp.sum(jnp.sin(network.train(params, x, key=jax.random.key(5))[0]))

    for loss in (evaluated, trained):
        due = name_leaves(jax.jit(jax.grad(loss, (0, 1)))(params, X))
        for path, g in name_leaves(jax.jit(fdl.grad(loss, (0, 1)))(params, X)).items():
            atol = TOLERANCE * float(np.max(np.abs(due[path])))
            np.testing.assert_allclose(g, due[path], rtol=TOLERANCE, atol=atol, err_msg=path)
            assert np.any(g != 0), path


def test_dropout_is_on_what_is_added() -> None:
    """An entry of the attention's branch is either gone or doubled; what it is added to stays."""
    network = block(D, HEADS, dropout=0.5)
    params = drawn(network)
    params["feedforward"] = jax.tree.map(jnp.zeros_like, params["feedforward"])
    whole = network.apply(params, X) - X
    some = np.asarray(network.train(params, X, key=jax.random.key(0))[0] - X)
    kept = some != 0
    assert 0.35 < kept.mean() < 0.65
    np.testing.assert_allclose(some[kept], 2 * np.asarray(whole)[kept], rtol=1e-9, atol=1e-12)


def test_swiglu_alone() -> None:
    network = swiglu(3, 8)
    params = drawn(network)
    a, b, c = (np.asarray(params[k]) for k in ("gate", "up", "down"))
    x = X[..., :3]
    np.testing.assert_allclose(network.apply(params, x), ((x @ a) * expit(x @ a) * (x @ b)) @ c, atol=1e-12)


def test_what_does_not_go_together() -> None:
    with pytest.raises(ValueError, match="10 is not divisible by 4"):
        self_attention(10, 4)
    with pytest.raises(ValueError, match="6 heads of queries are not divisible by 4"):
        self_attention(24, 6, kv_heads=4)
    with pytest.raises(ValueError, match="even width; 9/3 is 3"):
        self_attention(9, 3, rotary=True)
    with pytest.raises(ValueError, match="width 3 is odd"):
        rotate(jnp.ones((1, 2, 1, 3)))
    with pytest.raises(ValueError, match="unknown norm 'batch'"):
        block(8, 2, norm="batch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown feedforward 'relu'"):
        block(8, 2, feedforward="relu")  # type: ignore[arg-type]
