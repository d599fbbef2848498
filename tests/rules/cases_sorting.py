"""Cases of sort and top-k: several operands and keys, every axis, equal entries, empty operands."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.oracles import complex_normal, normal
from tests.rules.contract import Case, case

__all__ = ["CASES", "KINKS"]

X, Y = normal(3, 5), normal(2, 3, 4)


def _sort(**how):
    return lambda *xs: lax.sort(xs, **how)


CASES: list[Case] = [
    case("sort", lambda x: lax.sort(x), X),
    case("sort", lambda x: lax.sort(x, dimension=1, is_stable=False), Y, label="middle axis, unstable"),
    case("sort", lambda x: lax.sort(x, dimension=0), normal(6), label="1D"),
    case("sort", _sort(num_keys=1), X, normal(3, 5, seed=1), label="key and value"),
    case("sort", _sort(num_keys=2, dimension=0), X, normal(3, 5, seed=1), normal(3, 5, seed=2), label="two keys"),
    case("sort", lambda k, v: lax.sort((k, v), num_keys=1)[1], X, normal(3, 5, seed=1), label="value read"),
    case("sort", lambda v: lax.sort((np.arange(15).reshape(3, 5) % 4, v), num_keys=1)[1], X, label="integer key"),
    case("sort", lambda x: lax.sort((x, np.arange(15).reshape(3, 5)), num_keys=1), X, label="integer value"),
    case("sort", lambda x: -jnp.sort(-x, axis=0), X, label="descending"),
    case("sort", jnp.median, X, label="median"),
    case("sort", lambda x: lax.sort(x), complex_normal(3, 5), label="complex"),
    case("sort", lambda x: lax.sort(x), normal(3, 0), label="empty"),
    case("top_k", lambda x: lax.top_k(x, 2), X),
    case("top_k", lambda x: lax.top_k(x, 2)[0], Y, label="values read"),
    case("top_k", lambda x: lax.top_k(x, 2, axis=0), X, label="first axis"),
    case("top_k", lambda x: lax.top_k(x, 5)[0], X, label="all"),
    case("top_k", lambda x: lax.top_k(x, 0)[0], X, label="none"),
    case("approx_top_k", lambda x: lax.approx_max_k(x, 2), X, label="max"),
    case("approx_top_k", lambda x: lax.approx_min_k(x, 2, reduction_dimension=1), Y, label="min, middle axis"),
]

_TIES = np.array([[2.0, 1.0, 2.0, 1.0, 2.0], [0.0, -0.0, 0.0, 1.0, 1.0]])

KINKS: list[Case] = [
    case("sort", lambda x: lax.sort(x), _TIES, label="ties", numeric=False),
    case("sort", _sort(num_keys=2), _TIES, _TIES[::-1].copy(), label="ties of two keys", numeric=False),
    case("top_k", lambda x: lax.top_k(x, 3), _TIES, label="ties", numeric=False),
]
