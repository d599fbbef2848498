"""Generated shapes, axes and dimension numbers: our pullbacks against JAX's, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import functional_dl as fdl
from tests.rules.contract import complex_normal, normal

few = settings(max_examples=12, deadline=None, derandomize=True)
sizes = st.integers(1, 4)
DTYPES = st.sampled_from([np.float64, np.float32, np.complex128])


def assert_same(fun: Callable[..., Any], *args: Any) -> None:
    """One program, two pullbacks, one cotangent."""
    with jax.enable_x64(True):
        args = tuple(jnp.asarray(a) for a in args)
        y, pullback = fdl.vjp(fun, *args)
        due_y, due_pullback = jax.vjp(fun, *args)
        np.testing.assert_array_equal(y, due_y)
        ct = jnp.asarray(_entries(y.shape, y.dtype, seed=5))
        for found, due in zip(pullback(ct), due_pullback(ct), strict=True):
            assert found.dtype == due.dtype
            single = np.finfo(due.dtype).bits == 32
            np.testing.assert_allclose(found, due, rtol=1e-4 if single else 1e-9, atol=1e-4 if single else 1e-10)


def _entries(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    draw = complex_normal if np.issubdtype(dtype, np.complexfloating) else normal
    return np.asarray(draw(*shape, seed=seed), dtype)


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
    assert_same(lambda a, b: lax.dot_general(a, b, numbers), _entries(a, a_dtype), _entries(b, b_dtype, seed=1))


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
    assert_same(lambda x, v: lax.pad(x, v, config), _entries(_all(axes, "n"), dtype), _entries((), dtype, seed=1))


@few
@given(axes(), DTYPES)
def test_slice(axes: list[dict[str, int]], dtype: Any) -> None:
    starts = [min(a["start"], a["n"]) for a in axes]
    limits = [max(a["n"] - a["stop"], start) for a, start in zip(axes, starts, strict=True)]
    assert_same(lambda x: lax.slice(x, starts, limits, _all(axes, "stride")), _entries(_all(axes, "n"), dtype))


@few
@given(st.data(), st.lists(st.integers(0, 4), min_size=1, max_size=4), DTYPES)
def test_broadcast_in_dim(data: st.DataObject, shape: list[int], dtype: Any) -> None:
    places = sorted(data.draw(st.sets(st.integers(0, len(shape) - 1))))
    own = tuple(1 if data.draw(st.booleans()) else shape[d] for d in places)
    assert_same(lambda x: lax.broadcast_in_dim(x, shape, places), _entries(own, dtype))


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
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.data(),
    st.sampled_from(["clip", "fill", "promise_in_bounds"]),
)
def test_indexing(shape: list[int], data: st.DataObject, mode: str) -> None:
    """NumPy-style indexing by arrays, integers and slices, in bounds and out."""
    count = data.draw(st.integers(1, 3))
    index: list[Any] = []
    for n in shape:
        kind = data.draw(st.sampled_from(["array", "integer", "slice", "all"]))
        low, high = (0, n - 1) if mode == "promise_in_bounds" else (-n - 2, n + 2)
        if kind == "array":
            index.append(np.array(data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count))))
        elif kind == "integer":
            index.append(data.draw(st.integers(low, high)))
        else:
            index.append(slice(None) if kind == "all" else slice(data.draw(st.integers(0, n)), None))
    assert_same(lambda x: x.at[tuple(index)].get(mode=mode, fill_value=2.0), normal(*shape))
