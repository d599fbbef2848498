"""What a data set is: arrays for training and for testing, what is known of them, and how to split one into the other.

Facts have the same keys everywhere, so that a network's input and output can be picked from them:

| key        | meaning                                                              | there when                   |
|------------|----------------------------------------------------------------------|------------------------------|
| `kind`     | "classification", "regression" or "language"                         | always                       |
| `shape`    | shape of one example's inputs: (30,), (28, 28), (time, features)     | always                       |
| `classes`  | how many classes; targets are (N,) int32 in [0, classes)             | classification               |
| `targets`  | how many numbers are to be found; targets are (N, targets) float32   | regression                   |
| `vocabulary`, `context` | characters known, and characters in one example         | language                     |
| `labels`   | the classes' names, a tuple of texts                                 | classification               |
| `features` | the columns' names, a tuple of texts                                 | where the source names them  |
| `lengths`  | true lengths of padded series: (train (N,), test (N,)) int32         | padded series                |
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["DataError", "Dataset", "MissingDataError", "split"]


class DataError(ValueError):
    """Data that cannot be used: one line that says where, what came, what was due."""


class MissingDataError(DataError, FileNotFoundError):
    """A data set that is not on this machine; the message ends with the one command that brings it."""


class Dataset(NamedTuple):
    """Examples along the first axis.

    Attributes:
      train: inputs and targets to train on.
      test: inputs and targets to test on.
      facts: what is known of them, by the keys that `functional_dl.data.dataset` lists; some data sets add their own,
        such as ``unigram_entropy`` (nats).
    """

    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    facts: dict[str, Any]


def split(inputs: np.ndarray, targets: np.ndarray, test_share: float, seed: int) -> tuple[Any, Any]:
    """Shuffle by ``seed`` and cut: (train inputs, targets), (test inputs, targets)."""
    order = np.random.default_rng(seed).permutation(len(inputs))
    cut = len(inputs) - round(test_share * len(inputs))
    train, test = order[:cut], order[cut:]
    return (inputs[train], targets[train]), (inputs[test], targets[test])
