"""Random orders entry by entry: bijections, fresh for every epoch, and without preference."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl.data.shuffling import ROUNDS, batch_at, permuted


def orders(size: int, seeds: int) -> np.ndarray:
    """(seeds, size): one permutation of each seed."""
    keys = jax.vmap(lambda s: jax.random.bits(jax.random.key(s), (ROUNDS,)))(jnp.arange(seeds, dtype=jnp.uint32))
    return np.asarray(jax.jit(jax.vmap(lambda k: permuted(jnp.arange(size), size, k)))(keys))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 9, 63, 64, 65, 1437])
def test_bijection(size: int) -> None:
    assert (np.sort(orders(size, 20), axis=1) == np.arange(size)).all()


def test_no_place_is_preferred() -> None:
    """Of 4000 orders of 50, how often each example comes at each place: χ² within five deviations of its mean."""
    size, seeds = 50, 4000
    found = orders(size, seeds)
    counts = np.stack([np.bincount(found[:, i], minlength=size) for i in range(size)])
    due = seeds / size
    freedom = (size - 1) ** 2
    assert abs(np.sum((counts - due) ** 2 / due) - freedom) < 5 * np.sqrt(2 * freedom)


def test_neighbours_are_parted() -> None:
    """Distances of neighbours are those of random pairs, n/3 on average; orders of different seeds are unrelated."""
    size = 1000
    found = orders(size, 400).astype(float)
    assert abs(np.abs(np.diff(found, axis=1)).mean() / (size / 3) - 1) < 0.01
    related = [np.corrcoef(a, b)[0, 1] for a, b in pairwise(found)]
    assert abs(np.mean(related)) < 5 / np.sqrt(size * len(related)) and np.std(related) < 1.2 / np.sqrt(size)


def test_batches_of_an_epoch_do_not_overlap_and_epochs_differ() -> None:
    size, batch = 23, 4
    at = jax.jit(partial(batch_at, size=size, batch=batch))
    epochs = [[at(jax.random.key(3), 5 * epoch + i).tolist() for i in range(5)] for epoch in range(3)]
    for epoch in epochs:
        seen = [i for rows in epoch for i in rows]
        assert len(set(seen)) == len(seen) == 20 and set(seen) < set(range(size))
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0][0] != at(jax.random.key(4), 0).tolist()


@pytest.mark.parametrize("batch", [0, 24])
def test_a_batch_that_cannot_be(batch: int) -> None:
    with pytest.raises(ValueError, match=f"batch size {batch} for 23 examples; due is 1 to 23"):
        batch_at(jax.random.key(0), 0, 23, batch)
