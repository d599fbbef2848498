"""The forms that treat each column for itself: centring, standardising, shifting, min–max, and one-hot.

A form works on float64 matrices, one row an example; `functional_dl.data.preprocessing` brings data into that shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from functional_dl.data.dataset import DataError

__all__ = ["CENTER", "MIN_MAX", "NONNEGATIVE", "ONE_HOT", "STANDARDIZE", "Form", "Values", "mean_of", "note_constant"]

Values = dict[str, np.ndarray]


class Form(NamedTuple):
    """What a kind of preprocessing does, in three pure functions.

    Attributes:
      fit: ``fit(x_ND, names, rounding, **options) -> (values, notes)``.  ``names(columns)`` says columns in words;
        ``rounding`` is the relative error that the entries came with.
      apply: ``apply(values, x_ND) -> y_NK``.
      invert: ``invert(values, y_NK) -> x_ND``.
      width: ``width(values) -> K`` where K is not D and the shape of an example becomes (K,).
      whole: the inverse gives whole numbers (int32).
    """

    fit: Callable[..., tuple[Values, list[str]]]
    apply: Callable[[Values, np.ndarray], np.ndarray]
    invert: Callable[[Values, np.ndarray], np.ndarray]
    width: Callable[[Values], int] | None = None
    whole: bool = False


def mean_of(x: np.ndarray) -> np.ndarray:
    """Column means; exact where a column is constant."""
    mean = x.mean(axis=0)
    # Once more on what the first pass left: a sum of many equal roundings is off by some of them, which a standard
    # deviation of that size would blow up to 1.
    return mean + (x - mean).mean(axis=0)


def note_constant(x: np.ndarray, names: Callable[[np.ndarray], str]) -> list[str]:
    """A sentence on the columns that have one value only, if there are any."""
    constant = np.flatnonzero(x.min(axis=0) == x.max(axis=0))
    if not len(constant):
        return []
    return [f"{names(constant)} {'is' if len(constant) == 1 else 'are'} constant in the training data"]


def _fit_center(x: np.ndarray, names: Callable[[np.ndarray], str], rounding: float) -> tuple[Values, list[str]]:
    return {"mean": mean_of(x)}, note_constant(x, names)


def _fit_standardize(x: np.ndarray, names: Callable[[np.ndarray], str], rounding: float) -> tuple[Values, list[str]]:
    mean = mean_of(x)
    centred = x - mean
    # Squares of what is at most 1: a column of 1e-200 must not have the variance 0, nor one of 1e200 an infinite one.
    largest = np.abs(centred).max(axis=0)
    largest = np.where(largest == 0, 1.0, largest)
    deviation = largest * np.sqrt(np.mean((centred / largest) ** 2, axis=0))
    # What does not vary is centred and left at that: 0/0 is no feature.
    return {"mean": mean, "scale": np.where(deviation == 0, 1.0, deviation)}, note_constant(x, names)


def _fit_nonnegative(x: np.ndarray, names: Callable[[np.ndarray], str], rounding: float) -> tuple[Values, list[str]]:
    return {"shift": np.maximum(0.0, -x.min(axis=0))}, note_constant(x, names)


def _fit_min_max(x: np.ndarray, names: Callable[[np.ndarray], str], rounding: float) -> tuple[Values, list[str]]:
    lowest = x.min(axis=0)
    extent = x.max(axis=0) - lowest
    return {"minimum": lowest, "range": np.where(extent == 0, 1.0, extent)}, note_constant(x, names)


CENTER = Form(_fit_center, lambda v, x: x - v["mean"], lambda v, y: y + v["mean"])
STANDARDIZE = Form(_fit_standardize, lambda v, x: (x - v["mean"]) / v["scale"], lambda v, y: y * v["scale"] + v["mean"])
NONNEGATIVE = Form(_fit_nonnegative, lambda v, x: x + v["shift"], lambda v, y: y - v["shift"])
MIN_MAX = Form(_fit_min_max, lambda v, x: (x - v["minimum"]) / v["range"], lambda v, y: y * v["range"] + v["minimum"])


def _fit_one_hot(
    x: np.ndarray, names: Callable[[np.ndarray], str], rounding: float, classes: int | None
) -> tuple[Values, list[str]]:
    if x.shape[1] != 1:
        raise DataError(f"one_hot: {x.shape[1]} columns; due is one label an example, (N,) or (N, 1)")
    if np.any(x != np.round(x)) or np.abs(x).max() >= 2**31:
        raise DataError("one_hot: labels that are no whole numbers of 32 bits; number the labels first")
    if classes is None:
        return {"labels": np.unique(x)}, []
    labels = np.arange(classes, dtype=np.float64)
    absent = np.setdiff1d(labels, x)
    notes = [f"no example has the label {', '.join(f'{label:g}' for label in absent[:8])}"] if len(absent) else []
    values = {"labels": labels}
    _apply_one_hot(values, x)  # raises if the training data has a label outside
    return values, notes


def _apply_one_hot(values: Values, x: np.ndarray) -> np.ndarray:
    labels = values["labels"]
    unknown = np.setdiff1d(x, labels)
    if len(unknown):
        raise DataError(
            f"one_hot: unknown label {', '.join(f'{label:g}' for label in unknown[:8])}; {len(labels)} are known, from "
            f"{labels.min():g} to {labels.max():g}"
        )
    return (x == labels[None, :]).astype(np.float64)


ONE_HOT = Form(
    _fit_one_hot,
    _apply_one_hot,
    # The largest entry decides, so that a network's outputs can be turned back into labels as well.
    lambda v, y: v["labels"][np.argmax(y, axis=1)][:, None],
    lambda v: len(v["labels"]),
    whole=True,
)
