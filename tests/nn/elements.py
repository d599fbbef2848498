"""Layers for the tests of all of them: each with an input and its values by loops and formulas in float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functional_dl import nn

__all__ = ["CASES", "IMAGE", "KEY", "Case", "assert_near", "cast", "exact", "normed", "reals"]

KEY = jax.random.key(0)


def reals(*shape: int, seed: int = 0, shift: float = 0.0) -> Any:
    return np.random.default_rng(seed).normal(size=shape) + shift


def pads(padding: Any, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    if padding == "VALID":
        return [(0, 0)] * len(sizes)
    if padding == "SAME":
        totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, spans, strides, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(padding, padding)] * len(sizes) if isinstance(padding, int) else list(padding)


def convolved(
    window: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: Any = "SAME", groups: int = 1
) -> Callable[[Any, Any], Any]:
    """Convolution by loops over examples, places, window and groups."""

    def reference(params: Any, x: Any) -> Any:
        kernel = params["kernel"]
        spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
        margins = pads(padding, x.shape[1:-1], spans, stride)
        x = np.pad(x, [(0, 0), *margins, (0, 0)])
        sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:-1], spans, stride, strict=True)]
        per, out = kernel.shape[-2], kernel.shape[-1] // groups
        y = np.zeros((x.shape[0], *sizes, kernel.shape[-1]))
        for place in np.ndindex(*sizes):
            for k in np.ndindex(*window):
                at = tuple(i * s + j * d for i, s, j, d in zip(place, stride, k, dilation, strict=True))
                for g in range(groups):
                    ins, outs = slice(g * per, (g + 1) * per), slice(g * out, (g + 1) * out)
                    y[(slice(None), *place, outs)] += x[(slice(None), *at, ins)] @ kernel[k][:, outs]
        return y + params.get("bias", 0)

    return reference


def spread(window: Sequence[int], stride: Sequence[int], padding: str) -> Callable[[Any, Any], Any]:
    """Transposed convolution by loops: every entry of x adds a kernel to y; SAME cuts what is beyond n · stride."""

    def reference(params: Any, x: Any) -> Any:
        kernel, sizes = params["kernel"], x.shape[1:-1]
        full = [(n - 1) * s + max(k, s) for n, k, s in zip(sizes, window, stride, strict=True)]
        y = np.zeros((x.shape[0], *full, kernel.shape[-1]))
        for place in np.ndindex(*sizes):
            for k in np.ndindex(*window):
                at = tuple(i * s + j for i, s, j in zip(place, stride, k, strict=True))
                y[(slice(None), *at)] += x[(slice(None), *place)] @ kernel[k]
        if padding == "SAME":
            cuts = [(max(k - s, 0) // 2, n * s) for n, k, s in zip(sizes, window, stride, strict=True)]
            y = y[(slice(None), *(slice(a, a + n) for a, n in cuts))]
        else:
            y = y[(slice(None), *(slice((n - 1) * s + k) for n, k, s in zip(sizes, window, stride, strict=True)))]
        return y + params["bias"]

    return reference


def pooled(
    over: Callable[..., Any], window: Sequence[int], stride: Sequence[int], padding: str
) -> Callable[[Any, Any], Any]:
    """``over`` of what each window really covers."""

    def reference(params: Any, x: Any) -> Any:
        sizes = x.shape[1:-1]
        margins = pads(padding, sizes, window, stride)
        many = [(n + a + b - k) // s + 1 for n, (a, b), k, s in zip(sizes, margins, window, stride, strict=True)]
        y = np.zeros((x.shape[0], *many, x.shape[-1]))
        for place in np.ndindex(*many):
            starts = [i * s - a for i, s, (a, _) in zip(place, stride, margins, strict=True)]
            covered = tuple(slice(max(i, 0), i + k) for i, k in zip(starts, window, strict=True))
            y[(slice(None), *place)] = over(x[(slice(None), *covered)], axis=tuple(range(1, x.ndim - 1)))
        return y

    return reference


def normed(x: Any, axes: Any, epsilon: float = 1e-5) -> Any:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def group_normed(groups: int) -> Callable[[Any, Any], Any]:
    def reference(params: Any, x: Any) -> Any:
        parts = [normed(part, tuple(range(1, x.ndim))) for part in np.split(x, groups, axis=-1)]
        return np.concatenate(parts, axis=-1) * params["scale"] + params["bias"]

    return reference


def batch_normed(params: Any, x: Any) -> Any:
    return normed(x, tuple(range(x.ndim - 1))) * params["scale"] + params["bias"]


@dataclass(frozen=True)
class Case:
    """A layer, an input in float64, and y of float64 parameters and input."""

    network: nn.Network
    x: Any
    reference: Callable[[Any, Any], Any]
    training: bool = False

    def y(self, params: Any, x: Any) -> Any:
        return self.network.train(params, x)[0] if self.training else self.network.apply(params, x)

    def params(self, seed: int = 1) -> Any:
        """In the shapes of the layer's own; away from zeros and ones, so that biases and scales show."""
        own = jax.eval_shape(self.network.init, KEY)
        return jax.tree.map(lambda p: jnp.asarray(0.5 + 0.5 * reals(*p.shape, seed=seed), p.dtype), own)


