"""The folder of one run: resolved config, metrics as JSON lines, snapshot, learning curve; never another run's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from functional_dl.config import Config, ConfigError, load
from functional_dl.training.snapshots import write_atomically

__all__ = ["RunFolder"]


class RunFolder:
    """Paths and files of one run.

    Attributes:
      path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, parent: Path, config: Config, kind: str = "") -> RunFolder:
        """Make ``parent/<name>-<n>`` with the first free n, and write the resolved config into it.

        A run that is no training says its ``kind``: ``parent/<name>-tune-<n>``.
        """
        name = f"{config.name}-{kind}" if kind else config.name
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            path = parent / f"{name}-{number}"
            try:
                path.mkdir()
                break
            except FileExistsError:
                number += 1
        run = cls(path)
        run.write_config(config)
        return run

    @classmethod
    def open(cls, path: Path, overrides: Sequence[str] = ()) -> tuple[RunFolder, Config]:
        """An existing run and its config, with overrides.

        Raises:
          ConfigError: the folder is no run.
        """
        if not (path / "config.toml").is_file():
            raise ConfigError(f"{path}: not a run folder (no config.toml in it)")
        return cls(path), load(path / "config.toml", overrides)

    @property
    def snapshot(self) -> Path:
        """Where the snapshot is."""
        return self.path / "snapshot.safetensors"

    @property
    def metrics(self) -> Path:
        """Where the metrics are."""
        return self.path / "metrics.jsonl"

    @property
    def picture(self) -> Path:
        """Where the learning curve is."""
        return self.path / "learning_curve.png"

    def write_config(self, config: Config, file: str = "config.toml") -> None:
        """Write the resolved config, or another one into another file."""
        table = config.model_dump(exclude_none=True, mode="json")
        write_atomically(self.path / file, tomli_w.dumps(table).encode())

    def append(self, line: dict[str, Any]) -> None:
        """Add one line of metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All lines of metrics; a last line cut short by a crash is left out."""
        if not self.metrics.is_file():
            return []
        lines = []
        for text in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
        return lines

    def rewind(self, step: int) -> None:
        """Drop the metrics after ``step``, which a resumed run will write again."""
        kept = [line for line in self.read() if line["step"] <= step]
        write_atomically(self.metrics, "".join(json.dumps(line) + "\n" for line in kept).encode())
