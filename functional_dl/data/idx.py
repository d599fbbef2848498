"""The idx format of MNIST and its kin: a magic number, sizes, and the entries, biggest byte first."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from functional_dl.data.dataset import DataError
from functional_dl.data.reading import read_bytes

__all__ = ["read_idx"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path) -> np.ndarray:
    """The array in an idx file, gz or plain, in this machine's byte order.

    Raises:
      MissingDataError: no such file.
      DataError: the magic number is not idx's, or the entries are more or fewer than the sizes say.

    Source: http://yann.lecun.com/exdb/mnist/, "the IDX file format".

    Example:
      >>> import tempfile, pathlib
      >>> file = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
      >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
      >>> read_idx(file)
      array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    content = read_bytes(path)
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise DataError(f"{path}: begins with {content[:4].hex(' ') or 'nothing'}; due is idx's 00 00, type, axes")
    dtype, axes = np.dtype(_TYPES[content[2]]), content[3]
    begin = 4 + 4 * axes
    if not 1 <= axes <= 8 or len(content) < begin:
        raise DataError(f"{path}: {axes} axes in {len(content)} bytes; due are 1 to 8 and a size for each")
    shape = struct.unpack(f">{axes}I", content[4:begin])
    # Python's integers: sizes that a fault has made huge must not wrap round to something that fits.
    due, there = math.prod(shape) * dtype.itemsize, len(content) - begin
    if due != there or not due:
        raise DataError(f"{path}: {there} bytes of entries; due are {due} for shape {shape}, and more than none")
    return np.frombuffer(content, dtype, offset=begin).reshape(shape).astype(dtype.newbyteorder("="))
