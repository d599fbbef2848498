"""A user's own data: CSV and NPZ files."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from functional_dl.data import DataError, MissingDataError, table
from tests.data.small_files import ANIMALS, both, consistent, write


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize(
    "text", [ANIMALS, "\ufeff" + ANIMALS, ANIMALS.replace("\n", "\r\n"), ANIMALS.replace("dog", '"dog"')]
)
def test_a_csv_of_classes(name: str, text: str, tmp_path: Path) -> None:
    data = table(write(tmp_path, text, name), test_share=0.4)
    consistent(data)
    assert data.facts["labels"] == ("bird", "cat", "dog") and data.facts["features"] == ("legs", "weight")
    x, y = both(data)
    assert sorted(zip(x[:, 1].round(1).tolist(), y.tolist(), strict=True)) == [
        (pytest.approx(0.1), 0), (pytest.approx(0.2), 0), (4, 1), (25, 2), (30, 2),
    ]  # fmt: skip
    assert len(data.test[0]) == 2


def test_a_csv_of_numbers_to_find(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b,c\n1,2,3\n4,5,6.5\n7,8,-9e2\n")
    data = table(path, target="b", kind="regression", test_share=0.34)
    consistent(data)
    x, y = both(data)
    order = np.argsort(x[:, 0])
    np.testing.assert_array_equal(x[order], np.float32([[1, 3], [4, 6.5], [7, -900]]))
    np.testing.assert_array_equal(y[order], np.float32([[2], [5], [8]]))
    assert data.facts["features"] == ("a", "c")


def test_whole_labels_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = "".join(f"{i},{label}\n" for i, label in enumerate(["10", "9", "-1", "9.0", "10"]))
    assert table(write(tmp_path, "x,y\n" + rows)).facts["labels"] == ("-1", "9", "10")
    rows = "".join(f"{i},{label}\n" for i, label in enumerate(["10", "9", "a", "9", "1_0"]))
    assert table(write(tmp_path, "x,y\n" + rows)).facts["labels"] == ("10", "1_0", "9", "a")


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("", {}, "no rows"),
        ("a,b\n", {}, "no rows"),
        ("1,2\n3,4\n", {}, "line 1: nothing but numbers; due is a header row"),
        ("a\n1\n", {}, "one column, 'a'"),
        ("a;b\n1;2\n", {}, "parted by commas"),
        ("a,a\n1,2\n", {}, "columns of the same name 'a'"),
        (",a\n1,2\n", {}, "a column without a name"),
        ("a,b\n1,2\n", {"target": "c"}, "no column 'c'; known: a, b"),
        ("a,b\n1,2\n3\n", {}, "line 3: 1 values; the header has 2 columns"),
        ("a,b\n1,2\n\n3,4,5\n", {}, "line 4: 3 values"),
        ("a,b\nred,2\n", {}, "line 2: column 'a': 'red'; due is a number"),
        ("a,b\n1_0,2\n", {}, "line 2: column 'a': '1_0'; due is a number"),
        ("a,b\n,2\n", {}, "line 2: column 'a': an empty cell; due is a number"),
        ("a,b\n1, \n", {}, "line 2: column 'b', the target, is empty"),
        ("a,b\nnan,2\n3,4\n", {}, "1 of 2 rows hold values that are not finite in float32, in columns 0"),
        ("a,b\n1e39,2\n3,4\n", {}, "not finite in float32"),
        ("a,b\n1,2\n3,2\n", {}, "the label '2'; due are at least two classes"),
        ("a,b\n1,2.5\n3,2\n", {}, "is it kind = 'regression'?"),
        ("a,b\n1,nan\n3,2\n", {}, "is it kind = 'regression'?"),
        ("a,b\n1,9007199254740993\n3,2\n", {}, "is it kind = 'regression'?"),
        ("a,b\n1,red\n3,2\n", {"kind": "regression"}, "target: could not convert string to float"),
        ("a,b\n1,inf\n3,2\n", {"kind": "regression"}, "target: 1 of 2 rows"),
        ("a,b\n1,x\n3,y\n", {}, "2 examples at test_share 0.2 leave none"),
        ('a,b\n1,"x\n', {}, "line 2: unexpected end of data"),
        ("a,b\n1,2\n", {"kind": "ranking"}, "kind 'ranking'; due is one of classification, regression"),
    ],
)
def test_what_a_csv_cannot_say(text: str, options: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        table(write(tmp_path, text), **options)  # type: ignore[arg-type]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="none.csv: no such file"):
        table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="due is a file named"):
        table(write(tmp_path, ANIMALS, "a.txt"))
    (tmp_path / "b.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        table(tmp_path / "b.csv")
    (tmp_path / "c.csv").write_bytes(b"a,b\n\xff,2\n")
    with pytest.raises(DataError, match="no UTF-8 text .byte 4."):
        table(tmp_path / "c.csv")
    (tmp_path / "d.csv").write_bytes(gzip.compress(ANIMALS.encode())[:-9])
    with pytest.raises(DataError, match="damaged gz file"):
        table(tmp_path / "d.csv")


def npz(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "a.npz", **arrays)  # type: ignore[arg-type]
    return folder / "a.npz"


def test_npz_files(tmp_path: Path) -> None:
    x = np.arange(60, dtype=np.int16).reshape(10, 3, 2)
    data = table(npz(tmp_path, x=x, y=np.array(["b", "a"] * 5)))
    consistent(data)
    assert data.train[0].shape == (8, 3, 2) and data.facts["labels"] == ("a", "b")
    data = table(npz(tmp_path, x=x, y=x[:, 0].astype(np.float64)), kind="regression")
    consistent(data)
    assert data.facts["targets"] == 2
    data = table(npz(tmp_path, x_train=x, y_train=np.arange(10), x_test=x[:2], y_test=np.array([[3], [12]])[:, 0]))
    consistent(data)
    # 12 is in the test part only, and has its number all the same.
    assert data.test[1].tolist() == [3, 10] and data.facts["classes"] == 11
    np.testing.assert_array_equal(data.train[0], x)


class Harmful:
    """Unpickling this executes."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize(
    ("arrays", "options", "says"),
    [
        ({"x": np.zeros((3, 2))}, {}, "no array y; due are x and y, or .*; there are x"),
        ({"a": np.zeros((3, 2))}, {}, "no array x_train; due are"),
        ({"x_train": np.zeros((3, 2)), "y_train": np.zeros(3)}, {}, "no array x_test"),
        ({"x": np.zeros((3, 2)), "y": np.arange(4)}, {}, r"x has 3 examples and y the shape \(4,\)"),
        ({"x": np.zeros((3, 2)), "y": np.int64(3)}, {}, r"y the shape \(\)"),
        ({"x": np.zeros((3, 2)), "y": np.zeros((3, 2))}, {}, "due is one label an example"),
        ({"x": np.zeros(3), "y": np.arange(3)}, {}, "x: of shape"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, {}, "x: of shape"),
        ({"x": np.array([["a"]]), "y": np.arange(1)}, {}, "due are real numbers"),
        ({"x": np.full((3, 2), np.nan), "y": np.arange(3)}, {}, "3 of 3 rows"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(3, complex)}, {}, "labels of type complex128"),
        ({"x": np.zeros((3, 2)), "y": np.arange(3)}, {"target": "y"}, "an NPZ file, whose targets are its y"),
        ({"x": np.zeros((3, 2)), "y": np.array([Harmful()] * 3)}, {}, "no NPZ file of plain arrays"),
    ],
)
def test_what_an_npz_cannot_hold(arrays: dict[str, object], options: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        table(npz(tmp_path, **arrays), **options)  # type: ignore[arg-type]


def test_an_npz_is_a_zip_of_arrays_and_of_nothing_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"import os")
    with pytest.raises(DataError, match="no NPZ file|no array|real numbers"):
        table(tmp_path / "a.npz")
