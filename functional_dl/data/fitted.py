"""What preprocessing is before and after it has seen data: steps with options, then arrays; the checks are here too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from functional_dl.data.dataset import DataError
from functional_dl.data.scaling import CENTER, MIN_MAX, NONNEGATIVE, ONE_HOT, STANDARDIZE, Form, Values
from functional_dl.data.whitening import PCA_WHITEN, ZCA_WHITEN

__all__ = ["Fitted", "Preprocessor"]

_FORMS: dict[str, Form] = {
    "center": CENTER, "standardize": STANDARDIZE, "nonnegative": NONNEGATIVE, "min_max": MIN_MAX,
    "pca_whiten": PCA_WHITEN, "zca_whiten": ZCA_WHITEN, "one_hot": ONE_HOT,
}  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """Preprocessing with its statistics.

    Attributes:
      kind: the names of its steps, joined by ``+``.
      values: arrays by name, ``"0.mean"`` being the first step's mean; float64, and int64 shapes.
      notes: what was odd about the training data, a sentence each; empty if nothing was.
    """

    kind: str
    values: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()

    def apply(self, x: Any) -> np.ndarray:
        """Preprocess examples (N, …) of the shape that was fitted; float32, or float64 if ``x`` is float64.

        Raises:
          DataError: another shape, NaN or infinity, an unknown label, or a result beyond float32.
        """
        y = _matrix(x)
        for name, values in self._steps():
            y = _run(name, values, y, _FORMS[name].apply)
        return _narrowed(y, x, self.kind)

    def invert(self, y: Any) -> np.ndarray:
        """The examples that `apply` made ``y`` of, up to rounding; float32, or float64 if ``y`` is float64.

        Of whitening to fewer components than the data's rank it is the least-squares reconstruction: the nearest point
        to the original in the plane of the components.  Of one-hot it is the label of the largest entry (int32).

        Raises:
          DataError: another shape, NaN or infinity, or a result beyond float32.
        """
        x, steps = _matrix(y), self._steps()
        for name, values in reversed(steps):
            x = _run(name, values, x, _FORMS[name].invert, back=True)
        return x.astype(np.int32) if _FORMS[steps[0][0]].whole else _narrowed(x, y, self.kind)

    def _steps(self) -> list[tuple[str, Values]]:
        def own(at: int) -> Values:
            return {k.partition(".")[2]: v for k, v in self.values.items() if k.partition(".")[0] == str(at)}

        return [(name, own(at)) for at, name in enumerate(self.kind.split("+"))]


class Preprocessor(NamedTuple):
    """Preprocessing before it has seen data.

    Attributes:
      steps: the name and options of each step, in order.
    """

    steps: tuple[tuple[str, dict[str, Any]], ...]

    def fit(self, x: Any) -> Fitted:
        """Fit each step on training examples (N, …) as the steps before it leave them; entries are columns.

        Raises:
          DataError: no examples, NaN or infinity (it says where), or a step that cannot be fitted.
        """
        y = _matrix(x)
        # Whole numbers are exact; floats narrower than 64 bits carry the rounding of float32 at least.
        dtype = np.asarray(x).dtype
        rounding = float(np.finfo(np.float64 if dtype.kind in "biu" or dtype == np.float64 else np.float32).eps)
        values, notes = {}, []
        for at, (name, options) in enumerate(self.steps):
            own, said = _fit_one(name, options, y, rounding)
            values.update({f"{at}.{key}": value for key, value in own.items()})
            notes += said
            if at + 1 < len(self.steps):
                y = _run(name, own, y, _FORMS[name].apply)
        return Fitted("+".join(name for name, _ in self.steps), values, tuple(notes))


def _matrix(x: Any) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind not in "biuf" and x.dtype.name != "bfloat16":
        raise DataError(f"preprocessing: data of type {x.dtype}; due are real numbers")
    if x.ndim < 1 or 0 in x.shape:
        raise DataError(f"preprocessing: data of shape {x.shape}; due are examples along the first axis, none empty")
    return x.astype(np.float64)


def _run(
    name: str, values: Values, x: np.ndarray, function: Callable[[Values, np.ndarray], np.ndarray], back: bool = False
) -> np.ndarray:
    """One step on examples of its own shape; the result's examples in theirs."""
    shape = tuple(values["shape"].tolist())
    width = _FORMS[name].width
    result = shape if width is None else (width(values),)
    due, becomes = (result, shape) if back else (shape, result)
    if x.shape[1:] != due:
        raise DataError(f"{name}: examples of shape {x.shape[1:]}; due is {due}, the shape that was fitted")
    _all_finite(name, x)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found when it is narrowed
        return function(values, x.reshape(len(x), -1)).reshape(len(x), *becomes)


def _names(columns: np.ndarray, shape: tuple[int, ...]) -> str:
    """Columns in words: by number, or by place where an example has several axes; eight of them at most."""
    places = [str(c) if len(shape) < 2 else str(tuple(map(int, np.unravel_index(c, shape)))) for c in columns[:8]]
    more = f" and {len(columns) - 8} more" if len(columns) > 8 else ""
    return f"column{'s' if len(columns) > 1 else ''} {', '.join(places)}{more}"


def _all_finite(name: str, x: np.ndarray) -> None:
    bad = ~np.isfinite(x.reshape(len(x), -1))
    if bad.any():
        rows = int(bad.any(axis=1).sum())
        raise DataError(
            f"{name}: {rows} of {len(x)} rows hold NaN or infinity, in "
            f"{_names(np.flatnonzero(bad.any(axis=0)), x.shape[1:])}; remove these rows or fill the entries in, for "
            "instance with the column's median over the training data"
        )


def _narrowed(y: np.ndarray, x: Any, kind: str) -> np.ndarray:
    wide = np.asarray(x).dtype == np.float64
    with np.errstate(over="ignore"):
        y = y if wide else y.astype(np.float32)
    if not np.all(np.isfinite(y)):
        raise DataError(f"{kind}: the result is beyond {y.dtype}; scale the data down first")
    return y


def _fit_one(name: str, options: dict[str, Any], x: np.ndarray, rounding: float) -> tuple[Values, list[str]]:
    _all_finite(name, x)
    shape = x.shape[1:]
    with np.errstate(all="ignore"):  # what overflows is found in the next line
        values, notes = _FORMS[name].fit(x.reshape(len(x), -1), partial(_names, shape=shape), rounding, **options)
    if not all(np.all(np.isfinite(value)) for value in values.values()):
        raise DataError(f"{name}: the statistics are beyond float64; scale the data down first")
    return {**values, "shape": np.array(shape, np.int64)}, [f"{name}: {note}" for note in notes]
