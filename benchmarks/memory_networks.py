"""The networks whose memory is measured: each leaves open how its repeated blocks are wrapped."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.networks import _cross_entropy, _normal, attend

__all__ = ["NETWORKS", "SMALL", "MemoryProblem", "Wrap"]

# What is applied to each repeated block: the identity, or jax.checkpoint with a policy.
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


class MemoryProblem(NamedTuple):
    """A loss with a place for a checkpoint, and what to call it with.

    ``make_loss(wrap)`` is a new function ``loss(params, *batch)`` whose repeated blocks (a loop's body, a layer, a
    residual block) are wrapped by ``wrap``. ``scanned`` says that these blocks are bodies of `lax.scan`, where
    `jax.checkpoint` needs no barrier against the compiler's merging of common subexpressions.
    """

    make_loss: Callable[[Wrap], Callable[..., Any]]
    params: Any
    batch: tuple[Any, ...]
    scanned: bool


def _convolve(x: Any, w: Any, stride: int = 1) -> Any:
    return lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _affine(width: int) -> dict[str, Any]:
    return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}


def _standardize(x: Any, axes: int | tuple[int, ...]) -> Any:
    mean, var = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5)


def mlp(hidden: int = 8, width: int = 1024, batch: int = 1024) -> MemoryProblem:
    """Dense layers with GELU on 784 inputs; a block is a hidden layer."""
    rng = np.random.default_rng(0)
    sizes = [784, *[width] * hidden, 10]
    params = [{"w": _normal(rng, n, m), "b": jnp.zeros(m)} for n, m in itertools.pairwise(sizes)]

    def make_loss(wrap: Wrap) -> Callable[..., Any]:
        layer = wrap(lambda p, x: jax.nn.gelu(x @ p["w"] + p["b"]))

        def loss(params: Any, x: Any, labels: Any) -> Any:
            for p in params[:-1]:
                x = layer(p, x)
            return _cross_entropy(x @ params[-1]["w"] + params[-1]["b"], labels)

        return loss

    batch_of = (_normal(rng, batch, 784), jnp.asarray(rng.integers(0, 10, batch)))
    return MemoryProblem(make_loss, params, batch_of, scanned=False)


def resnet(stages: tuple[int, ...] = (64, 128, 256, 512), side: int = 32, batch: int = 16) -> MemoryProblem:
    """ResNet-18 with a 3×3 stem, batch-norm by the batch's own statistics; a block is a basic residual block."""
    rng = np.random.default_rng(0)

    def block_params(n: int, m: int) -> dict[str, Any]:
        p = {"conv_1": _normal(rng, 3, 3, n, m), "norm_1": _affine(m),
             "conv_2": _normal(rng, 3, 3, m, m), "norm_2": _affine(m)}  # fmt: skip
        return p if n == m else {**p, "shortcut": _normal(rng, 1, 1, n, m), "norm_shortcut": _affine(m)}

    widths = [stages[0], *(width for width in stages for _ in range(2))]
    params = {
        "stem": {"conv": _normal(rng, 3, 3, 3, stages[0]), "norm": _affine(stages[0])},
        "blocks": [block_params(n, m) for n, m in itertools.pairwise(widths)],
        "head": {"w": _normal(rng, stages[-1], 10), "b": jnp.zeros(10)},
    }

    def norm(p: Any, x_BHWC: Any) -> Any:
        return _standardize(x_BHWC, (0, 1, 2)) * p["scale"] + p["bias"]

    def block(p: Any, x: Any) -> Any:
        # The blocks that widen are those that halve the picture.
        widens = "shortcut" in p
        y = jax.nn.relu(norm(p["norm_1"], _convolve(x, p["conv_1"], 2 if widens else 1)))
        y = norm(p["norm_2"], _convolve(y, p["conv_2"]))
        return jax.nn.relu(y + (norm(p["norm_shortcut"], _convolve(x, p["shortcut"], 2)) if widens else x))

    def make_loss(wrap: Wrap) -> Callable[..., Any]:
        # Each wrap gets a function of its own: JAX remembers traces by the function's identity.
        wrapped = wrap(lambda p, x: block(p, x))

        def loss(params: Any, x: Any, labels: Any) -> Any:
            x = jax.nn.relu(norm(params["stem"]["norm"], _convolve(x, params["stem"]["conv"])))
            for p in params["blocks"]:
                x = wrapped(p, x)
            return _cross_entropy(jnp.mean(x, (1, 2)) @ params["head"]["w"] + params["head"]["b"], labels)

        return loss

    images = jnp.asarray(rng.normal(size=(batch, side, side, 3)), jnp.float32)
    return MemoryProblem(make_loss, params, (images, jnp.asarray(rng.integers(0, 10, batch))), scanned=False)


