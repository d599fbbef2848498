"""The data sets by the name that configs use."""

from __future__ import annotations

from collections.abc import Callable

from functional_dl.data.breast_cancer import breast_cancer
from functional_dl.data.dataset import Dataset
from functional_dl.data.diabetes import diabetes
from functional_dl.data.digits import digits
from functional_dl.data.fashion_mnist import fashion_mnist
from functional_dl.data.japanese_vowels import japanese_vowels
from functional_dl.data.mnist_subset import mnist_subset
from functional_dl.data.stdlib_text import stdlib_text
from functional_dl.data.table import table
from functional_dl.data.wine import wine

__all__ = ["DATASETS"]

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": digits, "stdlib": stdlib_text, "breast_cancer": breast_cancer, "wine": wine, "diabetes": diabetes,
    "mnist_subset": mnist_subset, "fashion_mnist": fashion_mnist, "japanese_vowels": japanese_vowels, "table": table,
}  # fmt: skip
