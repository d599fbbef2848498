"""Any two wrappers around each other, and many."""

from __future__ import annotations

import itertools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl import optim
from functional_dl.optim import schedules
from functional_dl.training.snapshots import restore, store
from functional_dl.trees import name_leaves
from tests.optim.wrapping import Wrap, close, gradients, params

WRAPS: dict[str, Wrap] = {
    "value": lambda o: optim.clip_by_value(o, 1.0),
    "skip": optim.skip_nonfinite,
    "decay": lambda o: optim.decay_weights(o, 0.1, "*kernel"),
    "groups": lambda o: optim.groups({"*bias": optim.sgd(0.1), "*": o}),
    "norm": lambda o: optim.clip_by_global_norm(o, 1.0),
    "master": optim.master_weights,
    "accumulate": lambda o: optim.accumulate(o, 2),
    "leaf": lambda o: optim.clip_by_leaf_norm(o, 0.5),
    "average": lambda o: optim.average(o, 0.5, debias=True),
    "scale": lambda o: optim.scale_loss(o, 2.0**4, growth_interval=2),
    "l2": lambda o: optim.decay_weights(o, 0.1, lambda path, leaf: leaf.ndim > 0, coupled=True),
    "chance": optim.stochastic_rounding,
    "adaptive": lambda o: optim.clip_adaptively(o, 0.1),
    "swa": lambda o: optim.swa(o, 1),
    "schedule": lambda o: optim.scheduled(o, **{k: schedules.exponential(0.1) for k in ("beta_1",)}),
}
NAMES = list(WRAPS)
PAIRS = [
    (NAMES[i], NAMES[(i + k) % len(NAMES)])
    for k in (1, 4)
    for i in range(len(NAMES))
    if (NAMES[i], NAMES[(i + k) % len(NAMES)]) not in {("groups", "scale"), ("schedule", "groups")}
]
ALL = ("scale", "skip", "average", "decay", "groups", "master", "leaf", "l2", "chance")


# Each around its neighbour stands, in the default run, for each around one further on.
FURTHER = len(NAMES)


@pytest.mark.parametrize(
    "names", [*PAIRS[:FURTHER], *(pytest.param(p, marks=pytest.mark.thorough) for p in PAIRS[FURTHER:]), ALL],
    ids=" of ".join,
)  # fmt: skip
def test_any_wrappers_compose(names: tuple[str, ...], tmp_path: Path) -> None:
    """jit = eager, nothing changes its type, nothing recompiles, states can be batched, stored and restored."""
    optimizer = optim.adam(0.01)
    for name in reversed(names):
        optimizer = WRAPS[name](optimizer)
    first = params(jnp.bfloat16)
    chex.clear_trace_counter()
    update = jax.jit(chex.assert_max_traces(optimizer.update, n=1))
    given = list(itertools.islice(gradients(first), 4))
    if {"scale", "skip"} & set(names):
        given[1]["scale"] = jnp.float32(jnp.nan)

    start = state = optimizer.init(first)
    eager = optimizer.update(start, given[0])
    close(update(start, given[0]), eager, rtol=1e-2, atol=1e-3)
    middle = None
    for i, grads in enumerate(given):
        state = update(state, grads)
        if i == 1:
            middle = state
            store(tmp_path / "s", state.unpacked(), {})
    chex.assert_trees_all_equal_shapes_and_dtypes(start, state)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in jax.tree.leaves(state))
    assert any(
        (np.asarray(x) != np.asarray(y)).any()
        for x, y in zip(*map(jax.tree.leaves, (state.params, first)), strict=True)
    )
    for read in (optimizer.eval_params, optimizer.result):
        chex.assert_trees_all_equal_shapes_and_dtypes(read(state), first)

    again = start.packed_again(restore(tmp_path / "s", start.unpacked())[0])
    chex.assert_trees_all_equal(again, middle)
    for grads in given[2:]:
        again = update(again, grads)
    chex.assert_trees_all_equal(again, state)

    rate = next(k for k in start.hyperparameters if k.endswith("learning_rate"))
    update(start.replace(hyperparameters={rate: 0.5}), given[0])

    two = jax.tree.map(lambda *x: jnp.stack(x), start, start)
    both = jax.jit(jax.vmap(optimizer.update))(two, jax.tree.map(lambda *x: jnp.stack(x), given[0], given[0]))
    close(jax.tree.map(lambda x: x[1], both), eager, rtol=1e-2, atol=1e-3)
    assert set(name_leaves(both.params)) == set(name_leaves(first))
