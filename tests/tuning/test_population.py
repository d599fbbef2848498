"""A member trains the same by itself, in a population and after compaction, however members are laid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import pytest

from functional_dl.data.shuffling import batch_at
from functional_dl.training.step import network_step
from functional_dl.tuning.members import ORDER
from functional_dl.tuning.memory import bytes_needed
from functional_dl.tuning.population import Member, Population
from functional_dl.tuning.problem import Problem
from tests.tuning.problems import BATCH, EXAMPLES, RATES, curve, member, record


def population(
    problem: Problem, chunk: int | None, devices: int = 1, of: Callable[[int], Member] = member, **options: Any
) -> Population:
    paces = {} if chunk is None else {kind: {chunk: 1.0} for kind in ["", "width=3", "width=5"]}
    return Population(problem, {"rate"}, of, jax.devices()[:devices], paces=paces, **options)


def state(trained: Population, who: int) -> dict[str, np.ndarray]:
    """A member's parameters."""
    for arrays, ids in zip(*_stored(trained), strict=True):
        if who in ids:
            packed = jax.tree.map(partial(_row, ids.index(who)), arrays.training.optimizer)
            return {k: np.asarray(x) for k, x in packed.params.items()}
    raise KeyError(who)


def _row(row: int, x: Any) -> Any:
    return jax.numpy.asarray(x[row])


def _stored(trained: Population) -> tuple[list[Any], list[list[int]]]:
    arrays, ids = trained.stored()
    return [arrays[str(k)] for k in range(len(ids))], ids


@cache
def _plain(make: Callable[[], Problem]) -> tuple[Any, Any, Any]:
    """A member's first state, its batch at a step, and a step; each compiled once for all tests."""
    ready = make().prepare({})
    train = tuple(map(jax.numpy.asarray, ready.parts.train))

    def begin(rate: Any, seed: Any) -> Any:
        return ready.recipe({"rate": rate}).start(seed)

    def batch(seed: Any, i: Any) -> Any:
        rows = batch_at(jax.random.fold_in(jax.random.key(seed), ORDER), i, len(train[0]), ready.batch)
        return tuple(x[rows] for x in train)

    def step(rate: Any, training: Any, batch: Any) -> Any:
        recipe = ready.recipe({"rate": rate})
        return network_step(recipe.loss, recipe.optimizer)(training, batch)[0]

    return jax.jit(begin), jax.jit(batch), jax.jit(step)


@cache
def in_a_loop(make: Callable[[], Problem], who: int, steps: int) -> dict[str, np.ndarray]:
    """What plain jitted steps make of a member, one after the other."""
    begin, batch, step = _plain(make)
    rate, seed = np.float32(member(who).values["rate"]), np.uint32(member(who).seed)
    training = begin(rate, seed)
    for i in range(steps):
        training = step(rate, training, batch(seed, i))
    return {k: np.asarray(x) for k, x in training.optimizer.params.items()}


