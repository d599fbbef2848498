"""Fashion-MNIST: 70 000 grey pictures of ten kinds of clothing, from Debian's package or a folder of idx files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from functional_dl.data.dataset import DataError, Dataset, MissingDataError
from functional_dl.data.idx import read_idx

__all__ = ["fashion_mnist"]

_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_LABELS = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def fashion_mnist(folder: str | Path | None = None) -> Dataset:
    """Images (60 000, 28, 28) float32 in [0, 1] and labels (60 000,) int32 to train on, 10 000 to test on.

    Needs ``apt-get install dataset-fashion-mnist`` (31 MB), or the four files of
    https://github.com/zalandoresearch/fashion-mnist, gz or plain, in ``folder``.  MNIST itself comes in files of the
    same names and can be read so as well; the labels' names are Fashion-MNIST's then.

    Raises:
      MissingDataError: the files are not there.
      DataError: a file is damaged, or images and labels do not go together.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747 (MIT).

    Example:
      >>> from functional_dl.data import DATASETS
      >>> DATASETS["fashion_mnist"].__name__
      'fashion_mnist'
    """
    place = _FOLDER if folder is None else Path(folder)
    train, test = _part(place, "train"), _part(place, "t10k")
    facts = {"kind": "classification", "classes": 10, "shape": (28, 28), "labels": _LABELS}
    return Dataset(train, test, facts)


def _part(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    images = read_idx(_file(folder, f"{part}-images-idx3-ubyte"))
    labels = read_idx(_file(folder, f"{part}-labels-idx1-ubyte"))
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28):
        raise DataError(f"{folder}: {part} images are {images.dtype}{list(images.shape)}; due are uint8[N, 28, 28]")
    if labels.dtype != np.uint8 or labels.ndim != 1:
        raise DataError(f"{folder}: {part} labels are {labels.dtype}{list(labels.shape)}; due are uint8[N]")
    if len(images) != len(labels) or not len(images):
        raise DataError(f"{folder}: {len(images)} {part} images and {len(labels)} labels; due is one label an image")
    if labels.max() > 9:
        raise DataError(f"{folder}: a {part} label is {labels.max()}; due are 0 to 9")
    return images.astype(np.float32) / np.float32(255), labels.astype(np.int32)


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise MissingDataError(f"{folder}: no {name} or {name}.gz there: apt-get install dataset-fashion-mnist")
