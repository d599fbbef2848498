"""What a data set is: arrays for training and for testing, and how to split one into the other."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Dataset", "split"]


class Dataset(NamedTuple):
    """Examples along the first axis.

    Attributes:
      train: inputs and targets to train on.
      test: inputs and targets to test on.
      facts: numbers worth knowing, such as ``classes`` or ``unigram_entropy`` (nats).
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
