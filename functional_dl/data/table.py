"""A user's own data: a CSV file with a header row, or an NPZ file of arrays; nothing in either is executed."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from functional_dl.data.dataset import DataError, Dataset, split
from functional_dl.data.reading import is_number, read_bytes, text_of

__all__ = ["table"]

Kind = Literal["classification", "regression"]


def table(
    path: str | Path,
    target: str | None = None,
    kind: Kind = "classification",
    test_share: float = 0.2,
    split_seed: int = 0,
) -> Dataset:
    """Read a CSV (``.csv``, ``.csv.gz``: features (N, D) float32) or NPZ file (features of any shape).

    Args:
      path: the file.  A CSV has a header row and, but for the target's column, finite numbers.  An NPZ has arrays
        ``x`` and ``y``, or ``x_train``, ``y_train``, ``x_test`` and ``y_test``.
      target: the CSV's column to learn; without it, the last one.
      kind: "classification": targets are (N,) int32, the labels numbered in sorted order (whole numbers by value, else
        as text), ``facts["labels"]`` their names.  "regression": targets are (N, targets) float32.
      test_share: the share to test on, unless the file is split already.
      split_seed: what decides which ones.

    Raises:
      MissingDataError: no such file.
      DataError: anything else that keeps the file from being used; with its line in a CSV.

    Example:
      >>> import tempfile, pathlib
      >>> file = pathlib.Path(tempfile.mkdtemp()) / "animals.csv"
      >>> _ = file.write_text("legs,weight,animal\\n4,30,dog\\n2,0.1,bird\\n4,4,cat\\n2,0.2,bird\\n4,25,dog\\n")
      >>> table(file).facts["labels"], table(file).train[0].shape
      (('bird', 'cat', 'dog'), (4, 2))
    """
    path = Path(path)
    if kind not in get_args(Kind):
        raise DataError(f"{path}: kind {kind!r}; due is one of {', '.join(get_args(Kind))}")
    if path.name.endswith(".npz"):
        if target is not None:
            raise DataError(f"{path}: target {target!r} for an NPZ file, whose targets are its y")
        return _from_npz(path, kind, test_share, split_seed)
    if not path.name.endswith((".csv", ".csv.gz")):
        raise DataError(f"{path}: due is a file named .csv, .csv.gz or .npz")
    inputs, cells, features = _from_csv(path, target)
    targets, facts = _targets(np.array(cells), kind, str(path))
    facts = {**facts, "shape": inputs.shape[1:], "features": features}
    return Dataset(*_split(inputs, targets, test_share, split_seed, path), facts)


def _from_csv(path: Path, target: str | None) -> tuple[np.ndarray, list[str], tuple[str, ...]]:
    """Features, the target's cells as they are written, and the features' names."""
    reader = csv.reader(io.StringIO(text_of(read_bytes(path), str(path)), newline=""), strict=True)
    names: list[str] = []
    features, targets = [], []
    column = -1
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if not cells:
                continue  # an empty line
            if not names:
                names = [cell.strip() for cell in cells]
                column = _target_column(names, target, where)
                continue
            if len(cells) != len(names):
                raise DataError(f"{where}: {len(cells)} values; the header has {len(names)} columns")
            label = cells[column].strip()
            if not label:
                raise DataError(f"{where}: column {names[column]!r}, the target, is empty")
            targets.append(label)
            features.append([_number(c, names[i], where) for i, c in enumerate(cells) if i != column])
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    if not features:
        raise DataError(f"{path}: no rows; due are a header row and then one row an example")
    return _in_float32(np.array(features), str(path)), targets, tuple(n for i, n in enumerate(names) if i != column)


def _target_column(names: list[str], target: str | None, where: str) -> int:
    if all(is_number(name) for name in names):
        raise DataError(f"{where}: nothing but numbers; due is a header row with the columns' names")
    if "" in names or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        fault = f"columns of the same name {', '.join(map(repr, twice))}" if any(twice) else "a column without a name"
        raise DataError(f"{where}: {fault}; due is a name of its own for each")
    if len(names) < 2:
        raise DataError(f"{where}: one column, {names[0][:40]!r}; due are features and a target, parted by commas")
    if target is None:
        return len(names) - 1
    if target not in names:
        raise DataError(f"{where}: no column {target!r}; known: {', '.join(names)}")
    return names.index(target)


def _number(cell: str, name: str, where: str) -> float:
    if not is_number(cell):
        came = repr(cell.strip()[:40]) if cell.strip() else "an empty cell"
        raise DataError(
            f"{where}: column {name!r}: {came}; due is a number (fill gaps in, and number texts, beforehand)"
        )
    return float(cell)


def _in_float32(x: np.ndarray, where: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = x.astype(np.float32)
    bad = ~np.isfinite(narrow).reshape(len(narrow), -1)
    if bad.any():
        columns = ", ".join(map(str, np.flatnonzero(bad.any(axis=0))[:8]))
        raise DataError(
            f"{where}: {bad.any(axis=1).sum()} of {len(x)} rows hold values that are not finite in float32, in columns "
            f"{columns}; remove these rows or fill them in"
        )
    return narrow


def _targets(y: np.ndarray, kind: Kind, where: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Targets as they are trained on, and what is known of them."""
    if kind == "regression":
        try:
            values = _in_float32(y.astype(np.float64).reshape(len(y), -1), f"{where}, target")
        except ValueError as error:
            raise error if isinstance(error, DataError) else DataError(f"{where}, target: {error}") from error
        return values, {"kind": kind, "targets": values.shape[1]}
    if y.size != len(y):
        raise DataError(f"{where}: targets of shape {y.shape}; due is one label an example")
    keys, classes = np.unique(_keys(y.reshape(-1), where), return_inverse=True)
    if len(keys) < 2:
        raise DataError(f"{where}: all examples have the label {str(keys[0])[:40]!r}; due are at least two classes")
    facts = {"kind": kind, "classes": len(keys), "labels": tuple(str(key) for key in keys)}
    return classes.reshape(-1).astype(np.int32), facts


