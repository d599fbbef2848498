"""Cases of contractions by groups and of block-scaled operands."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import lax
from jax.nn import scaled_matmul

from tests.oracles import normal
from tests.rules.contract import Case, case

__all__ = ["CASES"]

_SIZES = np.array([2, 0, 3], np.int32)  # one place less than there is: the last belongs to no group


def _ragged(contract: Any, batch: Any, ragged: int, group: list[int], sizes: np.ndarray = _SIZES) -> Any:
    numbers = lax.RaggedDotDimensionNumbers((contract, batch), [ragged], group)
    return lambda a, b: lax.ragged_dot_general(a, b, sizes, numbers)


CASES: list[Case] = [
    # JAX differentiates the first mode once: its transpose in b is of the second, which has none in JAX.
    case("ragged_dot_general", lambda a, b: lax.ragged_dot(a, b, _SIZES), normal(6, 2), normal(3, 2, 4), refused=2),
    case(
        "ragged_dot_general",
        _ragged(([1, 4], [3, 1]), ([0], [2]), 2, [4], np.array([[1, 1, 2], [0, 3, 0]], np.int32)),
        normal(2, 3, 4, 1, 2),
        normal(5, 2, 2, 3, 3),
        label="shuffled, sizes by batch",
        refused=2,
    ),
    case(
        "ragged_dot_general",
        _ragged(([0], [1]), ([], []), 0, []),
        normal(6, 2),
        normal(4, 6),
        label="contracted",
        refused=1,
    ),
    case(
        "ragged_dot_general",
        _ragged(([3, 1], [0, 2]), ([0], [1]), 1, [], np.array([[[1, 1]] * 2, [[0, 2]] * 2], np.int32)),
        normal(2, 3, 4, 2),
        normal(2, 2, 3, 5),
        label="contracted, sizes by axes before",
        refused=1,
    ),
    case(
        "ragged_dot_general",
        _ragged(([2], [1]), ([0], [0]), 0, []),
        normal(5, 2, 3),
        normal(5, 3, 4),
        label="batched",
        refused=1,
    ),
    case(
        "scaled_dot",  # rounds to bfloat16 inside: see test_scaled.py
        lambda a, b, s, t: lax.scaled_dot(
            a,
            b,
            lhs_scale=s,
            rhs_scale=t,
            dimension_numbers=(((1,), (0,)), ((), ())),
            preferred_element_type=np.float64,
        ),
        normal(3, 4),
        normal(4, 2),
        normal(3, 2),
        normal(2, 2),
        numeric=False,
        order=1,
        refused=1,
    ),
]
if jax.__version_info__ >= (0, 11):  # before, it runs on the newest GPUs alone
    CASES.append(
        case(
            "scaled_matmul_wrapper",
            lambda a, b, s, t: scaled_matmul(a, b, s, t, preferred_element_type=np.float64),
            normal(2, 3, 4),
            normal(2, 5, 4),
            normal(2, 3, 2),
            normal(2, 5, 2),
            refused=1,
        )
    )
