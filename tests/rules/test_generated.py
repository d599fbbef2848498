"""Generated shapes, axes and dimension numbers: our pullbacks against JAX's, in float64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

import functional_dl as fdl
from tests.oracles import normal
from tests.rules.generation import DTYPES, assert_same, entries, few, fewer, sizes


@st.composite
def dots(draw: st.DrawFn) -> tuple[Any, ...]:
    """Operands whose batch, contracted and kept axes are shuffled, and the numbers that name them."""
    groups = [draw(st.lists(sizes, max_size=2)) for _ in range(4)]  # batch, contracted, kept left, kept right
    batch, contract, left, right = groups

    def operand(kept: list[int]) -> tuple[tuple[int, ...], list[int], list[int]]:
        flat = [*batch, *contract, *kept]
        order = draw(st.permutations(range(len(flat))))
        place = [order.index(i) for i in range(len(flat))]
        shape = tuple(flat[i] for i in order)
        return shape, place[: len(batch)], place[len(batch) : len(batch) + len(contract)]

    (a, a_batch, a_contract), (b, b_batch, b_contract) = operand(left), operand(right)
    return a, b, ((a_contract, b_contract), (a_batch, b_batch)), draw(DTYPES), draw(DTYPES)


@few
@given(dots())
def test_dot_general(drawn: tuple[Any, ...]) -> None:
    a, b, numbers, a_dtype, b_dtype = drawn
    assert_same(lambda a, b: lax.dot_general(a, b, numbers), entries(a, a_dtype), entries(b, b_dtype, seed=1))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Any, ...]:
    """A convolution of 1 or 2 spatial axes in any layout, whose window need not fit."""
    ndim = draw(st.integers(1, 2))
    feature_groups, batch_groups = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]))
    batch, inputs, outputs = draw(sizes) * batch_groups, draw(st.integers(1, 2)), draw(st.integers(1, 2))
    outputs *= feature_groups * batch_groups
    spatial = [draw(st.integers(2, 6)) for _ in range(ndim)]
    window = [draw(st.integers(1, 3)) for _ in range(ndim)]

    def layout(letters: str, lengths: list[int]) -> tuple[str, tuple[int, ...]]:
        order = draw(st.permutations(range(len(letters))))
        return "".join(letters[i] for i in order), tuple(lengths[i] for i in order)

    x_spec, x = layout("NC" + "HW"[:ndim], [batch, inputs * feature_groups, *spatial])
    w_spec, w = layout("OI" + "HW"[:ndim], [outputs, inputs, *window])
    y_spec, _ = layout("NC" + "HW"[:ndim], [0] * (2 + ndim))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(ndim))

    how = {
        "window_strides": each(1, 3),
        "padding": list(zip(each(-1, 2), each(-1, 2), strict=True)),
        "lhs_dilation": each(1, 2),
        "rhs_dilation": each(1, 2),
        "dimension_numbers": (x_spec, w_spec, y_spec),
        "feature_group_count": feature_groups,
        "batch_group_count": batch_groups,
    }
    return x, w, how


@few
@given(convolutions())
def test_conv_general_dilated(drawn: tuple[Any, ...]) -> None:
    x, w, how = drawn
    assert_same(lambda x, w: lax.conv_general_dilated(x, w, **how), normal(*x), normal(*w))


@st.composite
def axes(draw: st.DrawFn) -> list[dict[str, int]]:
    """Up to three axes, each with the numbers that a primitive may need of it."""
    count = draw(st.integers(1, 3))
    return [
        {
            "n": draw(st.integers(0, 5)),
            "lo": draw(st.integers(-1, 3)),
            "hi": draw(st.integers(-1, 3)),
            "interior": draw(st.integers(0, 2)),
            "start": draw(st.integers(0, 2)),
            "stop": draw(st.integers(0, 2)),
            "stride": draw(st.integers(1, 3)),
            "window": draw(st.integers(1, 3)),
            "base": draw(st.integers(1, 2)),
            "dilation": draw(st.integers(1, 2)),
        }
        for _ in range(count)
    ]


def _all(axes: list[dict[str, int]], name: str) -> tuple[int, ...]:
    return tuple(a[name] for a in axes)


@few
@given(axes(), DTYPES)
def test_pad(axes: list[dict[str, int]], dtype: Any) -> None:
    for a in axes:  # cutting off may not leave less than nothing
        length = (a["n"] - 1) * (1 + a["interior"]) + 1 if a["n"] else 0
        a["hi"] = max(a["hi"], -length - a["lo"])
    config = [(a["lo"], a["hi"], a["interior"]) for a in axes]
    assert_same(lambda x, v: lax.pad(x, v, config), entries(_all(axes, "n"), dtype), entries((), dtype, seed=1))


@few
@given(axes(), DTYPES)
def test_slice(axes: list[dict[str, int]], dtype: Any) -> None:
    starts = [min(a["start"], a["n"]) for a in axes]
    limits = [max(a["n"] - a["stop"], start) for a, start in zip(axes, starts, strict=True)]
    assert_same(lambda x: lax.slice(x, starts, limits, _all(axes, "stride")), entries(_all(axes, "n"), dtype))


@few
@given(st.data(), st.lists(st.integers(0, 4), min_size=1, max_size=4), DTYPES)
def test_broadcast_in_dim(data: st.DataObject, shape: list[int], dtype: Any) -> None:
    places = sorted(data.draw(st.sets(st.integers(0, len(shape) - 1))))
    own = tuple(1 if data.draw(st.booleans()) else shape[d] for d in places)
    assert_same(lambda x: lax.broadcast_in_dim(x, shape, places), entries(own, dtype))


@few
@given(st.lists(st.integers(0, 4), max_size=4).flatmap(lambda s: st.tuples(st.just(s), st.permutations(range(len(s))))))
def test_transpose(drawn: tuple[list[int], list[int]]) -> None:
    shape, order = drawn
    assert_same(lambda x: lax.transpose(x, order), normal(*shape))


def _windows(axes: list[dict[str, int]], dilation: bool) -> dict[str, Any]:
    return {
        "window_dimensions": _all(axes, "window"),
        "window_strides": _all(axes, "stride"),
        "padding": [(max(a["lo"], 0), max(a["hi"], 0)) for a in axes],
        "base_dilation": _all(axes, "base"),
        "window_dilation": _all(axes, "dilation") if dilation else (1,) * len(axes),
    }


@few
@given(axes())
def test_reduce_window_sum(axes: list[dict[str, int]]) -> None:
    assert_same(lambda x: lax.reduce_window(x, 0.0, lax.add, **_windows(axes, True)), normal(*_all(axes, "n")))


@few
@given(axes(), st.booleans())
def test_reduce_window_max(axes: list[dict[str, int]], ties: bool) -> None:
    x = normal(*_all(axes, "n"))
    x = np.round(x) if ties else x
    assert_same(lambda x: lax.reduce_window(x, -np.inf, lax.max, **_windows(axes, False)), x)


@pytest.mark.parametrize("length", [3, 18], ids=["walked", "scattered"])
@pytest.mark.parametrize("largest", [True, False], ids=["max", "min"])
def test_dilated_windows(length: int, largest: bool) -> None:
    """JAX has no derivative of a maximum over windows with holes: ours is that of the same windows cut out."""
    reducer, start, pick = (lax.max, -np.inf, jnp.max) if largest else (lax.min, np.inf, jnp.min)
    reach = 2 * (length - 1) + 1

    def pooled(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, start, reducer, (length,), (3,), ((0, 0),), None, (2,))

    def cut(x: jax.Array) -> jax.Array:
        return jnp.stack([pick(x[i : i + reach : 2]) for i in range(0, x.shape[0] - reach + 1, 3)])

    with jax.enable_x64(True):
        x = jnp.asarray(normal(reach + 8))
        for order in (lambda f: f, lambda f: lambda x: fdl.grad(lambda x: jnp.sum(jnp.sin(f(x))))(x)):
            y, pullback = fdl.vjp(order(pooled), x)
            due_y, due_pullback = jax.vjp(order(cut), x)
            np.testing.assert_allclose(y, due_y, rtol=1e-12)
            ct = jnp.asarray(normal(*y.shape, seed=2))
            np.testing.assert_allclose(pullback(ct)[0], due_pullback(ct)[0], rtol=1e-9, atol=1e-12)


@few
@given(axes(), st.data(), DTYPES)
def test_reshape(axes: list[dict[str, int]], data: st.DataObject, dtype: Any) -> None:
    """The axes in any order, and some of them merged with the next."""
    shape = _all(axes, "n")
    order = data.draw(st.permutations(range(len(shape))))
    merged = [1]
    for d in order:
        if data.draw(st.booleans()):
            merged[-1] *= shape[d]
        else:
            merged.append(shape[d])
    assert_same(lambda x: lax.reshape(x, merged, order), entries(shape, dtype))


@few
@given(axes(), st.data(), st.lists(st.integers(0, 3), min_size=1, max_size=3), DTYPES)
def test_concatenate(axes: list[dict[str, int]], data: st.DataObject, lengths: list[int], dtype: Any) -> None:
    dimension = data.draw(st.integers(0, len(axes) - 1))
    shapes = [(*_all(axes[:dimension], "n"), n, *_all(axes[dimension + 1 :], "n")) for n in lengths]
    xs = [entries(shape, dtype, seed=i) for i, shape in enumerate(shapes)]
    assert_same(lambda *xs: lax.concatenate(xs, dimension), *xs)


@few
@given(axes(), st.data(), st.sampled_from(["reduce_sum", "reduce_prod", "reduce_max", "reduce_min"]), st.booleans())
def test_reductions(axes: list[dict[str, int]], data: st.DataObject, name: str, ties: bool) -> None:
    """Of rounded entries: equal ones for the maxima, zeros for the products."""
    chosen = sorted(data.draw(st.sets(st.integers(0, len(axes) - 1))))
    x = normal(*_all(axes, "n"))
    assert_same(lambda x: getattr(lax, name)(x, chosen), np.round(x) if ties else x)


@fewer
@given(
    axes(), st.data(), st.sampled_from(["cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"]), st.booleans(),
    st.booleans(),
)  # fmt: skip
def test_cumulative(axes: list[dict[str, int]], data: st.DataObject, name: str, reverse: bool, ties: bool) -> None:
    axis = data.draw(st.integers(0, len(axes) - 1))
    x = normal(*_all(axes, "n"))
    assert_same(lambda x: getattr(lax, name)(x, axis, reverse), np.round(x) if ties else x)


@few
@given(axes(), st.data(), st.integers(1, 3), st.booleans())
def test_sort(axes: list[dict[str, int]], data: st.DataObject, count: int, stable: bool) -> None:
    """Several operands, by several keys, with equal entries if the sort is stable."""
    dimension = data.draw(st.integers(0, len(axes) - 1))
    keys = data.draw(st.integers(1, count))
    xs = [normal(*_all(axes, "n"), seed=i) for i in range(count)]
    xs = [np.round(x) for x in xs] if stable else xs
    assert_same(lambda *xs: lax.concatenate(lax.sort(xs, dimension=dimension, is_stable=stable, num_keys=keys), 0), *xs)


@few
@given(sizes, sizes, st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 1))
def test_ragged_dot(k: int, n: int, groups: list[int], rest: int) -> None:
    """Groups that may be empty, and rows that belong to none."""
    lengths = np.array(groups, np.int32)
    assert_same(
        lambda a, b: lax.ragged_dot(a, b, lengths), normal(sum(groups) + rest, k), normal(len(groups), k, n, seed=1)
    )
