"""Cases of pooling: sums and maxima under strides, padding and dilations, and where entries of a window are equal."""

from __future__ import annotations

import jax
import numpy as np
from jax import lax
from jax.extend.core import primitives

from tests.oracles import complex_normal, normal
from tests.rules.contract import Case, case

__all__ = ["CASES", "KINKS"]

_REDUCERS = {
    "reduce_window_sum": (lax.add, 0.0),
    "reduce_window_max": (lax.max, -np.inf),
    "reduce_window_min": (lax.min, np.inf),
}


def _pool(name, window, strides=None, padding="VALID", base=None, holes=None):
    reducer, start = _REDUCERS[name]
    return lambda x: lax.reduce_window(x, np.asarray(start, x.dtype), reducer, window, strides, padding, base, holes)


def _select(select, window, strides, padding):
    """select_and_scatter_add on its own: what a max-pool's backward is made of."""
    how = {"select_prim": select, "window_dimensions": window, "window_strides": strides, "padding": padding}
    return lambda source, x: primitives.select_and_scatter_add_p.bind(source, x, **how)


def _tangent(pool):
    """JAX's forward mode of a pool, which holds select_and_gather_add."""
    return lambda t, x: jax.jvp(pool, (x,), (t,))[1]


# Window, strides, padding, base dilation, window dilation.
_GEOMETRIES = {
    "1D": ((3,), None, "VALID", None, None),
    "strided": ((3,), (2,), "SAME", None, None),
    "asymmetric": ((4,), (3,), ((2, 1),), None, None),
    "tiles": ((2,), (2,), "VALID", None, None),
    "tiles, rest": ((3,), (3,), "VALID", None, None),
    "tiles, padded": ((3,), (3,), ((0, 2),), None, None),
    "whole": ((7,), (7,), "VALID", None, None),
    "window 1": ((1,), (2,), "VALID", None, None),
    "base dilation": ((3,), (1,), ((1, 0),), (2,), None),
    "base dilation, strided": ((4,), (3,), ((2, 3),), (2,), None),
}
_HOLES = {
    "window dilation": ((3,), (1,), ((1, 2),), None, (2,)),
    "all dilations": ((2,), (2,), ((1, 2),), (3,), (2,)),
}

CASES: list[Case] = []
for _name in _REDUCERS:
    for _label, _geometry in (_GEOMETRIES | _HOLES).items():
        if _name == "reduce_window_sum" or _label not in _HOLES:
            CASES.append(case(_name, _pool(_name, *_geometry), normal(7), label=_label))
    CASES += [
        case(_name, _pool(_name, (1, 2, 3, 1), (1, 2, 1, 1), "SAME"), normal(2, 5, 4, 3), label="NHWC"),
        case(_name, _pool(_name, (1, 2, 2, 1), (1, 2, 2, 1)), normal(2, 5, 6, 3), label="NHWC tiles"),
        case(_name, _pool(_name, (2, 3), (1, 2), ((1, 0), (0, 2)), (1, 2)), normal(3, 5), label="2D base dilation"),
        case(_name, _pool(_name, (1, 3)), normal(0, 5), label="empty"),
        case(_name, _pool(_name, (2, 6)), normal(3, 5), label="no window fits"),
    ]

CASES += [
    case(
        "reduce_window_sum", _pool("reduce_window_sum", (2, 2), (1, 1), "SAME"), complex_normal(3, 5), label="complex"
    ),
    case("reduce_window_sum", _pool("reduce_window_sum", (2,), (2,), ((-1, -2),)), normal(9), label="negative padding"),
    case("reduce_window_sum", _pool("reduce_window_sum", (2,), (3,), ((-1, 2),)), normal(9), label="mixed padding"),
    case("select_and_scatter_add", _select(primitives.ge_p, (3,), (2,), ((1, 1),)), normal(4), normal(7), label="max"),
    case(
        "select_and_scatter_add",
        _select(primitives.le_p, (1, 2, 2), (1, 2, 1), ((0, 0), (0, 1), (0, 0))),
        normal(2, 2, 3),
        normal(2, 3, 4),
        label="min",
    ),
    case(
        "select_and_gather_add",
        _tangent(_pool("reduce_window_max", (2, 3), (1, 2), "SAME")),
        normal(3, 5, seed=1),
        normal(3, 5),
    ),
    case(
        "select_and_gather_add",
        _tangent(_pool("reduce_window_min", (4,), (1,), ((1, 2),), (2,))),
        normal(5, seed=1),
        normal(5),
        label="base dilation",
    ),
]

_TIES = np.array([1.0, 2.0, 2.0, 0.0, 2.0, 1.0, 1.0, 1.0])
_TIES_2D = np.array([[1.0, 1.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])

KINKS: list[Case] = [
    case(name, _pool(name, window, strides, padding), x, label=f"ties {label}", numeric=False)
    for name in ("reduce_window_max", "reduce_window_min")
    for label, x, window, strides, padding in [
        ("1D", _TIES, (3,), (1,), "SAME"),
        ("strided", _TIES, (3,), (2,), ((1, 1),)),
        ("2D", _TIES_2D, (2, 3), (1, 2), "SAME"),
        ("all equal", np.zeros((3, 4)), (2, 2), (1, 2), "VALID"),
    ]
]
