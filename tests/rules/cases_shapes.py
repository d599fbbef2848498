"""Cases for operations that move entries: shapes, indexing, sorting."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.rules.contract import Case, case, complex_normal, normal

__all__ = ["CASES", "KINKS"]

X = normal(3, 5)
T = normal(2, 3, 4)
I = np.array([[2, 0], [1, 7]])  # noqa: E741
ROWS = np.array([2, 0, 2, 1])
OUT = np.array([4, -9, 1])

CASES: list[Case] = [
    case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 3, 5), (1, 2)), X),
    case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (3, 4, 5), (0, 2)), normal(1, 5), label="size one"),
    case("reshape", lambda x: lax.reshape(x, (5, 3)), X),
    case("squeeze", lambda x: lax.squeeze(x, (0, 2)), normal(1, 3, 1)),
    case("transpose", lambda x: lax.transpose(x, (2, 0, 1)), T),
    case("transpose", lambda x: lax.transpose(x, (1, 0)), complex_normal(3, 5), label="complex"),
    case("rev", lambda x: lax.rev(x, (0, 2)), T),
    case("slice", lambda x: lax.slice(x, (0, 1), (2, 4)), X),
    case("slice", lambda x: lax.slice(x, (1, 0), (3, 5), (1, 2)), X, label="strides"),
    case("slice", lambda x: lax.slice(x, (0, 1), (3, 5), (2, 3)), X, label="strides with rest"),
    case("pad", lambda x, v: lax.pad(x, v, ((1, 2, 0), (0, 1, 2))), X, np.array(0.3)),
    case("pad", lambda x, v: lax.pad(x, v, ((-1, 2, 1), (1, -2, 0))), X, np.array(0.3), label="negative"),
    case("concatenate", lambda x, y: lax.concatenate([x, y, x], 1), X, normal(3, 2)),
    case("split", lambda x: lax.split(x, (2, 1, 2), 1)[::2], X),
    case("stack", lambda x, y: lax.stack([x, y], 1), X, 2 * X),
    case("unstack", lambda x: lax.unstack(x, 1)[1:], X),
    case("tile", lambda x: lax.tile(x, (2, 3)), X),
    case("optimization_barrier", lambda x, y: lax.optimization_barrier((jnp.sin(x), y)), X, T),
    case("dynamic_slice", lambda x: lax.dynamic_slice(x, (jnp.array(1), jnp.array(4)), (2, 3)), X, label="clamped"),
    case("dynamic_update_slice", lambda x, u: lax.dynamic_update_slice(x, u, (jnp.array(2), jnp.array(1))), X, normal(2, 3)),
    case("gather", lambda x: x[ROWS], X, label="rows"),
    case("gather", lambda x: x[ROWS, :, np.array([0, 1, 1, 3])], normal(3, 2, 4), label="two indices"),
    *[
        case("gather", lambda x, m=mode: x.at[OUT].get(mode=m, fill_value=1.5), normal(5, 2), label=f"outside, {mode}")
        for mode in ("clip", "fill")
    ],
    case("gather", lambda x: jnp.take_along_axis(x, I, axis=1, mode="fill"), normal(2, 5), label="batched"),
    case("scatter-add", lambda x, u: x.at[ROWS].add(u), X, normal(4, 5)),
    case("scatter-add", lambda x, u: x.at[OUT].add(u, mode="drop"), normal(5, 2), normal(3, 2), label="outside"),
    case("scatter-sub", lambda x, u: x.at[ROWS].subtract(u), X, normal(4, 5)),
    case("scatter", lambda x, u: x.at[ROWS[1:]].set(u), X, normal(3, 5)),
    case("scatter", lambda x, u: x.at[OUT].set(u, mode="drop", unique_indices=True), normal(5, 2), normal(3, 2), label="unique"),
    case("scatter-mul", lambda x, u: x.at[ROWS[1:]].multiply(u, unique_indices=True), X, normal(3, 5)),
    case("sort", lambda x: lax.sort(x, dimension=1), X),
    case("sort", lambda x, y: lax.sort((x, y), dimension=0, num_keys=1), X, normal(3, 5, seed=4), label="two operands"),
    case("sort", lambda x: lax.sort((np.arange(15).reshape(3, 5) % 2, x), dimension=1, num_keys=2)[1], X, label="integer key"),
    case("top_k", lambda x: lax.top_k(x, 2)[0], X),
]

KINKS: list[Case] = [
    case("scatter", lambda x, u: x.at[ROWS].set(u), X, normal(4, 5), label="repeated indices", numeric=False),
    case("sort", lambda x: lax.sort(x), np.array([[2.0, 1.0, 1.0], [0.0, 0.0, -1.0]]), label="ties", numeric=False),
]
