"""Cases for reductions and cumulative reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import lax

from tests.oracles import complex_normal, normal, uniform
from tests.rules.contract import Case, case

__all__ = ["CASES", "KINKS"]

X = normal(2, 3, 4)


def reduced(operation: str, axes: tuple[int, ...]):
    return lambda x: getattr(lax, operation)(x, axes)


def cumulated(operation: str, axis: int, reverse: bool) -> Callable[[Any], Any]:
    return lambda x: getattr(lax, operation)(x, axis=axis, reverse=reverse)


ZEROS = np.array([[0.0, 2.0, 3.0, 0.0], [1.0, 0.0, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
TIES = np.array([[1.0, 2.0, 2.0, 0.0], [3.0, 3.0, 3.0, 1.0], [1.0, 0.0, 0.0, 1.0]])

CASES: list[Case] = [
    *[
        case(name, reduced(name, axes), X, label=str(axes))
        for name in ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")
        for axes in ((0,), (1, 2), (0, 1, 2))
    ],
    case("reduce_sum", reduced("reduce_sum", (1,)), complex_normal(3, 5), label="complex"),
    case("reduce_prod", reduced("reduce_prod", (1,)), complex_normal(3, 5), label="complex"),
    case("reduce_prod", reduced("reduce_prod", (1,)), ZEROS, label="zeros"),
    *[
        case(name, cumulated(name, axis, reverse), X, label=f"{axis}{'r' if reverse else ''}")
        for name in ("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
        for axis, reverse in ((0, False), (2, True))
    ],
    case("cumprod", lambda x: lax.cumprod(x, axis=1), ZEROS, label="zeros"),
    case("cumprod", lambda x: lax.cumprod(x, axis=1, reverse=True), ZEROS, label="zeros, reverse"),
    case("cumprod", lambda x: lax.cumprod(x, axis=0), complex_normal(4, 3), label="complex"),
    case("cumsum", lambda x: lax.cumsum(x, axis=1), uniform(0, 1, 3, 1), label="one entry"),
]

KINKS: list[Case] = [
    case("reduce_max", reduced("reduce_max", (1,)), TIES, label="ties", numeric=False),
    case("reduce_min", reduced("reduce_min", (0, 1)), TIES, label="ties", numeric=False),
    case("cummax", lambda x: lax.cummax(x, axis=1), TIES, label="ties", numeric=False),
    case("cummin", lambda x: lax.cummin(x, axis=1, reverse=True), TIES, label="ties", numeric=False),
]
