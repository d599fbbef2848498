"""Japanese vowels: 640 utterances of nine speakers as series of 12 coefficients, from the aeon package's data."""

from __future__ import annotations

import numpy as np

from functional_dl.data.dataset import DataError, Dataset
from functional_dl.data.reading import installed
from functional_dl.data.time_series import padded_in_front, read_ts

__all__ = ["japanese_vowels"]


def japanese_vowels() -> Dataset:
    """Series (N, 29, 12) float32 and speakers (N,) int32; the archive's own split, 270 to train on and 370 to test on.

    Series have 7 to 29 frames and are padded with zeros IN FRONT, to the longest of both parts: so a recurrent network
    that reads all 29 frames ends on the last frame spoken, and its last state is the one to classify by, for all
    lengths alike.  Padding comes before the word, not instead of it: the network's state at the first real frame is
    where so many zero frames have led it (zero itself as long as biases are zero).  ``facts["lengths"]`` has the true
    lengths, (270,) and (370,) int32: row i's real frames are its last ``lengths[i]``.  Preprocessing that shifts
    columns shifts the padding with them.

    Needs ``pip install --no-deps aeon==1.6.0`` (6.4 MB; without ``--no-deps`` it brings numba, pandas, scikit-learn).

    Raises:
      MissingDataError: aeon is not installed.
      DataError: its files are damaged.

    Source: Kudo, Toyama and Shimbo 1999, Multidimensional curve classification using passing-through regions; UCI
    Machine Learning Repository (CC BY 4.0); aeon (BSD-3-Clause).

    Example:
      >>> from functional_dl.data import DATASETS
      >>> DATASETS["japanese_vowels"].__name__
      'japanese_vowels'
    """
    name = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"
    train, test = (read_ts(installed("aeon", "1.6.0", name.format(part))) for part in ("TRAIN", "TEST"))
    dimensions = train.values[0].shape[1]
    if train.labels != test.labels or dimensions != test.values[0].shape[1]:
        raise DataError("Japanese vowels: the parts for training and testing differ in classes or dimensions")
    lengths = tuple(np.array([len(values) for values in part.values], np.int32) for part in (train, test))
    longest = int(max(part.max() for part in lengths))
    facts = {
        "kind": "classification", "classes": len(train.labels), "shape": (longest, dimensions), "labels": train.labels,
        "lengths": lengths,
    }  # fmt: skip
    return Dataset(
        (padded_in_front(train.values, longest), train.classes),
        (padded_in_front(test.values, longest), test.classes),
        facts,
    )
