"""Cases of conv_general_dilated: layouts, strides, dilations, groups of both kinds, asymmetric and negative padding."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.oracles import complex_normal, normal
from tests.rules.contract import Case, case

__all__ = ["CASES"]


def _conv(strides, padding, numbers=None, **how):
    return lambda x, w: lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=numbers, **how)


def _c(fun, x, w, label, numeric=True):
    return case("conv_general_dilated", fun, x, w, label=label, numeric=numeric)


_X1, _W1 = normal(2, 3, 9), normal(4, 3, 3)
_X2, _W2 = normal(2, 3, 7, 6), normal(4, 3, 3, 2)
_NHWC = ("NHWC", "HWIO", "NHWC")

CASES: list[Case] = [
    _c(_conv((1,), "VALID"), _X1, _W1, "1D"),
    _c(_conv((1,), "SAME"), _X1, _W1, "same"),
    _c(_conv((3,), [(2, 0)]), _X1, _W1, "strided, asymmetric"),
    _c(_conv((2,), [(-1, 1)]), _X1, _W1, "negative before"),
    _c(_conv((2,), [(1, -2)]), _X1, _W1, "negative after"),
    _c(_conv((1,), [(4, 5)]), _X1, _W1, "padding beyond the window"),
    _c(_conv((2,), [(2, 3)], lhs_dilation=(3,)), _X1, _W1, "lhs dilation"),
    _c(_conv((1,), [(1, 2)], rhs_dilation=(2,)), _X1, _W1, "rhs dilation"),
    _c(_conv((3,), [(2, -1)], lhs_dilation=(2,), rhs_dilation=(3,)), _X1, _W1, "both dilations, strided"),
    _c(_conv((1, 1), "SAME"), _X2, _W2, "2D"),
    _c(_conv((2, 3), [(1, 0), (0, 2)]), _X2, _W2, "2D strided"),
    _c(_conv((2, 1), [(1, 0), (-1, 2)], lhs_dilation=(1, 2), rhs_dilation=(2, 1)), _X2, _W2, "2D dilated"),
    _c(_conv((2, 1), "SAME", _NHWC), normal(2, 7, 6, 3), normal(3, 2, 3, 4), "NHWC"),
    _c(_conv((1, 2), "SAME", ("CWNH", "OHIW", "HNCW")), normal(3, 6, 2, 7), normal(4, 3, 3, 2), "odd layout"),
    _c(_conv((1, 1), "VALID", _NHWC), normal(2, 5, 4, 3), normal(1, 1, 3, 6), "1 × 1"),
    _c(_conv((1, 2, 1), "SAME"), normal(1, 2, 3, 5, 4), normal(3, 2, 2, 3, 1), "3D"),
    _c(_conv((), []), normal(2, 3), normal(4, 3), "0D"),
    _c(_conv((1,), [(1, 1)], feature_group_count=2), normal(2, 4, 7), normal(6, 2, 3), "feature groups"),
    _c(_conv((2,), [(1, 0)], feature_group_count=4), normal(2, 4, 7), normal(8, 1, 3), "depthwise"),
    _c(
        _conv((2, 1), [(1, 0), (2, 1)], _NHWC, feature_group_count=3, rhs_dilation=(1, 2)),
        normal(2, 7, 6, 6),
        normal(3, 2, 2, 9),
        "NHWC feature groups",
    ),
    _c(_conv((1,), [(1, 1)], batch_group_count=2), normal(4, 3, 7), normal(6, 3, 3), "batch groups"),
    _c(
        _conv((2, 1), [(1, 0), (0, 1)], _NHWC, batch_group_count=3, lhs_dilation=(1, 2)),
        normal(6, 5, 4, 2),
        normal(3, 2, 2, 9),
        "NHWC batch groups",
    ),
    _c(_conv((1,), "SAME", precision=(lax.Precision.HIGHEST, lax.Precision.DEFAULT)), _X1, _W1, "precision"),
    _c(_conv((2,), "SAME"), complex_normal(2, 3, 9), complex_normal(4, 3, 3), "complex"),
    _c(
        lambda x, w: lax.conv_general_dilated(
            x.astype(np.float32), w.astype(np.float32), (2,), "SAME", preferred_element_type=np.float64
        ),
        _X1,
        _W1,
        "wider result",
        numeric=False,
    ),
    _c(_conv((1,), "VALID"), normal(0, 3, 9), _W1, "empty batch"),
    _c(_conv((1,), "VALID"), normal(2, 3, 2), _W1, "window larger than the operand"),
    _c(_conv((1,), "VALID"), normal(2, 0, 9), normal(4, 0, 3), "no features"),
    _c(jnp.convolve, normal(7), normal(3), "numpy"),
    _c(lambda x, w: lax.conv_transpose(x, w, (2, 3), "SAME"), normal(2, 3, 4, 3), normal(3, 2, 3, 5), "conv_transpose"),
]
