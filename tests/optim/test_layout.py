"""Layouts: where leaves lie, and that the user sees nothing of it."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

import functional_dl as fdl
from functional_dl import optim
from functional_dl.optim.layout import SMALL, Layout, Packed, lay_out
from functional_dl.trees import TreeError


def matrices(path: str, leaf: Any) -> bool:
    return leaf.ndim == 2


def kinds(layout: Layout) -> list[tuple[str, tuple[str, ...]]]:
    return [(group.kind, group.paths) for group in layout.groups]


PARAMS = {"a": jnp.ones((2, 3)), "b": jnp.zeros(2), "c": jnp.full((2, 3), 2.0), "d": jnp.float32(7)}


class TestPlaces:
    """Which leaves share an array."""

    def test_small_ones_lie_end_to_end(self) -> None:
        layout = lay_out({**PARAMS, "e": jnp.zeros(SMALL), "f": jnp.zeros(SMALL + 1)})
        assert kinds(layout) == [("flat", ("a", "b", "c", "d", "e")), ("alone", ("f",))]

    def test_matrices_of_a_shape_on_each_other(self) -> None:
        layout = lay_out({**PARAMS, "e": jnp.ones((3, 2))}, matrices)
        assert kinds(layout) == [("stack", ("a", "c")), ("flat", ("b", "d")), ("stack", ("e",))]
        assert [x.shape for x in layout.pack({**PARAMS, "e": jnp.ones((3, 2))}).arrays] == [(2, 2, 3), (3,), (1, 3, 2)]

    def test_dtypes_and_answers_apart(self) -> None:
        params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2), "c": jnp.ones(2), "d": jnp.ones(3, jnp.bfloat16)}
        assert kinds(lay_out(params)) == [("flat", ("a", "d")), ("flat", ("b", "c"))]
        assert kinds(lay_out(params, apart=lambda path, leaf: path == "c"))[1:] == [("flat", ("b",)), ("flat", ("c",))]
        wide = lay_out(params, storage=lambda dtype: jnp.promote_types(dtype, jnp.float32))
        assert kinds(wide) == [("flat", ("a", "b", "c", "d"))]
        assert wide.pack(params).unpack(typed=True)["a"].dtype == jnp.bfloat16
        assert wide.pack(params).unpack()["a"].dtype == jnp.float32

    def test_divided_leaves_lie_alone_and_stay_divided(self) -> None:
        mesh = jax.make_mesh((8,), ("x",))
        divided = NamedSharding(mesh, PartitionSpec("x"))
        params = {**PARAMS, "e": jax.device_put(jnp.ones((8, 2)), divided)}
        params["f"] = jax.device_put(jnp.ones((8, 2)), NamedSharding(mesh, PartitionSpec()))
        assert kinds(lay_out(params)) == [("flat", ("a", "b", "c", "d", "f")), ("alone", ("e",))]
        assert ("stack", ("e",)) in kinds(lay_out(params, matrices))
        optimizer = optim.adam(0.1)
        state = optimizer.init(params)
        new = jax.jit(optimizer.update)(state, params)
        for found in (new.params, new.moments["first"], new.moments["second"]):
            assert found["e"].sharding.is_equivalent_to(divided, 2)
        np.testing.assert_allclose(new.params["e"], 0.9, rtol=1e-5)


class TestRoundTrip:
    """What is packed comes out."""

    @given(
        st.recursive(
            st.tuples(
                st.lists(st.integers(0, 3), max_size=3).map(tuple),
                st.sampled_from(["float32", "bfloat16", "float16"]),
            ),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner | st.none()),
            max_leaves=8,
        ),
        st.booleans(),
        st.booleans(),
    )
    def test_of_any_tree(self, plan: Any, stacked: bool, wide: bool) -> None:
        rng = np.random.default_rng(0)
        made = lambda leaf: np.asarray(rng.normal(size=leaf[0])).astype(jnp.dtype(leaf[1]))
        tree = jax.tree.map(made, plan, is_leaf=lambda x: isinstance(x, tuple))
        storage = (lambda dtype: np.float32) if wide else (lambda dtype: dtype)
        layout = lay_out(tree, matrices if stacked else lambda path, leaf: False, storage=storage)
        packed = layout.pack(tree)
        chex.assert_trees_all_equal(packed.unpack(typed=True), jax.tree.map(jnp.asarray, tree))
        chex.assert_trees_all_equal_shapes_and_dtypes(packed.unpack(typed=True), tree)
        assert layout.pack(packed) is packed
        seen = layout.unrounded()
        assert all(x.dtype == g.dtype for g, x in zip(seen.groups, packed.arrays, strict=True))
        assert all(g.dtype == np.float32 for g in layout.widened().groups)

    @pytest.mark.parametrize(
        "params", [PARAMS, {"a": None, "b": [jnp.ones(2), None], "c": jnp.ones((3, 2))}, jnp.ones(3)]
    )
    def test_of_states(self, params: Any) -> None:
        """Also where the user's pytree has ``None``, which is no leaf, and moments have ``None`` for a leaf."""
        for optimizer in (optim.adam(), factored()):
            state = optimizer.init(params)
            state = optimizer.update(state, params)
            chex.assert_trees_all_equal(state.packed_again(state.unpacked()), state)

    def test_moments_of_other_axes(self) -> None:
        state = factored().init(PARAMS)
        assert jax.tree.map(jnp.shape, state.moments["rows"]) == {"a": (2,), "b": None, "c": (2,), "d": None}
        assert state.moments["whole"]["a"] is None and state.moments["whole"]["d"].shape == ()


