"""The rule of conv_general_dilated: each cotangent of a convolution is one convolution, whatever its geometry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import Array, lax

from functional_dl.rules.contractions import cast_cotangent
from functional_dl.rules.shapes import Cts, explicit_sharding
from functional_dl.rules.table import vjp

__all__ = ["dilated_size", "transposed_padding"]


def dilated_size(n: int, dilation: int) -> int:
    """The length of ``n`` entries with ``dilation - 1`` holes between neighbours."""
    return (n - 1) * dilation + 1 if n else 0


def transposed_padding(
    sizes: Sequence[int],
    window: Sequence[int],
    out: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> list[tuple[int, int]]:
    """The padding that lets a reversed window run over a dilated cotangent, back onto the (dilated) operand.

    On one axis let N, K, O be the dilated lengths of operand, window and output.  Output o reads operand
    positions o - lo … o - lo + K - 1; so position p is read by outputs p + lo - (K - 1) … p + lo: K - 1 - lo are
    missing before the first, and the total must leave N results: N = O + lo' + hi' - K + 1.
    """
    pads = []
    for n, k, o, s, (lo, _), d, r in zip(
        sizes, window, out, strides, padding, base_dilation, window_dilation, strict=True
    ):
        reach = dilated_size(k, r)
        before = reach - 1 - lo
        pads.append((before, dilated_size(n, d) + reach - 1 - dilated_size(o, s) - before))
    return pads


def _split_axis(x: Array, axis: int, groups: int, into: int) -> Array:
    """Split ``axis`` into (groups, rest) and merge the groups into axis ``into``, as its outer part."""
    if groups == 1:
        return x
    shape = list(x.shape)
    shape[axis : axis + 1] = [groups, shape[axis] // groups]
    order = [i for i in range(x.ndim + 1) if i != axis]  # without the groups, which stood at `axis`
    order.insert(into, axis)
    moved = lax.transpose(lax.reshape(x, shape), order)
    merged = list(x.shape)
    merged[axis] //= groups
    merged[into] *= groups
    return lax.reshape(moved, merged)


def _spatial(shape: Sequence[int], spec: Sequence[int]) -> list[int]:
    """The spatial sizes of ``shape``, in the order of ``spec`` (whose first two entries are batch and feature)."""
    return [shape[i] for i in spec[2:]]


def _swapped(spec: Sequence[int]) -> tuple[int, ...]:
    """``spec`` with its first two axes exchanged: batch and feature, or output and input feature."""
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
) -> Cts:
    """y[n, o, t] = Σ_{i, k} x[n, i, s t + r k - lo] w[o, i, k]  (s stride, r dilation of w; x may be dilated too).

    x̄ = ȳ dilated by s, correlated with w reversed, inputs and outputs exchanged; its stride is the dilation of x.
    w̄ = x correlated with ȳ dilated by s, where batch and features change places; its stride is r.
    Groups: for x̄ they move from the output to the input features of w (and, for batch groups, from the features of
    x̄ back to its batch); for w̄ feature groups become batch groups and batch groups feature groups.
    """
    x_spec, w_spec, y_spec = dimension_numbers
    sizes, window, out = _spatial(x.shape, x_spec), _spatial(w.shape, w_spec), _spatial(ct.shape, y_spec)
    how = {"precision": precision, "preferred_element_type": preferred_element_type}

    groups = feature_group_count * batch_group_count  # at most one of the two is not 1
    kernel = _split_axis(w, w_spec[0], groups, w_spec[1])
    turned = [i for i in w_spec[2:] if w.shape[i] > 1]
    if turned:
        kernel = lax.rev(kernel, turned)
    pads = transposed_padding(sizes, window, out, window_strides, padding, lhs_dilation, rhs_dilation)
    x_ct = lax.conv_general_dilated(
        ct,
        kernel if kernel.dtype == ct.dtype else lax.convert_element_type(kernel, ct.dtype),
        window_strides=lhs_dilation,
        padding=pads,
        lhs_dilation=window_strides,
        rhs_dilation=rhs_dilation,
        dimension_numbers=lax.ConvDimensionNumbers(y_spec, _swapped(w_spec), x_spec),
        feature_group_count=groups,
        out_sharding=explicit_sharding(x),
        **how,
    )
    x_ct = _split_axis(x_ct, x_spec[1], batch_group_count, x_spec[0])
    if ct.size == 0:  # a window of size 0 is not a convolution
        return cast_cotangent(x_ct, x), lax.full_like(w, 0)

    lows = [lo for lo, _ in padding]
    reaches = [dilated_size(k, r) for k, r in zip(window, rhs_dilation, strict=True)]
    spans = [dilated_size(o, s) for o, s in zip(out, window_strides, strict=True)]
    widths = [dilated_size(n, d) for n, d in zip(sizes, lhs_dilation, strict=True)]
    # As many results as the dilated window is long: reach = width + lo + hi - span + 1.
    pads = [(lo, k + o - 1 - n - lo) for lo, k, o, n in zip(lows, reaches, spans, widths, strict=True)]
    w_ct = lax.conv_general_dilated(
        x if x.dtype == ct.dtype else lax.convert_element_type(x, ct.dtype),
        ct,
        window_strides=rhs_dilation,
        padding=pads,
        lhs_dilation=lhs_dilation,
        rhs_dilation=window_strides,
        dimension_numbers=lax.ConvDimensionNumbers(_swapped(x_spec), _swapped(y_spec), _swapped(w_spec)),
        feature_group_count=batch_group_count,
        batch_group_count=feature_group_count,
        out_sharding=explicit_sharding(w),
        **how,
    )
    return cast_cotangent(x_ct, x), cast_cotangent(w_ct, w)