def lstm(steps: int = 512, width: int = 128, inputs: int = 64, batch: int = 32) -> MemoryProblem:
    """An LSTM through `lax.scan`, its weights the same at each step; a block is a step."""
    rng = np.random.default_rng(0)
    params = {"u": _normal(rng, inputs, 4 * width), "w": _normal(rng, width, 4 * width), "b": jnp.zeros(4 * width),
              "head": _normal(rng, width, 10)}  # fmt: skip

    def make_loss(wrap: Wrap) -> Callable[..., Any]:
        def loss(params: Any, x_TBD: Any, labels: Any) -> Any:
            def cell(carry: Any, x: Any) -> Any:
                h, c = carry
                i, f, g, o = jnp.split(x @ params["u"] + h @ params["w"] + params["b"], 4, axis=-1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

            zeros = jnp.zeros((x_TBD.shape[1], width))
            (h, _), _ = lax.scan(wrap(cell), (zeros, zeros), x_TBD)
            return _cross_entropy(h @ params["head"], labels)

        return loss

    x_TBD = jnp.asarray(rng.normal(size=(steps, batch, inputs)), jnp.float32)
    return MemoryProblem(make_loss, params, (x_TBD, jnp.asarray(rng.integers(0, 10, batch))), scanned=True)


def transformer(
    scanned: bool, depth: int = 8, width: int = 256, heads: int = 4, tokens: int = 256, batch: int = 8
) -> MemoryProblem:
    """A GPT with pre-norm blocks, scanned over stacked parameters or in a Python loop; a block is a layer."""
    rng = np.random.default_rng(0)

    def block_params() -> dict[str, Any]:
        return {
            "norm_1": _affine(width),
            "qkv": _normal(rng, width, 3 * width),
            "out": _normal(rng, width, width),
            "norm_2": _affine(width),
            "up": _normal(rng, width, 4 * width),
            "down": _normal(rng, 4 * width, width),
        }

    blocks: Any = [block_params() for _ in range(depth)]
    if scanned:
        blocks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    params = {"embedding": _normal(rng, 96, width), "positions": _normal(rng, tokens, width), "blocks": blocks,
              "norm": _affine(width)}  # fmt: skip

    def norm(p: Any, x: Any) -> Any:
        return _standardize(x, -1) * p["scale"] + p["bias"]

    def block(x: Any, p: Any) -> Any:
        x = x + attend(p, norm(p["norm_1"], x), heads)
        return x + jax.nn.gelu(norm(p["norm_2"], x) @ p["up"]) @ p["down"]

    def make_loss(wrap: Wrap) -> Callable[..., Any]:
        wrapped = wrap((lambda x, p: (block(x, p), None)) if scanned else (lambda x, p: block(x, p)))

        def loss(params: Any, tokens: Any, labels: Any) -> Any:
            x = params["embedding"][tokens] + params["positions"]
            if scanned:
                x, _ = lax.scan(wrapped, x, params["blocks"])
            else:
                for p in params["blocks"]:
                    x = wrapped(x, p)
            return _cross_entropy(norm(params["norm"], x) @ params["embedding"].T, labels)

        return loss

    ids = jnp.asarray(rng.integers(0, 96, (batch, tokens)))
    return MemoryProblem(make_loss, params, (ids, jnp.roll(ids, -1, axis=1)), scanned)


def unet(widths: tuple[int, ...] = (32, 64, 128), bottom: int = 256, side: int = 32, batch: int = 16) -> MemoryProblem:
    """A U-Net that is to return the noise in its input, three levels down and up; a block is a level's two layers."""
    rng = np.random.default_rng(0)
    groups = 8

    def level_params(n: int, m: int) -> list[dict[str, Any]]:
        return [{"conv": _normal(rng, 3, 3, a, b), "norm": _affine(b)} for a, b in ((n, m), (m, m))]

    # On the way up a level reads what comes from below beside what it kept on the way down.
    params = {
        "down": [level_params(n, m) for n, m in itertools.pairwise((3, *widths))],
        "bottom": level_params(widths[-1], bottom),
        "up": [level_params(below + m, m) for below, m in itertools.pairwise((bottom, *reversed(widths)))],
        "head": _normal(rng, 1, 1, widths[0], 3),
    }

    def norm(p: Any, x_BHWC: Any) -> Any:
        b, h, w, c = x_BHWC.shape
        x = _standardize(x_BHWC.reshape(b, h, w, groups, c // groups), (1, 2, 4))
        return x.reshape(b, h, w, c) * p["scale"] + p["bias"]

    def level(layers: Any, x: Any) -> Any:
        for p in layers:
            x = jax.nn.silu(norm(p["norm"], _convolve(x, p["conv"])))
        return x

    def halve(x_BHWC: Any) -> Any:
        b, h, w, c = x_BHWC.shape
        return jnp.mean(x_BHWC.reshape(b, h // 2, 2, w // 2, 2, c), (2, 4))

    def double(x_BHWC: Any) -> Any:
        return jnp.repeat(jnp.repeat(x_BHWC, 2, axis=1), 2, axis=2)

    def make_loss(wrap: Wrap) -> Callable[..., Any]:
        wrapped = wrap(lambda layers, x: level(layers, x))

        def loss(params: Any, x: Any, noise: Any) -> Any:
            x, skips = x + noise, []
            for layers in params["down"]:
                x = wrapped(layers, x)
                skips.append(x)
                x = halve(x)
            x = wrapped(params["bottom"], x)
            for layers, skip in zip(params["up"], reversed(skips), strict=True):
                x = wrapped(layers, jnp.concatenate([double(x), skip], axis=-1))
            return jnp.mean((_convolve(x, params["head"]) - noise) ** 2)

        return loss

    images, noise = (jnp.asarray(rng.normal(size=(batch, side, side, 3)), jnp.float32) for _ in range(2))
    return MemoryProblem(make_loss, params, (images, noise), scanned=False)


def ode(steps: int = 256, state: int = 32, width: int = 128, batch: int = 64) -> MemoryProblem:
    """An initial value problem by the classical Runge-Kutta method, its field an MLP; a block is a step."""
    rng = np.random.default_rng(0)
    params = {
        "in": _normal(rng, state, width),
        "time": _normal(rng, width),
        "b": jnp.zeros(width),
        "hidden": _normal(rng, width, width),
        "out": _normal(rng, width, state),
    }
    dt = 1.0 / steps

    def make_loss(wrap: Wrap) -> Callable[..., Any]:
        def loss(params: Any, y: Any, target: Any) -> Any:
            def field(t: Any, y: Any) -> Any:
                h = jnp.tanh(y @ params["in"] + t * params["time"] + params["b"])
                return jnp.tanh(h @ params["hidden"]) @ params["out"]

            def step(y: Any, t: Any) -> Any:
                k1 = field(t, y)
                k2 = field(t + dt / 2, y + dt / 2 * k1)
                k3 = field(t + dt / 2, y + dt / 2 * k2)
                k4 = field(t + dt, y + dt * k3)
                return y + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

            y, _ = lax.scan(wrap(step), y, dt * jnp.arange(steps))
            return jnp.mean((y - target) ** 2)

        return loss

    start, target = (jnp.asarray(rng.normal(size=(batch, state)), jnp.float32) for _ in range(2))
    return MemoryProblem(make_loss, params, (start, target), scanned=True)


NETWORKS: dict[str, Callable[[], MemoryProblem]] = {
    "MLP": mlp,
    "ResNet-18": resnet,
    "LSTM-512": lstm,
    "LSTM-4096": functools.partial(lstm, steps=4096, batch=8),
    "transformer-scanned": functools.partial(transformer, scanned=True),
    "transformer-unrolled": functools.partial(transformer, scanned=False),
    "U-Net": unet,
    "ODE": ode,
}

# The same networks in shapes that take a moment, to see that the program runs.
_TINY_GPT = {"depth": 3, "width": 32, "heads": 2, "tokens": 16, "batch": 2}
SMALL: dict[str, Callable[[], MemoryProblem]] = {
    "MLP": functools.partial(mlp, hidden=3, width=64, batch=32),
    "ResNet-18": functools.partial(resnet, stages=(8, 16, 24, 32), side=8, batch=4),
    "LSTM-512": functools.partial(lstm, steps=24, width=16, inputs=8, batch=4),
    "LSTM-4096": functools.partial(lstm, steps=96, width=16, inputs=8, batch=2),
    "transformer-scanned": functools.partial(transformer, scanned=True, **_TINY_GPT),
    "transformer-unrolled": functools.partial(transformer, scanned=False, **_TINY_GPT),
    "U-Net": functools.partial(unet, widths=(8, 8, 16), bottom=16, side=8, batch=2),
    "ODE": functools.partial(ode, steps=12, state=4, width=16, batch=4),
}
