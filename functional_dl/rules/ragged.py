"""Rules of contractions by groups (ragged) and of block-scaled operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import Array, lax

from functional_dl.rules.contractions import cast_cotangent, dot_general, kept_axes
from functional_dl.rules.shapes import Cts, explicit_sharding, transposed
from functional_dl.rules.table import vjp

__all__: list[str] = []


# --- groups -------------------------------------------------------------------------------------------------------


@vjp("ragged_dot_general")
def ragged_dot_general(
    ct: Any,
    y: Any,
    a: Any,
    b: Any,
    sizes: Any,
    *,
    ragged_dot_dimension_numbers: Any,
    precision: Any,
    preferred_element_type: Any,
    group_offset: Any,
    out_sharding: Any = None,
) -> Cts:
    """A contraction in which g(r) is the group of place r on one axis of a, of the lengths ``sizes``.  That axis is

    * kept:        y[n,r,j] = Σₖ a[n,r,k] b[g(r),n,k,j].   ā of the same kind, b̄ of the next;
    * contracted:  y[g,n,i,j] = Σ_{r in g} a[n,i,r] b[n,r,j].   ā[n,i,r] = Σⱼ ȳ[g(r),n,i,j] b[n,r,j], b̄ likewise: both
      of the first kind;
    * batched:     groups do not matter, the rule is that of dot_general.
    """
    numbers = ragged_dot_dimension_numbers
    (a_contract, b_contract), (a_batch, b_batch) = numbers.dot_dimension_numbers
    (ragged,) = numbers.lhs_ragged_dimensions
    if ragged in a_batch:
        return *dot_general(
            ct,
            y,
            a,
            b,
            dimension_numbers=numbers.dot_dimension_numbers,
            precision=precision,
            preferred_element_type=preferred_element_type,
            out_sharding=out_sharding,
        ), None
    group = list(numbers.rhs_group_dimensions)
    a_kept, b_kept = kept_axes(a.ndim, a_contract, a_batch), kept_axes(b.ndim, b_contract, b_batch, group)

    def contract(x: Array, left: Array, right: Array, dims: Any, place: int, groups: Sequence[int], order: Any) -> Any:
        """A ragged contraction whose axes are those of ``x`` in ``order``, put back in place."""
        found = lax.ragged_dot_general(
            left,
            right,
            sizes,
            lax.RaggedDotDimensionNumbers(dims, [place], groups),
            precision=precision,
            preferred_element_type=preferred_element_type,
            group_offset=group_offset,
            out_sharding=explicit_sharding(x, order),
        )
        return cast_cotangent(transposed(found, np.argsort(order)), x)

    lead = 0 if group else 1  # y has the axis of groups in front, unless b has it
    batch = range(lead, lead + len(a_batch))
    y_left = range(batch.stop, batch.stop + len(a_kept))
    y_right = range(y_left.stop, y_left.stop + len(b_kept))
    if group:
        a_order = [*a_batch, *a_kept, *[a_contract[i] for i in np.argsort(b_contract)]]
        b_order = [*group, *b_batch, *[b_contract[i] for i in np.argsort(a_contract)], *b_kept]
        place = len(a_batch) + a_kept.index(ragged)
        return (
            contract(a, ct, b, ((y_right, b_kept), (batch, b_batch)), place, group, a_order),
            contract(b, a, ct, ((a_kept, y_left), (a_batch, batch)), ragged, [], b_order),
            None,
        )
    # Which places have groups of their own (sizes may have axes before that of groups) goes by the order in which the
    # contracted axes are named; the operands are brought into that order, in which they are kept here.
    a_order, b_order = [*a_batch, *a_kept, *a_contract], [*b_batch, *b_contract, *b_kept]
    n, m = len(a_batch), len(a_contract)
    a_named, b_named = transposed(a, a_order), transposed(b, b_order)
    turn = list(a_contract).index(ragged)
    a_free, b_free = range(n, n + len(a_kept)), range(n + m, b.ndim)
    a_back = [*a_batch, *a_contract, *a_kept]
    return (
        contract(a, b_named, ct, ((b_free, y_right), (range(n), batch)), n + turn, [0], a_back),
        contract(b, a_named, ct, ((a_free, y_left), (range(n), batch)), n + len(a_kept) + turn, [0], b_order),
        None,
    )


# --- blocks of one scale ------------------------------------------------------------------------------------------


def _scaled(ct: Array, a: Array, b: Array, a_scale: Array, b_scale: Array, dims: Any) -> Cts:
    """y = (a ⊙ S) · (b ⊙ T), S and T constant on blocks.   Ā = ȳ · (b ⊙ T) gives ā = Ā ⊙ S and s̄ = Σ_block Ā ⊙ a."""
    wide, (contracted, _) = ct.dtype, dims
    operands = [(x, s, *_blocks(x, s, axes)) for x, s, axes in zip((a, b), (a_scale, b_scale), contracted, strict=True)]
    full = [spread(s.astype(wide)) for _, s, spread, _ in operands]
    scaled = [x.astype(wide) * s for (x, *_), s in zip(operands, full, strict=True)]
    back = dot_general(
        ct, None, *scaled, dimension_numbers=dims, precision=None, preferred_element_type=wide, out_sharding=None
    )
    own = [cast_cotangent(g * s, x) for g, s, (x, *_) in zip(back, full, operands, strict=True)]
    scales = [cast_cotangent(total(g * x.astype(wide)), s) for g, (x, s, _, total) in zip(back, operands, strict=True)]
    return *own, *scales


def _blocks(x: Array, scale: Array, axes: Sequence[int]) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Repeat a value per block of ``x`` over its block, and sum values over blocks: the axes in ``axes`` are cut."""
    shape: list[int] = []
    own, inner = [], []
    for d, (n, m) in enumerate(zip(x.shape, scale.shape, strict=True)):
        own.append(len(shape))
        shape.append(m)
        if d in axes:
            inner.append(len(shape))
            shape.append(n // m)
    return (
        lambda s: lax.reshape(lax.broadcast_in_dim(s, shape, own), x.shape),
        lambda v: lax.reduce_sum(lax.reshape(v, shape), inner),
    )


@vjp("scaled_matmul_wrapper")
def scaled_matmul(cts: Any, ys: Any, a: Any, b: Any, a_scale: Any, b_scale: Any, *, preferred_element_type: Any) -> Cts:
    """y[n,i,j] = Σₖ (a ⊙ S)[n,i,k] (b ⊙ T)[n,j,k], S and T constant on blocks of k.   See `_scaled`."""
    return _scaled(cts[0], a, b, a_scale, b_scale, (((2,), (2,)), ((0,), (0,))))


@vjp("scaled_dot")
def scaled_dot(
    ct: Any,
    y: Any,
    a: Any,
    b: Any,
    a_scale: Any,
    b_scale: Any,
    *,
    dimension_numbers: Any,
    preferred_element_type: Any,
) -> Cts:
    """y = (a ⊙ S) · (b ⊙ T), S and T constant on blocks of the contracted axes.   See `_scaled`."""
    return _scaled(ct, a, b, a_scale, b_scale, dimension_numbers)
