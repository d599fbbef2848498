"""The 1797 handwritten digits of 8×8 pixels that ship with the package (see ``files/NOTICE``)."""

from __future__ import annotations

import gzip
from importlib.resources import files

import numpy as np

from functional_dl.data.dataset import Dataset, split

__all__ = ["digits"]


def digits(test_share: float = 0.2, split_seed: int = 0) -> Dataset:
    """Images (N, 8, 8) float32 in [0, 1] and labels (N,) int32.

    Example:
      >>> from functional_dl.data import digits
      >>> digits().train[0].shape
      (1438, 8, 8)
    """
    packed = files("functional_dl.data").joinpath("files/digits.csv.gz").read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode("ascii").splitlines(), delimiter=",", dtype=np.float32)
    images, labels = table[:, :-1].reshape(-1, 8, 8) / np.float32(16), table[:, -1].astype(np.int32)
    train, test = split(images, labels, test_share, split_seed)
    facts = {"kind": "classification", "classes": 10, "shape": (8, 8), "labels": tuple(map(str, range(10)))}
    return Dataset(train, test, facts)