# How a population may lie: members side by side, devices, and whether some are dropped on the way.
LAYOUTS = [(1, 1), (2, 1), (16, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(("chunk", "devices"), LAYOUTS)
def test_members_see_the_same_batches_and_random_numbers(chunk: int, devices: int) -> None:
    problem = record()
    together = population(problem, chunk, devices, capacity=9)
    together.run(dict.fromkeys(range(9), 7))
    together.retain([1, 4, 6, 8])
    together.run(dict.fromkeys([8, 4, 1], 6))  # 6 waits
    together.run(dict.fromkeys([1, 6, 20], 4))  # 20 is new, 4 and 8 wait
    for who, steps in {1: 17, 4: 13, 6: 11, 8: 13, 20: 4}.items():
        found, due = state(together, who), in_a_loop(record, who, steps)
        np.testing.assert_array_equal(found["noise"], due["noise"])
        np.testing.assert_array_equal(found["seen"], due["seen"])


def test_the_record_can_tell_steps_apart() -> None:
    """Otherwise the test above would say nothing: other seeds, other numbers of steps, other orders differ."""
    seen = [in_a_loop(record, who, steps)["seen"] for who, steps in [(0, 5), (1, 5), (0, 6)]]
    assert all(np.any(x != y) for x, y in [(seen[0], seen[1]), (seen[0], seen[2])])
    assert np.count_nonzero(in_a_loop(record, 0, EXAMPLES // BATCH)["seen"]) == EXAMPLES // BATCH * BATCH


@pytest.mark.parametrize(("chunk", "devices"), LAYOUTS)
def test_trajectories_agree_to_rounding(chunk: int, devices: int) -> None:
    problem = curve()
    together = population(problem, chunk, devices, capacity=9)
    metrics = together.run(dict.fromkeys(range(9), 12))
    best = sorted(metrics, key=lambda i: metrics[i]["loss"])[:3]
    together.retain(best)
    metrics = together.run(dict.fromkeys(best, 18))
    for who in best:
        found, due = state(together, who), in_a_loop(curve, who, 30)
        for name in due:
            np.testing.assert_allclose(found[name], due[name], rtol=2e-5, atol=2e-6)
    assert all(np.isfinite(metrics[who]["loss"]) for who in best)


def test_kinds_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Widths are programs of their own; states that do not fit together on the device take turns."""
    problem = curve()

    def of(i: int) -> Member:
        return Member({"rate": RATES[i], "width": 3 if i % 2 else 5}, i)

    wide = population(problem, None, of=of)
    ids: Sequence[int] = range(8)
    first = wide.run(dict.fromkeys(ids, 10))
    tight = population(problem, 1, of=of, limit=10**9)
    monkeypatch.setattr("functional_dl.tuning.population.SHARE_OF_STATES", 5e-7)  # two or three members
    second = tight.run(dict.fromkeys(ids, 10))
    assert {wide.kind(i) for i in ids} == {"width=3", "width=5"}
    assert len(wide._pools) == 2 and len(tight._pools) > 2
    for p in (wide, tight):
        p.retain([0, 1, 5])
    first.update(wide.run({0: 5, 1: 5, 5: 8}))
    second.update(tight.run({0: 5, 1: 5, 5: 8}))
    for i in ids:
        assert first[i]["loss"] == pytest.approx(second[i]["loss"], rel=1e-4)
    assert wide.test([0, 5])[5]["loss"] == pytest.approx(tight.test([5])[5]["loss"], rel=1e-4)


def test_chunks_keep_within_the_limit() -> None:
    """Where a rung of all members side by side takes too much, fewer run at once."""
    everyone = population(curve(), 16)
    everyone.run(dict.fromkeys(range(16), 1))
    (pool,) = everyone._pools.values()
    assert pool._programs is not None and pool._programs.chunk == 16
    took = bytes_needed(pool._programs.compiled_rung(None))
    fewer = population(curve(), 16, limit=took - 1)
    assert fewer.run(dict.fromkeys(range(16), 1)).keys() == set(range(16))
    (pool,) = fewer._pools.values()
    assert pool._programs is not None and pool._programs.chunk < 16
    assert bytes_needed(pool._programs.compiled_rung(None)) < took


def test_too_little_memory_is_said() -> None:
    with pytest.raises(ValueError, match=r"takes [\d,]+ bytes on a device even if they are trained one by one"):
        population(curve(), None, limit=100).run({0: 1})


def test_stored_members_go_on_as_they_would_have() -> None:
    problem = curve()
    first = population(problem, 2)
    first.run(dict.fromkeys(range(4), 9))
    first.retain([3, 1])
    arrays, ids = first.stored()
    again = Population(problem, {"rate"}, member, jax.devices()[:1], paces=first.paces)
    due = again.like(ids)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), due) == jax.tree.map(lambda x: (x.shape, x.dtype), arrays)
    again.restore(arrays, ids)
    assert again.held == {1, 3}
    assert again.run({1: 6, 3: 6}) == first.run({1: 6, 3: 6})


def test_nan_is_ranked_last() -> None:
    """Members with NaN do not spoil those beside them, and stand behind them all."""

    def of(i: int) -> Member:
        return Member({"rate": [0.1, float("nan"), 0.01, float("inf")][i]}, i)

    together = population(curve(), 4, of=of)
    metrics = together.run(dict.fromkeys(range(4), 5))
    assert np.isnan(metrics[1]["loss"]) and np.isfinite(metrics[0]["loss"] + metrics[2]["loss"])
    (pool,) = together._pools.values()
    assert set(pool._ids[:2]) == {0, 2}
