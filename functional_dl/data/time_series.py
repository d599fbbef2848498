"""The ``.ts`` text format of time-series archives: series of several dimensions, each with its own length and class."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from functional_dl.data.dataset import DataError
from functional_dl.data.reading import is_number, read_bytes, text_of

__all__ = ["Series", "padded_in_front", "read_ts"]


class Series(NamedTuple):
    """What a ``.ts`` file holds.

    Attributes:
      values: one (time, dimensions) float32 array a series.
      classes: (N,) int32, places in ``labels``.
      labels: the classes' names, in the header's order.
    """

    values: list[np.ndarray]
    classes: np.ndarray
    labels: tuple[str, ...]


def read_ts(path: str | Path) -> Series:
    """Read a ``.ts`` file whose series have classes, no time stamps and no gaps.

    A line after ``@data`` is a series: its dimensions parted by colons, values by commas, and last its class.

    Raises:
      MissingDataError: no such file.
      DataError: anything else than that, with its line.

    Source: https://www.aeon-toolkit.org, "the ts file format".
    """
    path = Path(path)
    header: dict[str, list[str]] = {}
    values: list[np.ndarray] = []
    classes: list[int] = []
    labels: tuple[str, ...] = ()
    in_data = False
    for at, line in enumerate(text_of(read_bytes(path), str(path)).split("\n"), 1):
        line, where = line.strip(), f"{path}, line {at}"
        if not line or line.startswith("#"):
            continue
        if in_data:
            array, label = _series(line, where)
            if label not in labels:
                raise DataError(f"{where}: class {label[:40]!r}; due is one of {', '.join(labels)}")
            if values and array.shape[1] != values[0].shape[1]:
                raise DataError(f"{where}: {array.shape[1]} dimensions; due are {values[0].shape[1]}, as before")
            values.append(array)
            classes.append(labels.index(label))
        elif not line.startswith("@"):
            raise DataError(f"{where}: {line[:40]!r} before @data; due is a line that begins with # or @")
        elif line.lower() == "@data":
            labels, in_data = _labels(header, where), True
        else:
            key, _, words = line[1:].partition(" ")
            header[key.lower()] = words.split()
    if not values:
        raise DataError(f"{path}: no series; due are lines of values after @data")
    dimensions = header.get("dimensions", [str(values[0].shape[1])])
    if dimensions != [str(values[0].shape[1])]:
        raise DataError(f"{path}: series of {values[0].shape[1]} dimensions; its header says {' '.join(dimensions)}")
    return Series(values, np.array(classes, np.int32), labels)


def _labels(header: dict[str, list[str]], where: str) -> tuple[str, ...]:
    if [word.lower() for word in header.get("timestamps", ["false"])] != ["false"]:
        raise DataError(f"{where}: values with time stamps; due is @timeStamps false")
    has_classes, *labels = header.get("classlabel") or ["false"]
    if has_classes.lower() != "true" or not labels or len(set(labels)) < len(labels):
        raise DataError(f"{where}: no classes; due is a line @classLabel true, and their names, before @data")
    return tuple(labels)


def _series(line: str, where: str) -> tuple[np.ndarray, str]:
    *dimensions, label = line.split(":")
    cells = [dimension.split(",") for dimension in dimensions]
    for cell in (cell for row in cells for cell in row if not is_number(cell)):
        raise DataError(f"{where}: {cell.strip()[:40]!r}; due are numbers, none missing")
    rows = [[float(cell) for cell in row] for row in cells]
    if not rows:
        raise DataError(f"{where}: no values; due are dimensions parted by colons, and the class last")
    if len({len(row) for row in rows}) > 1:
        raise DataError(f"{where}: dimensions of unequal length, {', '.join(str(len(row)) for row in rows)}")
    with np.errstate(over="ignore"):
        array = np.array(rows, np.float64).T.astype(np.float32)
    if not np.all(np.isfinite(array)):
        raise DataError(f"{where}: a value is not finite in float32")
    return array, label.strip()


def padded_in_front(series: list[np.ndarray], length: int) -> np.ndarray:
    """(N, length, dimensions) float32: each series at the end of its row, zeros before it.

    Example:
      >>> import numpy as np
      >>> padded_in_front([np.array([[1.0], [2.0]])], 4)[0, :, 0].tolist()
      [0.0, 0.0, 1.0, 2.0]
    """
    padded = np.zeros((len(series), length, series[0].shape[1]), np.float32)
    for row, values in zip(padded, series, strict=True):
        row[length - len(values) :] = values
    return padded
