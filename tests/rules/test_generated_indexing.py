"""Generated indices and dimension numbers: gathers, scatters of every kind, dynamic slices; JAX's pullbacks."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

import functional_dl as fdl
from tests.oracles import normal
from tests.rules.generation import DTYPES, assert_same, compiled, entries, few

MODES = ("clip", "fill", "promise_in_bounds")


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


class Layout(NamedTuple):
    """How windows of an operand lie at indices, in what gathers and scatters have in common."""

    shape: tuple[int, ...]
    indices: np.ndarray
    windows: tuple[int, ...]  # of the operand: 1 on collapsed and batching axes
    window_dims: tuple[int, ...]  # of the result of a gather, or the updates of a scatter
    collapsed: tuple[int, ...]
    index_map: tuple[int, ...]
    batching: tuple[int, ...]
    indices_batching: tuple[int, ...]

    @property
    def values_shape(self) -> tuple[int, ...]:
        """The shape of what a gather reads, and of what a scatter writes."""
        scattered = iter(self.indices.shape[:-1])
        single = {*self.collapsed, *self.batching}
        windows = iter([n for d, n in enumerate(self.windows) if d not in single])
        count = self.indices.ndim - 1 + len(self.shape) - len(single)
        return tuple(next(windows) if d in self.window_dims else next(scattered) for d in range(count))

    @property
    def gathered(self) -> lax.GatherDimensionNumbers:
        return lax.GatherDimensionNumbers(
            self.window_dims, self.collapsed, self.index_map, self.batching, self.indices_batching
        )

    @property
    def scattered(self) -> lax.ScatterDimensionNumbers:
        return lax.ScatterDimensionNumbers(
            self.window_dims, self.collapsed, self.index_map, self.batching, self.indices_batching
        )


@st.composite
def layouts(draw: st.DrawFn, mode: str) -> Layout:
    """Axes are batched, collapsed or windows, in any order; few indices on short axes, so that windows meet."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    kinds = [draw(st.sampled_from(["batch", "collapsed", "window"])) for _ in shape]
    named = {kind: tuple(d for d, k in enumerate(kinds) if k == kind) for kind in ("batch", "collapsed", "window")}
    windows = tuple(draw(st.integers(1, n)) if k == "window" else 1 for n, k in zip(shape, kinds, strict=True))
    free = [d for d, k in enumerate(kinds) if k != "batch"]
    # At least one, unless all axes are batched: of indices without a component XLA of JAX 0.10 writes only the last.
    index_map = tuple(draw(st.permutations(free))[: draw(st.integers(min(1, len(free)), len(free)))])
    places = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)) + [None] * len(named["batch"])
    places = draw(st.permutations(places))
    batched = iter(shape[d] for d in named["batch"])
    spread = [next(batched) if n is None else n for n in places]
    indices_batching = tuple(i for i, n in enumerate(places) if n is None)
    total = len(spread) + len(named["window"])
    window_dims = tuple(sorted(draw(st.permutations(range(total)))[: len(named["window"])]))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    beyond = 0 if mode == "promise_in_bounds" else 2
    columns = [random.integers(-beyond, shape[d] - windows[d] + beyond + 1, spread) for d in index_map]
    indices = np.stack(columns, axis=-1) if columns else np.zeros((*spread, 0), np.int64)
    return Layout(shape, indices, windows, window_dims, named["collapsed"], index_map, named["batch"], indices_batching)


@few
@given(st.data(), st.sampled_from(MODES), DTYPES)
def test_gather(data: st.DataObject, mode: str, dtype: Any) -> None:
    drawn = data.draw(layouts(mode))
    assert_same(
        lambda x: lax.gather(x, drawn.indices, drawn.gathered, drawn.windows, mode=mode, fill_value=2),
        entries(drawn.shape, dtype),
    )


SCATTERS = {"add": lax.scatter_add, "sub": lax.scatter_sub, "min": lax.scatter_min, "max": lax.scatter_max}


@few
@given(st.data(), st.sampled_from(MODES), st.sampled_from([*SCATTERS, "set"]), st.booleans(), DTYPES)
def test_scatter(data: st.DataObject, mode: str, kind: str, ties: bool, dtype: Any) -> None:
    """Where updates meet, and where entries are equal; all updates may be one and the same entry."""
    drawn = data.draw(layouts(mode))
    if kind in ("min", "max"):
        dtype = np.float64 if np.issubdtype(dtype, np.complexfloating) else dtype
        if mode == "clip" and jax.__version_info__ < (0, 12):
            mode = "fill"  # JAX 0.10 and 0.11 divide by zero there
    write = SCATTERS.get(kind, lax.scatter)
    x, updates = entries(drawn.shape, dtype), entries(drawn.values_shape, dtype, seed=1)
    if ties:
        x, updates = np.round(x), np.round(updates)
    assert_same(lambda x, u: write(x, drawn.indices, u, drawn.scattered, mode=mode), x, updates)


@few
@given(st.data(), st.sampled_from(MODES), st.booleans())
def test_scatter_mul(data: st.DataObject, mode: str, zeros: bool) -> None:
    """JAX has no derivative in updates that may meet: ours is the product of the others, written out."""
    drawn = data.draw(layouts(mode))
    x, updates = normal(*drawn.shape), normal(*drawn.values_shape, seed=1)
    updates = np.round(updates) if zeros else updates

    def multiply(x: Any, u: Any) -> Any:
        return lax.scatter_mul(x, drawn.indices, u, drawn.scattered, mode=mode)

    # Where each update goes: read the numbers of the entries, -1 for an update that is dropped.
    numbers = np.arange(x.size).reshape(x.shape)
    places = np.asarray(lax.gather(numbers, drawn.indices, drawn.gathered, drawn.windows, mode=mode, fill_value=-1))
    ct = normal(*x.shape, seed=2)
    due_x, due = ct.copy(), np.zeros(updates.shape)
    for i, place in np.ndenumerate(places):
        if place >= 0:
            due_x.flat[place] *= updates[i]
            met = np.array(places == place)
            met[i] = False
            due[i] = ct.flat[place] * x.flat[place] * np.prod(updates[met])
    with jax.enable_x64(True):
        for found, expected in zip(compiled(fdl.vjp, multiply)(ct, x, updates)[1:], (due_x, due), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@st.composite
def slices(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, lengths that fit, and starts that need not."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    lengths = tuple(draw(st.integers(0, n)) for n in shape)
    return shape, lengths, tuple(draw(st.integers(-n - 1, n + 1)) for n in shape)


@few
@given(slices(), DTYPES)
def test_dynamic_slice(drawn: tuple[Any, ...], dtype: Any) -> None:
    shape, lengths, starts = drawn
    assert_same(lambda x: lax.dynamic_slice(x, starts, lengths), entries(shape, dtype))


@few
@given(slices(), DTYPES)
def test_dynamic_update_slice(drawn: tuple[Any, ...], dtype: Any) -> None:
    shape, lengths, starts = drawn
    assert_same(
        lambda x, u: lax.dynamic_update_slice(x, u, starts), entries(shape, dtype), entries(lengths, dtype, seed=1)
    )
