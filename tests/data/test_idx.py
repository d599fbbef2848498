"""IDX files, and Fashion-MNIST, which is four of them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from functional_dl.data import DataError, MissingDataError, fashion_mnist, read_idx
from tests.data.small_files import consistent, idx


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
