"""Cases of gather, scatter and dynamic slices: every mode, indices in and out of bounds, repeated, batched."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.oracles import complex_normal, normal, uniform
from tests.rules.contract import Case, case

__all__ = ["CASES", "KINKS"]

X, Y = normal(3, 5), normal(2, 3, 4)
_MODES = ("clip", "fill", "promise_in_bounds")
_IN, _OUT = np.array([2, 0, 2, 1]), np.array([2, -7, 5, 0])


def _window(mode, indices, **how):
    """Slices of shape (2, 1, 3) from a (3, 4, 5) operand, at (row, column) pairs in the reverse order of axes."""
    numbers = lax.GatherDimensionNumbers(offset_dims=(0, 2), collapsed_slice_dims=(1,), start_index_map=(2, 0))
    return lambda x: lax.gather(x, indices, numbers, (2, 1, 3), mode=mode, **how)


def _along_batch(mode, indices):
    """One entry per batch element, along the last axis, by batching dimensions."""
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(),
        collapsed_slice_dims=(1,),
        start_index_map=(1,),
        operand_batching_dims=(0,),
        start_indices_batching_dims=(0,),
    )
    return lambda x: lax.gather(x, indices, numbers, (1, 1), mode=mode, fill_value=3)


def _write(scatter, indices, **how):
    """Rows of ``updates`` into rows of x."""
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(1,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
    )
    return lambda x, u: scatter(x, np.asarray(indices, np.int32)[:, None], u, numbers, **how)


def _write_windows(scatter, indices, **how):
    """Windows of shape (2, 2), which may overlap, into a matrix."""
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(1, 2), inserted_window_dims=(), scatter_dims_to_operand_dims=(0, 1)
    )
    return lambda x, u: scatter(x, np.asarray(indices), u, numbers, **how)


def _write_batched(scatter, indices, **how):
    """Entries along the last axis, one row of indices per batch element."""
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(),
        inserted_window_dims=(1,),
        scatter_dims_to_operand_dims=(1,),
        operand_batching_dims=(0,),
        scatter_indices_batching_dims=(0,),
    )
    return lambda x, u: scatter(x, np.asarray(indices)[..., None], u, numbers, **how)


_PAIRS_IN, _PAIRS_OUT = np.array([[0, 1], [2, 0], [0, 1]]), np.array([[0, 1], [4, -1], [2, 2]])
_COLUMNS_IN, _COLUMNS_OUT = (
    np.array([[[4], [0]], [[1], [1]], [[3], [2]]]),
    np.array([[[4], [9]], [[-1], [1]], [[3], [5]]]),
)

CASES: list[Case] = [
    case("gather", lambda x: x[_IN], X, label="rows"),
    case("gather", lambda x: x[:, _IN, None], X, label="columns"),
    case("gather", lambda x: x[_IN[1:3] // 2, :, _IN[2:]], Y, label="two axes"),
    case("gather", _window("fill", np.zeros((0, 2), np.int32)), normal(3, 4, 5), label="no indices"),
    case("gather", lambda x: jnp.take(x, _OUT, axis=0, mode="fill", fill_value=7.0), X, label="fill value"),
    case("gather", lambda x: jnp.take(x, _IN, axis=1), complex_normal(3, 5), label="complex"),
    case("gather", lambda x: jnp.asarray(x).at[_IN[:2]].get(unique_indices=True), X, label="unique"),
    case("gather", lambda x: jnp.asarray(x).at[np.sort(_IN)].get(indices_are_sorted=True), X, label="sorted"),
    case("gather", lambda x: jnp.take_along_axis(x, _COLUMNS_IN[..., 0], 1), X, label="along axis"),
    case("gather", jax.vmap(lambda x, i=_IN[:2]: x[i]), X, label="batched operand"),
    case("gather", lambda x: jax.vmap(lambda r, i: r[i])(x, _COLUMNS_IN[..., 0]), X, label="batched both"),
    case("dynamic_slice", lambda x: lax.dynamic_slice(x, (np.int32(1), np.int32(2)), (2, 3)), X),
    case("dynamic_slice", lambda x: lax.dynamic_slice(x, (2, 4), (2, 3)), X, label="clamped"),
    case("dynamic_slice", lambda x: lax.dynamic_slice(x, (-1, 0), (1, 3)), X, label="negative start"),
    case("dynamic_slice", lambda x: lax.dynamic_index_in_dim(x, 1, 1), complex_normal(3, 5), label="complex"),
    case("dynamic_slice", lambda x: lax.dynamic_slice(x, (1, 2), (2, 0)), X, label="empty"),
    case("dynamic_update_slice", lambda x, u: lax.dynamic_update_slice(x, u, (1, 2)), X, normal(2, 3)),
    case(
        "dynamic_update_slice", lambda x, u: lax.dynamic_update_slice(x, u, (2, -1)), X, normal(2, 3), label="clamped"
    ),
    case("dynamic_update_slice", lambda x, u: lax.dynamic_update_slice(x, u, (1, 2)), X, normal(0, 3), label="empty"),
]
for _mode in _MODES:
    _where = ("in", "out") if _mode != "promise_in_bounds" else ("in",)
    for _bounds in _where:
        _pairs, _columns = (_PAIRS_IN, _COLUMNS_IN) if _bounds == "in" else (_PAIRS_OUT, _COLUMNS_OUT)
        _name = f"{_mode}, {_bounds} of bounds" if _bounds == "out" else f"{_mode}, in bounds"
        CASES.append(case("gather", _window(_mode, _pairs, fill_value=0), normal(3, 4, 5), label=f"windows, {_name}"))
        CASES.append(case("gather", _along_batch(_mode, _columns[:, 0]), X, label=f"batching dims, {_name}"))

_SCATTERS = {
    "scatter-add": lax.scatter_add,
    "scatter-sub": lax.scatter_sub,
    "scatter-min": lax.scatter_min,
    "scatter-max": lax.scatter_max,
}
for _name, _scatter in _SCATTERS.items():
    CASES += [
        case(_name, _write(_scatter, [2, 0, 2, 1]), X, normal(4, 5), label="repeated"),
        case(_name, _write(_scatter, [2, 0], unique_indices=True), X, normal(2, 5), label="unique"),
        case(_name, _write(_scatter, [2, -4, 5, 0], mode="fill"), X, normal(4, 5), label="dropped"),
        case(_name, _write(_scatter, [0, 1, 1], indices_are_sorted=True), X, normal(3, 5), label="sorted"),
        case(_name, _write(_scatter, []), X, normal(0, 5), label="none"),
        case(_name, _write_windows(_scatter, [[0, 1], [1, 2], [1, 9]]), X, normal(3, 2, 2), label="windows"),
        case(_name, _write_batched(_scatter, _COLUMNS_IN[..., 0]), X, normal(3, 2), label="batching dims"),
    ]

    if _name in ("scatter-add", "scatter-sub") or jax.__version_info__ >= (0, 12):  # JAX 0.10 divides by zero there
        CASES.append(case(_name, _write(_scatter, [2, -4, 5, 0], mode="clip"), X, normal(4, 5), label="clipped"))

_ZEROS = normal(4, 5, seed=4) * (np.arange(20).reshape(4, 5) % 3 > 0)


def _apply(index, function=jnp.sin, **how):
    return lambda x: jnp.asarray(x).at[index].apply(function, **how)


def _apply_batched(indices, function):
    """A function of entries along the last axis, one column of indices per batch element."""
    numbers = lax.ScatterDimensionNumbers(
        update_window_dims=(),
        inserted_window_dims=(1,),
        scatter_dims_to_operand_dims=(1,),
        operand_batching_dims=(0,),
        scatter_indices_batching_dims=(1,),
    )
    return lambda x: lax.scatter_apply(x, indices, function, numbers, update_shape=indices.shape[:-1])


# Where updates meet, a set is left to the implementation; a product, or a function, has no derivative in JAX.
CASES += [
    case("scatter", lambda x: jnp.asarray(x).at[1].set(2.0), X, label="constant"),
    case("scatter", lambda x: jnp.asarray(x).at[_IN].set(2.0), X, label="constant, repeated"),
    case("scatter", lambda u: jnp.zeros((3, 5)).at[jnp.array([2, 0])].set(u), normal(2, 5), label="into zeros"),
    case("scatter", lambda x, u: jnp.asarray(x).at[1, 2:4].set(u), X, normal(2), label="slice"),
    case("scatter", _write(lax.scatter, [2, 0], unique_indices=True), X, normal(2, 5), label="unique"),
    case("scatter", _write(lax.scatter, [2, 7], unique_indices=True), X, normal(2, 5), label="unique, dropped"),
    case("scatter", _write(lax.scatter, [2, 0]), X, normal(2, 5), label="not promised"),
    case("scatter", _write(lax.scatter, [2, 0, 2, 2]), X, normal(4, 5), label="repeated"),
    case("scatter", _write(lax.scatter, [2, -4, 5, 0, 0], mode="fill"), X, normal(5, 5), label="dropped"),
    case("scatter", _write_windows(lax.scatter, [[0, 1], [1, 2], [1, 9]]), X, normal(3, 2, 2), label="overlapping"),
    case("scatter", _write_batched(lax.scatter, _COLUMNS_IN[..., 0]), X, normal(3, 2), label="batching dims"),
    case(
        "scatter", _write(lax.scatter, [2, 0, 2]), complex_normal(3, 5), complex_normal(3, 5, seed=3), label="complex"
    ),
    case("scatter-mul", _write(lax.scatter_mul, [2, 0], unique_indices=True), X, normal(2, 5), label="unique"),
    case("scatter-mul", _write(lax.scatter_mul, [2, 7], unique_indices=True), X, normal(2, 5), label="dropped"),
    case("scatter-mul", lambda x: jnp.asarray(x).at[_IN].multiply(uniform(1, 2, 4, 5)), X, label="repeated, constant"),
    case(
        "scatter-mul",
        _write(lax.scatter_mul, [2, 0], unique_indices=True),
        complex_normal(3, 5),
        complex_normal(2, 5),
        label="complex",
    ),
    case("scatter-mul", _write(lax.scatter_mul, [2, 0, 2, 2]), X, _ZEROS, label="repeated", refused=1),
    case("scatter-mul", _write(lax.scatter_mul, [2, -4, 5, 2], mode="fill"), X, _ZEROS, label="dropped", refused=1),
    case(
        "scatter-mul",
        _write_windows(lax.scatter_mul, [[0, 1], [0, 2], [1, 9]], mode="clip"),
        X,
        normal(3, 2, 2),
        label="overlapping",
        refused=1,
    ),
    case(
        "scatter-mul",
        _write_batched(lax.scatter_mul, _COLUMNS_IN[..., 0] // 2),
        X,
        normal(3, 2),
        label="batching dims",
        refused=1,
    ),
    case("scatter", _apply((1, slice(1, 4))), X, label="apply to a slice", refused=1),
    case("scatter", _apply(_IN[:2], jnp.exp, unique_indices=True), X, label="apply, unique", refused=1),
    case("scatter", _apply(_OUT), X, label="apply, dropped", refused=1),
    case("scatter", _apply(_IN), X, label="apply, repeated", refused=1),
    case(
        "scatter",
        _apply_batched(np.array([[4, 1, 3], [4, 0, 3], [2, 0, 3]])[..., None], lambda v: 2 * v * v),
        X,
        label="apply, batching dims",
        refused=1,
    ),
]

_EQUAL = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 0.0]])
_UPDATES = np.array([[1.0, 3.0, 3.0], [1.0, 3.0, 1.0], [2.0, 1.0, 3.0]])

KINKS: list[Case] = [
    case(name, _write(_SCATTERS[name], [0, 0, 0]), _EQUAL, _UPDATES, label="ties", numeric=False)
    for name in ("scatter-min", "scatter-max")
]
