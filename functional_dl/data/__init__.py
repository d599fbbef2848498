"""Data that needs no download, deterministic splits, and a sampler whose state is three integers."""

from functional_dl.data.dataset import Dataset
from functional_dl.data.digits import digits
from functional_dl.data.sampler import Sampler
from functional_dl.data.stdlib_text import stdlib_text

__all__ = ["Dataset", "Sampler", "digits", "stdlib_text"]
