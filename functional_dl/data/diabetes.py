"""Diabetes: ten measurements of 442 patients and how far the disease had gone on a year later, a regression."""

from __future__ import annotations

import numpy as np

from functional_dl.data.dataset import Dataset, split
from functional_dl.data.reading import numbers, shipped

__all__ = ["diabetes"]

_FEATURES = (
    "age", "sex", "body mass index", "blood pressure", "total serum cholesterol", "low-density lipoproteins",
    "high-density lipoproteins", "total cholesterol / HDL", "log of serum triglycerides", "blood sugar",
)  # fmt: skip


def diabetes(test_share: float = 0.2, split_seed: int = 0) -> Dataset:
    """Measurements (N, 10) float32, raw (age in years, sex 1 or 2), and progression (N, 1) float32, 25 to 346.

    These are the raw figures of Efron et al., not the centred and scaled ones that scikit-learn hands out by default,
    which were scaled by statistics of all 442 rows, test rows with them.  Standardise inputs and targets
    (`functional_dl.data.standardize`) before training.

    Source: Efron, Hastie, Johnstone and Tibshirani 2004, Least angle regression (see ``files/NOTICE``).

    Example:
      >>> from functional_dl.data import diabetes
      >>> diabetes().train[0].shape, diabetes().train[1].shape
      ((354, 10), (354, 1))
    """
    inputs = numbers(shipped("diabetes_data_raw.csv.gz"), "diabetes_data_raw.csv.gz", None).astype(np.float32)
    targets = numbers(shipped("diabetes_target.csv.gz"), "diabetes_target.csv.gz").astype(np.float32)
    facts = {"kind": "regression", "targets": 1, "shape": (10,), "features": _FEATURES}
    return Dataset(*split(inputs, targets, test_share, split_seed), facts)
