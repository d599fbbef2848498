"""Data: what ships, deterministic splits, and a sampler that goes on where it stopped."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functional_dl.data import Sampler, digits, stdlib_text


def test_digits_are_all_there() -> None:
    data = digits()
    assert data.train[0].shape == (1438, 8, 8) and data.test[0].shape == (359, 8, 8)
    labels = np.concatenate([data.train[1], data.test[1]])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.train[0].min() == 0 and data.train[0].max() == 1
    assert "CC BY 4.0" in files("functional_dl.data").joinpath("files/NOTICE").read_text()


def test_splits_depend_on_their_seed_alone() -> None:
    np.testing.assert_array_equal(digits().test[0], digits().test[0])
    assert np.any(digits(split_seed=1).test[1] != digits().test[1])


def test_text_targets_are_the_inputs_one_on() -> None:
    data = stdlib_text(context=16, characters=20_000)
    inputs, targets = data.train
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    np.testing.assert_array_equal(inputs[1:, 0], targets[:-1, -1])
    share = np.bincount(np.concatenate([inputs.ravel(), data.test[0].ravel()])) / (inputs.size + data.test[0].size)
    entropy = -np.sum(share[share > 0] * np.log(share[share > 0]))
    assert abs(entropy - data.facts["unigram_entropy"]) < 0.02


@given(size=st.integers(1, 40), batch=st.integers(1, 40), stop=st.integers(0, 60), seed=st.integers(0, 2**32 - 1))
def test_sampler_resumes(size: int, batch: int, stop: int, seed: int) -> None:
    if batch > size:
        with pytest.raises(ValueError, match="batch size"):
            Sampler(size, batch, seed)
        return
    whole = Sampler(size, batch, seed)
    first = [next(whole) for _ in range(stop)]
    resumed = Sampler(size, batch, **whole.state())
    for _ in range(5):
        np.testing.assert_array_equal(next(whole), next(resumed))
    epoch = np.concatenate(first[: size // batch]) if stop >= size // batch else np.arange(0)
    assert len(set(epoch.tolist())) == len(epoch)  # an epoch repeats nothing


def test_order_is_the_same_on_every_machine() -> None:
    assert next(Sampler(10, 5, seed=3)).tolist() == [6, 1, 8, 5, 2]