def factored() -> optim.Optimizer:
    """One that remembers a vector for each matrix, and nothing of its kind for the rest."""

    def start(w: Any, group: Any) -> dict[str, Any]:
        return {"rows": jnp.sum(w, -1)} if group.kind == "stack" else {"whole": w}

    def move(now: Any, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return w - g, {name: x + 1 for name, x in moments.items()}

    return optim.pointwise.by_group(start, move, {"learning_rate": 1.0}, stacked=matrices)


class TestBatched:
    """States that `jax.vmap` made."""

    @pytest.mark.parametrize("optimizer", [optim.adam(0.1), factored()], ids=["flat", "stacked"])
    def test_read_outside(self, optimizer: optim.Optimizer) -> None:
        big = {**PARAMS, "e": jnp.ones(SMALL + 1), "f": jnp.ones(2, jnp.bfloat16)}
        many = jax.tree.map(lambda x: jnp.stack([x, x + 1, x + 2]), big)
        states = jax.vmap(optimizer.init)(many)
        chex.assert_trees_all_equal(states.params, many)
        chex.assert_trees_all_equal_shapes_and_dtypes(states.params, many)
        grads = jax.tree.map(jnp.ones_like, many)
        new = jax.jit(jax.vmap(optimizer.update))(states, grads)
        one = optimizer.update(optimizer.init(jax.tree.map(lambda x: x[1], many)), jax.tree.map(lambda x: x[1], grads))
        chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], new.params), one.params, rtol=1e-6)
        chex.assert_trees_all_close(jax.tree.map(lambda x: x[1], new.moments), one.moments, rtol=1e-6)
        chex.assert_trees_all_equal(new.packed_again(new.unpacked()), new)
        chex.assert_trees_all_equal(new.replace(params=many).params, many)


class TestErrors:
    """Who, what came, what was due."""

    @pytest.mark.parametrize(
        ("grads", "message"),
        [
            ({"a": PARAMS["a"], "z": 1.0}, "missing b, c, d; unexpected z"),
            ({**PARAMS, "b": jnp.ones(3)}, r"grads at b are \[3\]; the parameter there is \[2\]"),
            ({**PARAMS, "a": jnp.ones(3)}, r"grads at a are \[3\]; the parameter there is \[2, 3\]"),
            (list(PARAMS.values()), "a pytree like the parameters"),
        ],
    )
    def test_grads_that_do_not_fit(self, grads: Any, message: str) -> None:
        state = optim.sgd().init(PARAMS)
        with pytest.raises(TreeError, match=message):
            optim.sgd().update(state, grads)

    def test_grads_of_another_layout(self) -> None:
        with pytest.raises(TreeError, match="grads are packed in another layout"):
            optim.sgd().update(optim.sgd().init(PARAMS), lay_out(PARAMS, matrices).pack(PARAMS))

    def test_leaves_that_do_not_move(self) -> None:
        with pytest.raises(TreeError, match=r"parameter n/0 is int32\[2\]"):
            optim.sgd().init({"n": [jnp.arange(2)]})

    def test_hyperparameters_that_are_not_there(self) -> None:
        with pytest.raises(KeyError, match="learning_rat.*learning_rate, momentum"):
            optim.sgd().init(jnp.ones(1)).replace(hyperparameters={"learning_rat": 1.0})


