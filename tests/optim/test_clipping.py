"""Clipping against float64 references, in any layout and dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl import optim

RNG = np.random.default_rng(0)
SHAPES = {"a": {"bias": (3,), "kernel": (5, 3)}, "b": {"bias": (3,), "kernel": (2, 2, 3, 4)}, "scale": (), "z": (5, 3)}
PARAMS = jax.tree.map(lambda s: RNG.normal(size=s), SHAPES, is_leaf=lambda x: isinstance(x, tuple))
GRADS = jax.tree.map(lambda s: 3 * RNG.normal(size=s), SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def single(tree: Any, dtype: Any = jnp.float32) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)


def seen(wrap: Callable[[optim.Optimizer], optim.Optimizer], grads: Any, params: Any = PARAMS) -> Any:
    """The gradients that an optimizer inside gets."""
    optimizer = wrap(optim.sgd(1.0))
    state = optimizer.init(single(params))
    new = jax.jit(optimizer.update)(state, single(grads))
    return jax.tree.map(lambda a, b: np.asarray(a, np.float64) - np.asarray(b, np.float64), state.params, new.params)


def joint(tree: Any) -> float:
    return float(np.sqrt(sum(np.sum(x**2) for x in jax.tree.leaves(tree))))


def close(found: Any, due: Any) -> None:
    chex.assert_trees_all_close(found, due, rtol=2e-5, atol=2e-6)


def unit_norm(x: np.ndarray) -> np.ndarray:
    axes = tuple(range(x.ndim - 1)) if x.ndim > 1 else None
    return np.sqrt(np.sum(x**2, axis=axes, keepdims=True))


def adaptive(g: np.ndarray, w: np.ndarray, ratio: float = 0.01, epsilon: float = 1e-3) -> np.ndarray:
    g_norm, due = unit_norm(g), ratio * np.maximum(unit_norm(w), epsilon)
    return np.where(g_norm > due, g * (due / g_norm), g).reshape(g.shape)


NORM = joint(GRADS)
CLIPS: dict[str, tuple[Callable[[optim.Optimizer], optim.Optimizer], Any]] = {
    "value": (lambda o: optim.clip_by_value(o, 0.5), jax.tree.map(lambda g: np.clip(g, -0.5, 0.5), GRADS)),
    "norm, above": (lambda o: optim.clip_by_global_norm(o, 2.0), jax.tree.map(lambda g: g * 2 / NORM, GRADS)),
    "norm, below": (lambda o: optim.clip_by_global_norm(o, 2 * NORM), GRADS),
    "norm, always": (
        lambda o: optim.clip_by_global_norm(o, 2 * NORM, always=True),
        jax.tree.map(lambda g: 2 * g, GRADS),
    ),
    "leaf": (
        lambda o: optim.clip_by_leaf_norm(o, 5.0),
        jax.tree.map(lambda g: g * min(1, 5 / np.linalg.norm(g)), GRADS),
    ),
    "leaf, always": (
        lambda o: optim.clip_by_leaf_norm(o, 5.0, always=True),
        jax.tree.map(lambda g: g * 5 / np.linalg.norm(g), GRADS),
    ),
    "adaptive": (optim.clip_adaptively, jax.tree.map(adaptive, GRADS, PARAMS)),
    "adaptive, in part": (
        lambda o: optim.clip_adaptively(o, 3.5, mask="*kernel"),
        {
            name: {"bias": x["bias"], "kernel": adaptive(x["kernel"], PARAMS[name]["kernel"], 3.5)}
            if name in "ab"
            else x
            for name, x in GRADS.items()
        },
    ),
}


@pytest.mark.parametrize("name", CLIPS)
def test_equals_the_formula(name: str) -> None:
    wrap, due = CLIPS[name]
    close(seen(wrap, GRADS), due)
    zero = jax.tree.map(np.zeros_like, GRADS)
    close(seen(wrap, zero), zero)


@pytest.mark.parametrize("name", CLIPS)
def test_bfloat16_and_any_layout(name: str) -> None:
    """Stacked and flat leaves, in bfloat16, with norms in float32, keep structure and dtypes."""
    inner = optim.pointwise.by_group(
        lambda w, group: {}, lambda now, w, g, moments: (w - g, {}), {}, stacked=lambda path, x: x.ndim == 2
    )
    optimizer = CLIPS[name][0](inner)
    state = optimizer.init(single(jax.tree.map(np.zeros_like, PARAMS), jnp.bfloat16))
    new = jax.jit(optimizer.update)(state, single(GRADS, jnp.bfloat16))
    chex.assert_trees_all_equal_shapes_and_dtypes(state, new)
    if "adaptive" not in name:
        due = jax.tree.map(lambda x: -x, CLIPS[name][1])
        chex.assert_trees_all_close(single(new.params), single(due), rtol=2e-2, atol=1e-2)


def test_torch_divides_by_a_little_more() -> None:
    """torch.nn.utils.clip_grad_norm_: max_norm / (total_norm + 1e-6), at most 1."""
    small = jax.tree.map(lambda g: g * (1e-6 / NORM), GRADS)
    found = seen(
        lambda o: optim.clip_by_global_norm(o, 1e-6, convention="torch"), small, jax.tree.map(np.zeros_like, PARAMS)
    )
    np.testing.assert_allclose(joint(found), 0.5e-6, rtol=1e-4)
    with pytest.raises(ValueError, match="clip_by_global_norm: convention 'numpy'"):
        optim.clip_by_global_norm(optim.sgd(), 1.0, convention="numpy")  # type: ignore[arg-type]


def test_weights_of_zero_can_move() -> None:
    """A unit without weights counts as one of norm ε."""
    zero = jax.tree.map(np.zeros_like, PARAMS)
    found = seen(lambda o: optim.clip_adaptively(o, 0.5, epsilon=0.25), GRADS, zero)
    due = jax.tree.map(lambda g, w: adaptive(g, w, 0.5, 0.25), GRADS, zero)
    close(found, due)
    assert joint(found) > 0.1


def test_only_above_the_threshold() -> None:
    found = seen(lambda o: optim.clip_by_global_norm(o, 5.0), np.array([3.0, 0.0]), np.zeros(2))
    np.testing.assert_allclose(found, [3.0, 0.0])
    found = seen(lambda o: optim.clip_by_global_norm(o, 5.0), np.array([30.0, 40.0]), np.zeros(2))
    np.testing.assert_allclose(found, [3.0, 4.0], rtol=1e-6)


def test_new_thresholds_do_not_recompile() -> None:
    chex.clear_trace_counter()
    optimizer = optim.clip_adaptively(
        optim.clip_by_leaf_norm(optim.clip_by_global_norm(optim.clip_by_value(optim.sgd(1.0), 1.0), 1.0), 1.0), 1.0
    )
    update = jax.jit(chex.assert_max_traces(optimizer.update, n=1))
    state = optimizer.init(single(PARAMS))
    names = ("clip_value", "clip_threshold", "clip_leaf_norm", "clip_ratio")
    for name in names:
        new = update(state.replace(hyperparameters=dict.fromkeys(names, 1e6) | {name: 0.0}), single(GRADS))
        close(single(new.params), single(PARAMS))
    assert joint(jax.tree.map(lambda a, b: a - b, update(state, single(GRADS)).params, state.params)) > 0.1


def test_nan_is_not_hidden() -> None:
    grads = {**GRADS, "scale": np.float64(np.nan)}
    for name in ("norm, above", "leaf", "value"):
        assert np.isnan(seen(CLIPS[name][0], grads)["scale"]), name
    assert np.isnan(seen(CLIPS["norm, above"][0], grads)["z"]).all()


def test_norm_of_bfloat16_is_summed_in_float32() -> None:
    grads = np.full(70_000, 1.0)
    optimizer = optim.clip_by_global_norm(optim.sgd(1.0), 1.0)
    state = optimizer.init(jnp.zeros(70_000))
    new = optimizer.update(state, jnp.asarray(grads, jnp.bfloat16))
    np.testing.assert_allclose(new.params, -1 / np.sqrt(70_000), rtol=1e-2)


@pytest.mark.parametrize("name", CLIPS)
def test_around_a_scaled_loss(name: str) -> None:
    """Thresholds are meant for the gradients of the loss, whichever wrapper is outside."""
    wrap, due = CLIPS[name]
    close(seen(lambda o: wrap(optim.scale_loss(o, 2.0**10)), jax.tree.map(lambda g: g * 2**10, GRADS)), due)
    optimizer = wrap(optim.scale_loss(optim.sgd(1.0)))
    state = optimizer.init(single(PARAMS))
    new = jax.jit(optimizer.update)(state, single({**GRADS, "scale": np.inf}))
    assert new.scalars["overflows"] == 1
    chex.assert_trees_all_equal(new.params, state.params)
