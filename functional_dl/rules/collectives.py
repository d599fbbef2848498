"""Rules of collectives: what devices (or members of a named vmap axis) send each other goes back where it came from.

A collective is a linear map on the values of all devices together, so its rule is a collective again.  There are two
readings of a value that is the same on all devices, and JAX has primitives for both:

* without types for it (``check_vma=False``, and named axes of `jax.vmap`) each device has a copy of its own; the
  cotangents of the copies differ, and a sum that all receive is transposed to a sum that all receive;
* with varying-axes types (``check_vma=True``) it is one value, and its cotangent is one value: a sum over devices
  (``psum_invariant``) and the copy to devices (``pvary``) are each other's transposes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import refuse, vjp

__all__: list[str] = []


def _partition(axes: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Named axes and positional ones: a named axis of a `jax.vmap` outside the gradient has become an axis."""
    return tuple(a for a in axes if not isinstance(a, int)), tuple(a for a in axes if isinstance(a, int))


def _spread(value: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Put back the axes that a positional reduction took away."""
    kept = tuple(i for i in range(x.ndim) if i not in axes)
    return lax.broadcast_in_dim(value, x.shape, kept) if axes else value


# --- sums and extrema -------------------------------------------------------------------------------------------


@vjp("psum")
def psum(ct: Any, y: Any, x: Any, *, axes: Any, axis_index_groups: Any) -> Cts:
    """y_d = Σ_e x_e, a copy for each device.   x̄_e = Σ_d ȳ_d."""
    named, positional = _partition(axes)
    if named:
        ct = lax.psum(ct, named, axis_index_groups=axis_index_groups)
    return (_spread(ct, x, positional),)


@vjp("psum_invariant")
def psum_invariant(ct: Any, y: Any, x: Any, *, axes: Any) -> Cts:
    """y = Σ_e x_e, one value.   x̄_e = ȳ."""
    return (lax.pcast(ct, axes, to="varying"),)


@vjp("pvary")
def pvary(ct: Any, y: Any, x: Any, *, axes: Any) -> Cts:
    """y_d = x, one value taken to all devices.   x̄ = Σ_d ȳ_d."""
    return (lax.psum(ct, axes),)


@vjp("pmax", "pmin")
def extremum(ct: Any, y: Any, x: Any, *, axes: Any, axis_index_groups: Any) -> Cts:
    """y = max_e x_e or min_e x_e.   ȳ (where devices have copies of y: Σ_d ȳ_d) is shared equally among the x_e = y.

    JAX has no derivative here.  Devices that tie share as tied entries of ``reduce_max`` do.
    """
    named, positional = _partition(axes)
    chosen = lax.convert_element_type(lax.eq(x, _spread(y, x, positional)), x.dtype)
    count = lax.reduce_sum(chosen, positional) if positional else chosen
    if named:
        count = lax.psum(count, named, axis_index_groups=axis_index_groups)
        if not jax.typeof(x).mat.varying.issuperset(named):
            ct = lax.psum(ct, named, axis_index_groups=axis_index_groups)
    return (lax.mul(_spread(lax.div(ct, count), x, positional), chosen),)


# --- exchanges --------------------------------------------------------------------------------------------------


@vjp("ppermute")
def ppermute(ct: Any, y: Any, x: Any, *, axis_name: Any, perm: Any) -> Cts:
    """y_d = x_e for each pair (e, d), 0 on devices nobody sends to.   x̄_e = ȳ_d, 0 on devices that do not send."""
    return (lax.ppermute(ct, axis_name, [(there, here) for here, there in perm]),)


@vjp("all_gather")
def all_gather(
    ct: Any,
    y: Any,
    x: Any,
    *,
    all_gather_dimension: int,
    axis_name: Any,
    axis_index_groups: Any,
    axis_size: int,
    tiled: bool,
) -> Cts:
    """y_d[e] = x_e, a copy for each device.   x̄_e = Σ_d ȳ_d[e]."""
    return (
        lax.psum_scatter(
            ct, axis_name, scatter_dimension=all_gather_dimension, axis_index_groups=axis_index_groups, tiled=tiled
        ),
    )


@vjp("reduce_scatter")
def reduce_scatter(
    ct: Any,
    y: Any,
    x: Any,
    *,
    axis_name: Any,
    scatter_dimension: int,
    axis_index_groups: Any,
    axis_size: int,
    tiled: bool,
) -> Cts:
    """y_d = Σ_e x_e[d].   x̄_e[d] = ȳ_d."""
    return (lax.all_gather(ct, axis_name, axis_index_groups=axis_index_groups, axis=scatter_dimension, tiled=tiled),)


@vjp("all_gather_invariant")
def all_gather_invariant(
    ct: Any, y: Any, x: Any, *, all_gather_dimension: int, axis_name: Any, axis_size: int, tiled: bool
) -> Cts:
    """y[e] = x_e, one value.   x̄_e = ȳ[e]."""
    size = x.shape[all_gather_dimension] if tiled else 1
    start = lax.axis_index(axis_name) * size
    own = lax.dynamic_slice_in_dim(lax.pcast(ct, axis_name, to="varying"), start, size, all_gather_dimension)
    return (own if tiled else lax.squeeze(own, [all_gather_dimension]),)


@vjp("all_to_all")
def all_to_all(
    ct: Any, y: Any, x: Any, *, axis_name: Any, split_axis: int, concat_axis: int, axis_index_groups: Any, tiled: bool
) -> Cts:
    """y_d[e] = x_e[d].   x̄_e[d] = ȳ_d[e]."""
    # The primitive itself always splits and joins existing axes: `tiled` was seen to before it.
    return (lax.all_to_all(ct, axis_name, concat_axis, split_axis, axis_index_groups=axis_index_groups, tiled=True),)


@vjp("ragged_all_to_all")
def ragged_all_to_all(
    ct: Any,
    y: Any,
    x: Any,
    base: Any,
    input_offsets: Any,
    send_sizes: Any,
    output_offsets: Any,
    recv_sizes: Any,
    *,
    axis_name: Any,
    axis_index_groups: Any,
) -> Cts:
    """y_d = b_d with rows of all x_e written in.   x̄_e = the rows of ȳ_d that came from it, b̄_d = ȳ_d with 0 there.

    Rows return the way they came, so sizes sent and received, and offsets here and there, change places.
    """

    def there(offsets: Any) -> Any:
        return lax.all_to_all(offsets, axis_name, 0, 0, axis_index_groups=axis_index_groups, tiled=True)

    received = there(output_offsets)
    back = lax.ragged_all_to_all(
        ct,
        lax.full_like(x, 0),
        received,
        recv_sizes,
        there(input_offsets),
        send_sizes,
        axis_name=axis_name,
        axis_index_groups=axis_index_groups,
    )
    table = (ct.shape[0], received.shape[0])
    row, first, size = (
        lax.broadcasted_iota(received.dtype, table, 0),
        lax.broadcast_in_dim(received, table, (1,)),
        lax.broadcast_in_dim(recv_sizes, table, (1,)),
    )
    written = lax.reduce_or(lax.ge(row, first) & lax.lt(row, first + size), (1,))
    rest = lax.select(lax.broadcast_in_dim(written, ct.shape, (0,)), lax.full_like(ct, 0), ct)
    return back, rest, None, None, None, None


def _to_source(ct: Any, axis_name: Any, source: Any) -> Any:
    total = lax.psum(ct, axis_name)
    here = lax.broadcast_in_dim(lax.axis_index(axis_name) == source, ct.shape, ())
    return lax.select(here, total, lax.full_like(total, 0))


@vjp("pbroadcast")
def pbroadcast(ct: Any, y: Any, x: Any, *, axis_name: Any, source: int) -> Cts:
    """y_d = x_s.   x̄_s = Σ_d ȳ_d, 0 on all other devices."""
    return (_to_source(ct, axis_name, source),)


@vjp("pbroadcast_dynamic")
def pbroadcast_dynamic(ct: Any, y: Any, x: Any, source: Any, *, axis_name: Any) -> Cts:
    """The same, from a device that is known when it runs."""
    return _to_source(ct, axis_name, source), None


# --- sums not yet taken -----------------------------------------------------------------------------------------
#
# An *unreduced* value is one whose devices hold terms of a sum that nobody has taken yet; a *reduced* value is the
# same on all devices and its cotangent is unreduced, so that the sum over devices can be put off in the backward.


@vjp("unreduced_psum")
def unreduced_psum(ct: Any, y: Any, x: Any, *, axes: Any) -> Cts:
    """y = Σ_e x_e, taken at last.   x̄_e = ȳ."""
    return (lax.pcast(ct, axes, to="reduced"),)


@vjp("preduced")
def preduced(ct: Any, y: Any, x: Any, *, axes: Any) -> Cts:
    """y = x, whose cotangent may stay a sum untaken.   x̄ = Σ_d ȳ_d."""
    return (lax.psum(ct, axes),)


@vjp("vary_unreduced_cast", "vary_unreduced_cast_p")
def vary_unreduced_cast(ct: Any, y: Any, x: Any, *, axes: Any) -> Cts:
    """y = Σ_e x_e, not taken yet.   x̄_e = ȳ."""
    return (lax.pcast(ct, axes, to="varying"),)


@vjp("reduced_vary_cast", "reduced_vary_cast_p")
def reduced_vary_cast(ct: Any, y: Any, x: Any, *, axes: Any) -> Cts:
    """y_d = x.   x̄ = Σ_d ȳ_d, not taken yet."""
    return (lax.pcast(ct, axes, to="unreduced"),)


@vjp("all_gather_reduced")
def all_gather_reduced(
    ct: Any, y: Any, x: Any, *, all_gather_dimension: int, axis_name: Any, axis_size: int, tiled: bool
) -> Cts:
    """y[e] = x_e.   x̄_e = Σ_d ȳ_d[e], the sum that ȳ had put off."""
    return (lax.psum_scatter(ct, axis_name, scatter_dimension=all_gather_dimension, tiled=tiled),)


@vjp("unreduced_reduce_scatter")
def unreduced_reduce_scatter(
    ct: Any, y: Any, x: Any, *, axis_name: Any, scatter_dimension: int, axis_size: int, tiled: bool
) -> Cts:
    """y_d = Σ_e x_e[d], a sum that x had put off.   x̄[d] = ȳ_d."""
    return (lax.all_gather(ct, axis_name, axis=scatter_dimension, tiled=tiled, to="reduced"),)


refuse("the terms of an extremum have no cotangent type in JAX; take it with pmax", "unreduced_pmax", "unreduced_pmin")
