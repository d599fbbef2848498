"""Breast cancer, Wisconsin (diagnostic): 569 tumours by 30 measurements of their cell nuclei, malignant or benign."""

from __future__ import annotations

from functional_dl.data.dataset import Dataset, split
from functional_dl.data.reading import labelled

__all__ = ["breast_cancer"]

_MEASURED = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points", "symmetry",
    "fractal dimension",
)  # fmt: skip


def breast_cancer(test_share: float = 0.2, split_seed: int = 0) -> Dataset:
    """Measurements (N, 30) float32 in their own units and labels (N,) int32: 0 malignant (212), 1 benign (357).

    Each of ten measurements has three columns: mean, standard error, and the mean of the three worst.  They range from
    thousandths to thousands: standardise them (`functional_dl.data.standardize`) before training.

    Source: Wolberg, Mangasarian, Street and Street 1993, UCI Machine Learning Repository (see ``files/NOTICE``).

    Example:
      >>> from functional_dl.data import breast_cancer
      >>> breast_cancer().train[0].shape
      (455, 30)
    """
    inputs, targets, labels = labelled("breast_cancer.csv.gz")
    features = tuple(f"{statistic} {name}" for statistic in ("mean", "error of", "worst") for name in _MEASURED)
    facts = {"kind": "classification", "classes": 2, "shape": (30,), "labels": labels, "features": features}
    return Dataset(*split(inputs, targets, test_share, split_seed), facts)
