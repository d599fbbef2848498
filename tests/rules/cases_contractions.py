"""Cases for contractions, convolutions and pooling windows."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.rules.contract import Case, case, complex_normal, normal

__all__ = ["CASES", "KINKS"]


def dot(contract: Any, batch: Any) -> Any:
    return lambda a, b: lax.dot_general(a, b, (contract, batch))


def convolve(strides: Any, padding: Any, numbers: Any, **options: Any) -> Any:
    return lambda x, w: lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=numbers, **options)


def pool(operation: Any, start: float, window: Any, strides: Any, padding: Any, **options: Any) -> Any:
    return lambda x: lax.reduce_window(x, start, operation, window, strides, padding, **options)


NHWC = ("NHWC", "HWIO", "NHWC")
NCHW = ("NCHW", "OIHW", "NCHW")
IMAGE = normal(2, 6, 7, 4)
KERNEL = normal(3, 2, 4, 6)
FULL, STEP = (1, 2, 3, 1), (1, 2, 2, 1)
AROUND = ((0, 0), (1, 0), (1, 1), (0, 0))


def pooled_slope(x: Any) -> Any:
    """A program that holds select_and_scatter_add."""
    return jax.grad(lambda x: jnp.sum(jnp.sin(pool(lax.max, -jnp.inf, FULL, STEP, AROUND)(x))))(x)


def gathered(x: Any, t: Any) -> Any:
    """A program that holds select_and_gather_add."""
    return jax.jvp(pool(lax.max, -jnp.inf, FULL, STEP, AROUND), (x,), (t,))[1]


CASES: list[Case] = [
    case("dot_general", dot(((1,), (0,)), ((), ())), normal(3, 4), normal(4, 5)),
    case("dot_general", dot(((0,), (1,)), ((), ())), normal(4, 3), normal(5, 4), label="transposed"),
    case("dot_general", dot(((2,), (1,)), ((0,), (0,))), normal(2, 3, 4), normal(2, 4, 5), label="batch"),
    case("dot_general", dot(((3, 1), (0, 2)), ((2,), (3,))), normal(3, 4, 2, 5), normal(5, 6, 4, 2), label="mixed axes"),
    case("dot_general", dot(((1, 2), (2, 0)), ((), ())), normal(3, 4, 2), normal(2, 5, 4), label="two, permuted"),
    case("dot_general", dot(((), ()), ((), ())), normal(3), normal(2, 4), label="outer"),
    case("dot_general", dot(((1,), (0,)), ((), ())), complex_normal(3, 4), complex_normal(4, 5), label="complex"),
    case("conv_general_dilated", convolve((1, 1), "SAME", NHWC), IMAGE, KERNEL),
    case("conv_general_dilated", convolve((2, 3), "VALID", NHWC), IMAGE, KERNEL, label="strides"),
    case("conv_general_dilated", convolve((2, 1), ((1, 3), (0, 2)), NHWC), IMAGE, KERNEL, label="padding"),
    case("conv_general_dilated", convolve((1, 2), ((-1, 1), (2, -1)), NHWC), IMAGE, KERNEL, label="negative padding"),
    case("conv_general_dilated", convolve((1, 2), "SAME", NHWC, rhs_dilation=(2, 1)), IMAGE, KERNEL, label="dilated"),
    case("conv_general_dilated", convolve((2, 1), ((1, 1), (0, 1)), NHWC, lhs_dilation=(2, 3)), IMAGE, KERNEL, label="base"),
    case("conv_general_dilated", convolve((1, 2), "SAME", NCHW), normal(2, 4, 6, 7), normal(6, 4, 3, 2), label="NCHW"),
    case("conv_general_dilated", convolve((2,), "SAME", ("NWC", "WIO", "NWC")), normal(2, 7, 3), normal(3, 3, 4), label="1D"),
    case("conv_general_dilated", convolve((1, 2, 1), "SAME", ("NDHWC", "DHWIO", "NDHWC")), normal(1, 3, 4, 5, 2),
         normal(2, 3, 2, 2, 3), label="3D"),
    case("conv_general_dilated", convolve((2, 1), "SAME", NHWC, feature_group_count=2), IMAGE, normal(3, 2, 2, 6),
         label="feature groups"),
    case("conv_general_dilated", convolve((1, 1), "SAME", NHWC, feature_group_count=4), IMAGE, normal(3, 2, 1, 8),
         label="depthwise"),
    case("conv_general_dilated", convolve((1, 2), "SAME", NCHW, feature_group_count=2), normal(2, 4, 6, 7),
         normal(6, 2, 3, 2), label="NCHW groups"),
    case("conv_general_dilated", convolve((2, 1), "SAME", NHWC, batch_group_count=2), normal(4, 6, 7, 3),
         normal(3, 2, 3, 4), label="batch groups"),
    case("conv_general_dilated", convolve((1, 1), "SAME", NHWC), complex_normal(1, 4, 5, 2), complex_normal(3, 2, 2, 3),
         label="complex"),
    case("reduce_window_sum", pool(lax.add, 0.0, FULL, STEP, AROUND), IMAGE),
    case("reduce_window_sum", pool(lax.add, 0.0, FULL, STEP, "VALID", window_dilation=(1, 2, 2, 1)), IMAGE, label="dilated"),
    case("reduce_window_sum", pool(lax.add, 0.0, FULL, STEP, "SAME", base_dilation=(1, 2, 1, 1)), IMAGE, label="base"),
    case("reduce_window_max", pool(lax.max, -np.inf, FULL, STEP, AROUND), IMAGE),
    case("reduce_window_max", pool(lax.max, -np.inf, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"), IMAGE, label="disjoint"),
    case("reduce_window_min", pool(lax.min, np.inf, FULL, STEP, AROUND), IMAGE),
    case("select_and_scatter_add", pooled_slope, IMAGE),
    case("select_and_gather_add", gathered, IMAGE, 2 * IMAGE),
]  # fmt: skip

KINKS: list[Case] = [
    case("reduce_window_max", pool(lax.max, -np.inf, (1, 2, 2, 1), (1, 1, 1, 1), "VALID"), np.round(IMAGE), label="ties",
         numeric=False),
]  # fmt: skip
