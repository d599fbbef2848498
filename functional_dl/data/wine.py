"""Wine recognition: 178 wines of three cultivators by 13 chemical measurements."""

from __future__ import annotations

from functional_dl.data.dataset import Dataset, split
from functional_dl.data.reading import labelled

__all__ = ["wine"]

_FEATURES = (
    "alcohol", "malic acid", "ash", "alcalinity of ash", "magnesium", "total phenols", "flavanoids",
    "nonflavanoid phenols", "proanthocyanins", "color intensity", "hue", "OD280/OD315 of diluted wines", "proline",
)  # fmt: skip


def wine(test_share: float = 0.2, split_seed: int = 0) -> Dataset:
    """Measurements (N, 13) float32 in their own units and labels (N,) int32: cultivator 0 (59), 1 (71) or 2 (48).

    They range from tenths to thousands: standardise them (`functional_dl.data.standardize`) before training.

    Source: Aeberhard and Forina 1992, UCI Machine Learning Repository (see ``files/NOTICE``).

    Example:
      >>> from functional_dl.data import wine
      >>> wine().train[0].shape, wine().facts["classes"]
      ((142, 13), 3)
    """
    inputs, targets, labels = labelled("wine.csv.gz")
    facts = {"kind": "classification", "classes": 3, "shape": (13,), "labels": labels, "features": _FEATURES}
    return Dataset(*split(inputs, targets, test_share, split_seed), facts)
