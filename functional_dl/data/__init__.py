"""Data that ships or is on the machine, preprocessing, deterministic splits, and a sampler of three integers' state."""

from functional_dl.data.breast_cancer import breast_cancer
from functional_dl.data.dataset import DataError, Dataset, MissingDataError, split
from functional_dl.data.datasets import DATASETS
from functional_dl.data.diabetes import diabetes
from functional_dl.data.digits import digits
from functional_dl.data.fashion_mnist import fashion_mnist
from functional_dl.data.idx import read_idx
from functional_dl.data.japanese_vowels import japanese_vowels
from functional_dl.data.mnist_subset import mnist_subset
from functional_dl.data.preprocessing import (
    PREPROCESSORS,
    Fitted,
    Preprocessor,
    center,
    chain,
    min_max,
    nonnegative,
    one_hot,
    pca_whiten,
    preprocess,
    standardize,
    zca_whiten,
)
from functional_dl.data.sampler import Sampler
from functional_dl.data.stdlib_text import stdlib_text
from functional_dl.data.table import table
from functional_dl.data.time_series import Series, padded_in_front, read_ts
from functional_dl.data.wine import wine

__all__ = [
    "DATASETS", "PREPROCESSORS", "DataError", "Dataset", "Fitted", "MissingDataError", "Preprocessor", "Sampler",
    "Series", "breast_cancer", "center", "chain", "diabetes", "digits", "fashion_mnist", "japanese_vowels", "min_max",
    "mnist_subset", "nonnegative", "one_hot", "padded_in_front", "pca_whiten", "preprocess", "read_idx", "read_ts",
    "split", "standardize", "stdlib_text", "table", "wine", "zca_whiten",
]  # fmt: skip
