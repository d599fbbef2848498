"""The rule of ``conv_general_dilated``: the cotangent of either factor is one convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import lax

from functional_dl.rules.table import vjp

__all__ = ["dilated", "input_padding"]


def dilated(sizes: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Sizes once ``dilation − 1`` zeros stand between entries."""
    return [(n - 1) * d + 1 if n else 0 for n, d in zip(sizes, dilation, strict=True)]


def input_padding(
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    out: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> list[tuple[int, int]]:
    """Padding of the strided-out cotangent so that sliding the window over it gives the input's cotangent.

    Output o touches inputs from o·s − lo on; seen from the input that is a window reaching k − 1 − lo back, where
    k is the dilated window, and as far forward as makes the count come out.
    """
    full, k, reach = dilated(sizes, base_dilation), dilated(window, window_dilation), dilated(out, strides)
    before = [k_ - 1 - lo for k_, (lo, _) in zip(k, padding, strict=True)]
    after = [n + k_ - 1 - r - b for n, k_, r, b in zip(full, k, reach, before, strict=True)]
    return list(zip(before, after, strict=True))


def _move_groups(x: Any, source: int, target: int, groups: int) -> Any:
    """Take ``groups`` (the slower-varying part of axis ``source``) over to the front of axis ``target``."""
    shape = list(x.shape)
    shape[source : source + 1] = [groups, x.shape[source] // groups]
    parted = lax.reshape(x, shape)
    axes = [i for i in range(parted.ndim) if i != source]
    at = axes.index(target if target < source else target + 1)
    order = [*axes[:at], source, *axes[at:]]
    moved = lax.transpose(parted, order)
    sizes = list(moved.shape)
    sizes[at : at + 2] = [sizes[at] * sizes[at + 1]]
    return lax.reshape(moved, sizes)


def _swapped(spec: Sequence[int]) -> tuple[int, ...]:
    """A layout with its first two roles exchanged (batch with feature, out- with in-feature)."""
    return (spec[1], spec[0], *spec[2:])


@vjp("conv_general_dilated")
def conv_general_dilated(
    ct: Any,
    y: Any,
    x: Any,
    w: Any,
    *,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
    precision: Any,
    preferred_element_type: Any,
    out_sharding: Any = None,
) -> Sequence[Any]:
    """y = x ∗ w.   x̄ = ȳ ∗ w reversed, features exchanged;  w̄ = x ∗ ȳ, batch and features exchanged.

    Strides of the one direction are dilations of the other.  Groups: the cotangent of x has the groups of w's
    output features as feature groups; that of w turns feature groups into batch groups and the reverse.
    """
    numbers = dimension_numbers
    xs, ws, ys = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    sizes, window, out = ([v.shape[i] for i in spec[2:]] for v, spec in ((x, xs), (w, ws), (ct, ys)))
    options = {"precision": precision, "preferred_element_type": preferred_element_type}

    groups = max(feature_group_count, batch_group_count)
    kernel = _move_groups(w, ws[0], ws[1], groups) if groups > 1 else w
    x_bar = lax.conv_general_dilated(
        ct,
        lax.rev(kernel, ws[2:]),
        window_strides=lhs_dilation,
        padding=input_padding(sizes, window, window_strides, out, padding, lhs_dilation, rhs_dilation),
        lhs_dilation=window_strides,
        rhs_dilation=rhs_dilation,
        dimension_numbers=lax.ConvDimensionNumbers(ys, _swapped(ws), xs),
        feature_group_count=groups,
        **options,
    )
    if batch_group_count > 1:
        x_bar = _move_groups(x_bar, xs[1], xs[0], batch_group_count)

    full, k, reach = dilated(sizes, lhs_dilation), dilated(window, rhs_dilation), dilated(out, window_strides)
    low = [lo for lo, _ in padding]
    high = [r - n + k_ - lo - 1 for r, n, k_, lo in zip(reach, full, k, low, strict=True)]
    w_bar = lax.conv_general_dilated(
        x,
        ct,
        window_strides=rhs_dilation,
        padding=list(zip(low, high, strict=True)),
        lhs_dilation=lhs_dilation,
        rhs_dilation=window_strides,
        dimension_numbers=lax.ConvDimensionNumbers(_swapped(xs), _swapped(ys), _swapped(ws)),
        feature_group_count=batch_group_count,
        batch_group_count=feature_group_count,
        **options,
    )
    return [
        g if g.dtype == v.dtype else lax.convert_element_type(g, v.dtype) for g, v in ((x_bar, x), (w_bar, w))
    ]
