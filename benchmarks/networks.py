"""The networks that the benchmarks differentiate: a loss function with its arguments, by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["NETWORKS", "SMALL", "Problem", "attend"]


class Problem(NamedTuple):
    """A loss ``loss(params, *batch)`` and what to call it with."""

    loss: Callable[..., Any]
    params: Any
    batch: tuple[Any, ...]


def _normal(rng: np.random.Generator, *shape: int) -> jax.Array:
    fan_in = int(np.prod(shape[:-1])) or 1
    return jnp.asarray(rng.normal(size=shape) / np.sqrt(fan_in), jnp.float32)


def _cross_entropy(logits: Any, labels: Any) -> Any:
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)
    return -jnp.mean(picked)


def mlp(depth: int = 4, width: int = 512, batch: int = 128) -> Problem:
    """Dense layers with ReLU on 784 inputs."""
    rng = np.random.default_rng(0)
    sizes = [784, *[width] * depth, 10]
    params = [{"w": _normal(rng, n, m), "b": jnp.zeros(m)} for n, m in itertools.pairwise(sizes)]

    def loss(params: Any, x: Any, labels: Any) -> Any:
        for layer in params[:-1]:
            x = jax.nn.relu(x @ layer["w"] + layer["b"])
        return _cross_entropy(x @ params[-1]["w"] + params[-1]["b"], labels)

    return Problem(loss, params, (_normal(rng, batch, 784), jnp.asarray(rng.integers(0, 10, batch))))


def cnn(batch: int = 32) -> Problem:
    """Three convolutions with ReLU and max pooling on 28×28 images."""
    rng = np.random.default_rng(0)
    channels = [1, 16, 32, 64]
    params = {
        "convolutions": [{"w": _normal(rng, 3, 3, n, m), "b": jnp.zeros(m)} for n, m in itertools.pairwise(channels)],
        "head": {"w": _normal(rng, 3 * 3 * 64, 10), "b": jnp.zeros(10)},
    }

    def loss(params: Any, x: Any, labels: Any) -> Any:
        for layer in params["convolutions"]:
            x = lax.conv_general_dilated(x, layer["w"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(x + layer["b"])
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = x.reshape(x.shape[0], -1)
        return _cross_entropy(x @ params["head"]["w"] + params["head"]["b"], labels)

    return Problem(loss, params, (_normal(rng, batch, 28, 28, 1), jnp.asarray(rng.integers(0, 10, batch))))


def rnn(steps: int = 64, width: int = 128, batch: int = 64) -> Problem:
    """A gated recurrent cell through `lax.scan`."""
    rng = np.random.default_rng(0)
    params = {"u": _normal(rng, 32, 3 * width), "w": _normal(rng, width, 3 * width), "b": jnp.zeros(3 * width),
              "head": _normal(rng, width, 10)}  # fmt: skip

    def loss(params: Any, x: Any, labels: Any) -> Any:
        def cell(h: Any, x: Any) -> Any:
            a, b = x @ params["u"] + params["b"], h @ params["w"]
            r, z = jax.nn.sigmoid(jnp.split(a + b, 3, axis=-1)[0]), jax.nn.sigmoid(jnp.split(a + b, 3, axis=-1)[1])
            n = jnp.tanh(jnp.split(a, 3, axis=-1)[2] + r * jnp.split(b, 3, axis=-1)[2])
            return (1 - z) * n + z * h, None

        h, _ = lax.scan(cell, jnp.zeros((x.shape[1], width)), x)
        return _cross_entropy(h @ params["head"], labels)

    return Problem(loss, params, (_normal(rng, steps, batch, 32), jnp.asarray(rng.integers(0, 10, batch))))


def attend(p: Any, x_BTD: Any, heads: int) -> Any:
    """Causal self-attention with several heads."""
    b, t, d = x_BTD.shape
    q, k, v = jnp.split((x_BTD @ p["qkv"]).reshape(b, t, heads, 3 * d // heads), 3, axis=-1)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(d / heads)
    scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -1e9)
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v).reshape(b, t, d) @ p["out"]


def transformer(depth: int = 12, width: int = 128, heads: int = 4, tokens: int = 64, batch: int = 4) -> Problem:
    """A GPT with pre-norm blocks in a Python loop."""
    rng = np.random.default_rng(0)

    def block() -> dict[str, Any]:
        return {
            "norm_1": {"scale": jnp.ones(width), "bias": jnp.zeros(width)},
            "qkv": _normal(rng, width, 3 * width),
            "out": _normal(rng, width, width),
            "norm_2": {"scale": jnp.ones(width), "bias": jnp.zeros(width)},
            "up": _normal(rng, width, 4 * width),
            "down": _normal(rng, 4 * width, width),
        }

    params = {"embedding": _normal(rng, 96, width), "positions": _normal(rng, tokens, width),
              "blocks": [block() for _ in range(depth)]}  # fmt: skip

    def norm(p: Any, x: Any) -> Any:
        mean, var = jnp.mean(x, -1, keepdims=True), jnp.var(x, -1, keepdims=True)
        return (x - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["bias"]

    def loss(params: Any, tokens: Any, labels: Any) -> Any:
        x = params["embedding"][tokens] + params["positions"]
        for p in params["blocks"]:
            x = x + attend(p, norm(p["norm_1"], x), heads)
            x = x + jax.nn.gelu(norm(p["norm_2"], x) @ p["up"]) @ p["down"]
        return _cross_entropy(x @ params["embedding"].T, labels)

    ids = jnp.asarray(rng.integers(0, 96, (batch, tokens)))
    return Problem(loss, params, (ids, jnp.roll(ids, -1, axis=1)))


NETWORKS: dict[str, Callable[[], Problem]] = {"MLP": mlp, "CNN": cnn, "RNN": rnn, "transformer, 12 layers": transformer}


def _newton(x: Any) -> Any:
    y = x
    while abs(y * y - x) > 1e-3:
        y = 0.5 * (y + x / y)
    return y


# Small functions, called outside jit, with what they are called with: there the overhead of calling is all there is.
SMALL: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "sin(x)·x": (lambda x: jnp.sin(x) * x, (1.3,)),
    "polynomial": (lambda x: 3 * x**3 + 2 * x * x - x, (1.3,)),
    "relu(x)·x": (lambda x: jax.nn.relu(x) * x, (1.3,)),
    "Newton's square root": (_newton, (1.3,)),
    "norm of 100": (lambda x: jnp.sum(jnp.tanh(x) ** 2), (np.ones(100, np.float32),)),
    "logsumexp of 100": (jax.nn.logsumexp, (np.ones(100, np.float32),)),
    "a jitted function": (jax.jit(lambda x: jnp.sin(x) * jnp.cos(x)), (1.3,)),
}