class TestCost:
    """What the layout is for."""

    def test_equal_layouts_are_one_and_hashed_once(self) -> None:
        one, two = lay_out(PARAMS), lay_out({**PARAMS, "a": PARAMS["a"] + 1})
        assert one == two and hash(one) == hash(two) and one is not two
        assert one != lay_out(PARAMS, matrices) and one != object()
        asked = []

        class Counting(Layout):
            __hash__ = Layout.__hash__

            @property
            def _key(self) -> Any:  # type: ignore[override]
                asked.append(1)
                return self.groups, self.tree

        counting = Counting(one.groups, one.tree)
        assert {counting: 1}[counting] == 1 and len(asked) == 1

    def test_no_second_trace_for_an_equal_layout(self) -> None:
        chex.clear_trace_counter()
        optimizer = optim.adam()
        update = jax.jit(chex.assert_max_traces(optimizer.update, n=1))
        for _ in range(2):
            update(optimizer.init(PARAMS), PARAMS)

    def test_few_kernels_for_many_leaves(self) -> None:
        """One for the step of each group, one that lays the gradients end to end, and a few scalars."""
        rng = np.random.default_rng(0)
        shapes = [tuple(rng.integers(1, 17, size=rng.integers(1, 4))) for _ in range(300)]
        params = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        optimizer = optim.adam()
        state = jax.eval_shape(optimizer.init, params)
        assert len(state.packed.arrays) == 1

        def fusions(*args: Any) -> int:
            text = jax.jit(optimizer.update).lower(*args).compile().as_text()
            return text.count(" fusion(")

        assert 1 <= fusions(state, state.packed) <= 6
        assert 1 <= fusions(state, params) <= 8

    def test_the_state_is_given_up(self) -> None:
        optimizer = optim.adam()
        state = optimizer.init(PARAMS)
        grads = state.layout.pack(PARAMS)
        kept = jax.tree.leaves(state)
        jax.block_until_ready(jax.jit(optimizer.update, donate_argnums=0)(state, grads))
        assert all(x.is_deleted() for x in (*state.packed.arrays, state.slots["first"].arrays[0], kept[0]))
        assert not PARAMS["a"].is_deleted(), "init copies"


@pytest.mark.parametrize("name", ["adam", "nesterov", "decay", "clip"])
def test_gradient_by_the_hyperparameters(name: str) -> None:
    """Ours through three updates, against JAX's."""
    optimizer, key = {
        "adam": (optim.adam(0.1), "beta_1"),
        "nesterov": (optim.nesterov(0.1), "momentum"),
        "decay": (optim.decay_weights(optim.sgd(0.1), 0.3), "decoupled_decay"),
        "clip": (optim.clip_by_global_norm(optim.sgd(0.1), 0.5), "clip_threshold"),
    }[name]

    def after(hyperparameters: dict[str, Any]) -> Any:
        state = optimizer.init(PARAMS)
        state = state.replace(hyperparameters=hyperparameters)
        for _ in range(3):
            state = optimizer.update(state, jax.tree.map(jnp.cos, optimizer.eval_params(state)))
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(state.params))

    at = {"learning_rate": jnp.float32(0.1), key: jnp.float32(0.4)}
    ours, due = jax.jit(fdl.grad(after))(at), jax.jit(jax.grad(after))(at)
    chex.assert_trees_all_close(ours, due, rtol=1e-4)
    assert all(abs(x) > 1e-4 for x in due.values())


def test_packed_is_a_pytree() -> None:
    packed = lay_out(PARAMS).pack(PARAMS)
    assert isinstance(jax.tree.map(lambda x: 2 * x, packed), Packed)
    np.testing.assert_allclose(jax.tree.map(lambda x: 2 * x, packed).unpack()["d"], 14)
