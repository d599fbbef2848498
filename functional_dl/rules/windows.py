"""Rules of windowed reductions, that is of pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax
from jax.extend.core import primitives

from functional_dl.rules.convolutions import input_padding
from functional_dl.rules.table import RuleError, vjp

__all__: list[str] = []


@vjp("reduce_window_sum")
def reduce_window_sum(
    ct: Any,
    y: Any,
    x: Any,
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> Sequence[Any]:
    """y = sums over windows.   x̄ᵢ = Σ ȳ over the windows that hold i: a windowed sum of ȳ, strides made dilation."""
    around = input_padding(
        x.shape, window_dimensions, window_strides, ct.shape, padding, base_dilation, window_dilation
    )
    config = [(lo, hi, stride - 1) for (lo, hi), stride in zip(around, window_strides, strict=True)]
    return [
        lax.reduce_window(
            lax.pad(ct, np.zeros((), ct.dtype), config),
            np.zeros((), ct.dtype)[()],
            lax.add,
            window_dimensions,
            base_dilation,
            "VALID",
            window_dilation=window_dilation,
        )
    ]


def _undilated(who: str, base_dilation: Any, window_dilation: Any) -> None:
    if any(d != 1 for d in (*base_dilation, *window_dilation)):
        raise RuleError(
            f"The rule for {who} has no dilations (base {tuple(base_dilation)}, window {tuple(window_dilation)} came); "
            "nor has XLA's select-and-scatter that it is made of. Dilate by slicing or padding before."
        )


def _extremum(select: Any, ct: Any, x: Any, params: dict[str, Any], who: str) -> Sequence[Any]:
    _undilated(who, params.pop("base_dilation"), params.pop("window_dilation"))
    return [primitives.select_and_scatter_add_p.bind(ct, x, select_prim=select, **params)]


@vjp("reduce_window_max")
def reduce_window_max(
    ct: Any,
    y: Any,
    x: Any,
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> Sequence[Any]:
    """y = maxima over windows.   ȳ goes to the first maximum of its window."""
    params = dict(window_dimensions=window_dimensions, window_strides=window_strides, padding=padding,
                  base_dilation=base_dilation, window_dilation=window_dilation)  # fmt: skip
    return _extremum(primitives.ge_p, ct, x, params, "reduce_window_max")


@vjp("reduce_window_min")
def reduce_window_min(
    ct: Any,
    y: Any,
    x: Any,
    *,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> Sequence[Any]:
    """y = minima over windows.   ȳ goes to the first minimum of its window."""
    params = dict(window_dimensions=window_dimensions, window_strides=window_strides, padding=padding,
                  base_dilation=base_dilation, window_dilation=window_dilation)  # fmt: skip
    return _extremum(primitives.le_p, ct, x, params, "reduce_window_min")


@vjp("select_and_scatter_add")
def select_and_scatter_add(
    ct: Any,
    y: Any,
    source: Any,
    x: Any,
    *,
    select_prim: Any,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
) -> Sequence[Any]:
    """y = source, each entry put where its window of x has its extremum.   s̄ = ȳ picked up there;  x only chooses."""
    ones = (1,) * x.ndim
    picked = primitives.select_and_gather_add_p.bind(
        ct,
        x,
        select_prim=select_prim,
        window_dimensions=window_dimensions,
        window_strides=window_strides,
        padding=padding,
        base_dilation=ones,
        window_dilation=ones,
    )
    return [picked, lax.full_like(x, 0)]


@vjp("select_and_gather_add")
def select_and_gather_add(
    ct: Any,
    y: Any,
    values: Any,
    x: Any,
    *,
    select_prim: Any,
    window_dimensions: Any,
    window_strides: Any,
    padding: Any,
    base_dilation: Any,
    window_dilation: Any,
) -> Sequence[Any]:
    """y = of each window, the value where x has its extremum.   v̄ = ȳ put back there;  x only chooses."""
    params = dict(window_dimensions=window_dimensions, window_strides=window_strides, padding=padding,
                  base_dilation=base_dilation, window_dilation=window_dilation)  # fmt: skip
    return [*_extremum(select_prim, ct, x, params, "select_and_gather_add"), lax.full_like(x, 0)]