def _keys(y: np.ndarray, where: str) -> np.ndarray:
    """Labels by which to sort: int64 if all are whole numbers (so that 10 comes after 9), else text."""
    if y.dtype.kind == "U" and not all(map(is_number, y.tolist())):
        return y
    if y.dtype.kind not in "Ubiuf":
        raise DataError(f"{where}: labels of type {y.dtype}; due are whole numbers or text")
    values = y.astype(np.float64)
    # Beyond 2⁵³ two neighbours would become one class.
    if not np.all(np.abs(values) < 2**53) or np.any(values != np.round(values)):
        raise DataError(f"{where}: labels are numbers but not whole ones below 2**53; is it kind = 'regression'?")
    return values.astype(np.int64)


def _split(inputs: np.ndarray, targets: np.ndarray, test_share: float, seed: int, path: Path) -> tuple[Any, Any]:
    train, test = split(inputs, targets, test_share, seed)
    if not len(train[0]) or not len(test[0]):
        raise DataError(f"{path}: {len(inputs)} examples at test_share {test_share} leave none to train or to test on")
    return train, test


def _from_npz(path: Path, kind: Kind, test_share: float, seed: int) -> Dataset:
    content = read_bytes(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # a damaged archive makes zipfile, zlib and NumPy's header parser raise nearly anything
        raise DataError(f"{path}: no NPZ file of plain arrays ({type(error).__name__}: {error})") from error
    parts = [("x", "y")] if "x" in arrays else [("x_train", "y_train"), ("x_test", "y_test")]
    missing = [name for pair in parts for name in pair if name not in arrays]
    if missing:
        raise DataError(
            f"{path}: no array {missing[0]}; due are x and y, or x_train, y_train, x_test and y_test; there are "
            f"{', '.join(sorted(arrays)) or 'none'}"
        )
    inputs = [_features(arrays[x], f"{path}, {x}") for x, _ in parts]
    for (x, y), rows in zip(parts, inputs, strict=True):
        if arrays[y].shape[:1] != rows.shape[:1]:
            raise DataError(f"{path}: {x} has {len(rows)} examples and {y} the shape {arrays[y].shape}")
    if inputs[0].shape[1:] != inputs[-1].shape[1:]:
        raise DataError(f"{path}: examples of shape {inputs[0].shape[1:]} to train and {inputs[-1].shape[1:]} to test")
    try:
        # Together, so that a label has one number in both parts.
        joined = np.concatenate([arrays[name] for _, name in parts])
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: targets to train and to test do not go together ({error})") from error
    targets, facts = _targets(joined, kind, str(path))
    facts["shape"] = inputs[0].shape[1:]
    if len(parts) == 1:
        return Dataset(*_split(inputs[0], targets, test_share, seed, path), facts)
    cut = len(inputs[0])
    return Dataset((inputs[0], targets[:cut]), (inputs[1], targets[cut:]), facts)


def _features(x: np.ndarray, where: str) -> np.ndarray:
    if x.dtype.kind not in "biuf":
        raise DataError(f"{where}: of type {x.dtype}; due are real numbers")
    if x.ndim < 2 or 0 in x.shape:
        raise DataError(f"{where}: of shape {x.shape}; due are examples along the first axis and at least one feature")
    return _in_float32(x, where)
