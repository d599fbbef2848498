"""Snapshots: arrays by name in safetensors, written whole or not at all, read without executing anything."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from functional_dl.trees import TreeError, from_named, name_leaves

__all__ = ["SnapshotError", "facts_of", "restore", "store", "write_atomically"]


class SnapshotError(ValueError):
    """A snapshot that cannot be used: which file, what came, what was due."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that after a crash at any moment either the old or the new content is there."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)  # it can only be read by setting it
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def store(path: Path, state: Any, facts: dict[str, Any]) -> None:
    """Write the leaves of ``state`` under their names, with ``facts`` (numbers and strings) beside them."""
    arrays = {name: np.array(x, order="C") for name, x in name_leaves(state).items()}
    write_atomically(path, save(arrays, metadata={"facts": json.dumps(facts)}))


def restore(path: Path, like: Any) -> tuple[Any, dict[str, Any]]:
    """Read what `store` wrote into a pytree like ``like``.

    Raises:
      SnapshotError: the file is missing, truncated or foreign, or does not fit ``like``; with the name of what does
        not fit, what it is and what it should be.
    """
    arrays, facts = _read(path, arrays=True)
    try:
        return from_named(like, arrays), facts
    except TreeError as error:
        raise SnapshotError(f"{path} does not fit the config: {error}") from error


def facts_of(path: Path) -> dict[str, Any]:
    """The facts of a snapshot, without its arrays.

    Raises:
      SnapshotError: the file is missing, truncated or foreign.
    """
    return _read(path, arrays=False)[1]


def _read(path: Path, arrays: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if not path.is_file():
        raise SnapshotError(f"{path}: no such snapshot")
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys()) if arrays else []  # no mapping
            found = {name: file.get_tensor(name) for name in names}
            return found, json.loads((file.metadata() or {})["facts"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise SnapshotError(f"{path}: unreadable or truncated snapshot ({type(error).__name__}: {error})") from error