IMAGE, WAVE, SOLID = reals(2, 7, 6, 4), reals(3, 11, 4), reals(2, 4, 5, 3, 2)
CASES: dict[str, Case] = {
    "dense": Case(nn.dense(4, 5), reals(3, 2, 4), lambda p, x: x @ p["kernel"] + p["bias"]),
    "dense, no bias": Case(nn.dense(4, 5, bias=False), reals(3, 4), lambda p, x: x @ p["kernel"]),
    "dense, a vector": Case(nn.dense(4, 5), reals(4), lambda p, x: x @ p["kernel"] + p["bias"]),
    "embedding": Case(nn.embedding(7, 3), np.array([[0, 6, 2], [2, 2, 1]]), lambda p, ids: p["table"][ids]),
    "convolution": Case(nn.convolution(4, 5), IMAGE, convolved((3, 3), (1, 1), (1, 1))),
    "convolution, stride": Case(nn.convolution(4, 5, (3, 2), stride=(2, 3)), IMAGE, convolved((3, 2), (2, 3), (1, 1))),
    "convolution, even window": Case(nn.convolution(4, 3, 4), IMAGE, convolved((4, 4), (1, 1), (1, 1))),
    "convolution, valid, no bias": Case(
        nn.convolution(4, 5, (2, 3), padding="VALID", bias=False), IMAGE, convolved((2, 3), (1, 1), (1, 1), "VALID")
    ),
    "convolution, dilated": Case(
        nn.convolution(4, 5, (3, 2), dilation=(2, 3)), IMAGE, convolved((3, 2), (1, 1), (2, 3))
    ),
    "convolution, groups": Case(nn.convolution(4, 6, groups=2), IMAGE, convolved((3, 3), (1, 1), (1, 1), groups=2)),
    "convolution, by channel": Case(nn.convolution(4, 8, groups=4), IMAGE, convolved((3, 3), (1, 1), (1, 1), groups=4)),
    "convolution, all at once": Case(
        nn.convolution(4, 6, (2, 3), stride=(2, 1), dilation=(1, 2), groups=2, padding=[(2, 1), (0, 3)]),
        IMAGE,
        convolved((2, 3), (2, 1), (1, 2), [(2, 1), (0, 3)], groups=2),
    ),
    "convolution 1-D": Case(
        nn.convolution(4, 6, 3, dimensions=1, stride=2, groups=2, padding=2),
        WAVE,
        convolved((3,), (2,), (1,), 2, groups=2),
    ),
    "convolution 3-D": Case(
        nn.convolution(2, 3, (2, 3, 1), dimensions=3, stride=(1, 2, 1), dilation=(2, 1, 1)),
        SOLID,
        convolved((2, 3, 1), (1, 2, 1), (2, 1, 1)),
    ),
    "transposed": Case(nn.transposed_convolution(4, 3, 3, stride=2), IMAGE, spread((3, 3), (2, 2), "SAME")),
    "transposed, window within stride": Case(
        nn.transposed_convolution(4, 3, (4, 1), stride=(1, 3)), IMAGE, spread((4, 1), (1, 3), "SAME")
    ),
    "transposed, valid": Case(
        nn.transposed_convolution(4, 3, (3, 1), stride=(2, 2), padding="VALID"), IMAGE, spread((3, 1), (2, 2), "VALID")
    ),
    "transposed 1-D": Case(nn.transposed_convolution(4, 2, 5, 1, 3), WAVE, spread((5,), (3,), "SAME")),
    "transposed 3-D": Case(
        nn.transposed_convolution(2, 3, 2, 3, (2, 1, 2), "VALID"), SOLID, spread((2, 2, 2), (2, 1, 2), "VALID")
    ),
    "max pool": Case(nn.max_pool(2), IMAGE, pooled(np.max, (2, 2), (2, 2), "VALID")),
    "max pool, same": Case(
        nn.max_pool((3, 2), stride=(2, 1), padding="SAME"), IMAGE - 9, pooled(np.max, (3, 2), (2, 1), "SAME")
    ),
    "max pool 1-D": Case(nn.max_pool(3, 1, 2), WAVE, pooled(np.max, (3,), (2,), "VALID")),
    "max pool 3-D": Case(nn.max_pool((2, 3, 1), 3), SOLID, pooled(np.max, (2, 3, 1), (2, 3, 1), "VALID")),
    "average pool": Case(nn.average_pool((2, 3)), IMAGE, pooled(np.mean, (2, 3), (2, 3), "VALID")),
    "average pool, same": Case(
        nn.average_pool((4, 3), stride=(2, 2), padding="SAME"), IMAGE + 5, pooled(np.mean, (4, 3), (2, 2), "SAME")
    ),
    "average pool 1-D": Case(nn.average_pool(3, 1, 2, "SAME"), WAVE, pooled(np.mean, (3,), (2,), "SAME")),
    "average pool 3-D": Case(
        nn.average_pool(2, 3, 1, "SAME"), SOLID, pooled(np.mean, (2, 2, 2), (1, 1, 1), "SAME")
    ),
    "global average pool": Case(nn.global_average_pool(), IMAGE, lambda p, x: x.mean((1, 2))),
    "layer norm": Case(nn.layer_norm(4), reals(3, 2, 4), lambda p, x: normed(x, -1) * p["scale"] + p["bias"]),
    "RMS norm": Case(
        nn.rms_norm(4), reals(3, 2, 4), lambda p, x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p["scale"]
    ),
    "group norm": Case(nn.group_norm(4, 2), IMAGE, group_normed(2)),
    "group norm, one group": Case(nn.group_norm(4, 1), WAVE, group_normed(1)),
    "instance norm": Case(nn.group_norm(4, 4), IMAGE, group_normed(4)),
    "group norm, no space": Case(nn.group_norm(6, 2), reals(3, 6), group_normed(2)),
    "batch norm": Case(nn.batch_norm(4), IMAGE, batch_normed, training=True),
    "batch norm, no space": Case(nn.batch_norm(4), reals(5, 4), batch_normed, training=True),
    "batch norm, at first": Case(
        nn.batch_norm(4), IMAGE, lambda p, x: x / np.sqrt(1 + 1e-5) * p["scale"] + p["bias"]
    ),
}  # fmt: skip


def cast(tree: Any, dtype: Any) -> Any:
    """Floating leaves in ``dtype``."""
    return jax.tree.map(lambda x: x if np.asarray(x).dtype.kind in "iu" else jnp.asarray(x, dtype), tree)


def assert_near(y: Any, due: Any, tolerance: float) -> None:
    assert y.shape == due.shape
    np.testing.assert_allclose(np.asarray(y, np.float64), due, rtol=tolerance, atol=tolerance * abs(due).max())


def exact(tree: Any) -> Any:
    return jax.tree.map(lambda x: x if np.asarray(x).dtype.kind in "iu" else np.asarray(x, np.float64), tree)
