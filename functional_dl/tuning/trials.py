"""The trials of a search: every result of every member, as JSON lines, and the population, in one folder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from functional_dl.training.snapshots import SnapshotError, facts_of, restore, store, write_atomically
from functional_dl.tuning.population import Population

__all__ = ["Line", "Trials"]


class Line(NamedTuple):
    """One result.

    Attributes:
      round: in which round, from 0; those of the finalists' further seeds come after the strategy's.
      member: whose.
      seed: its seed.
      values: its hyperparameters.
      steps: how many steps it had made.
      metrics: measured on the validation part, with ``score``, lower is better.
      replicate_of: for a finalist's training with another seed, the member it repeats.
    """

    round: int
    member: int
    seed: int
    values: Mapping[str, Any]
    steps: int
    metrics: Mapping[str, float]
    replicate_of: int | None = None


class Trials:
    """The files of a search: ``trials.jsonl`` and ``population.safetensors``; without a folder they stay in memory.

    What the snapshot says is what has happened: lines of a round that a crash kept out of it are dropped, and the
    round is run again.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.lines: list[Line] = []

    @property
    def file(self) -> Path | None:
        """Where the lines are."""
        return None if self.folder is None else self.folder / "trials.jsonl"

    @property
    def is_there(self) -> bool:
        """Whether a search has begun here, be it that it has finished no round yet."""
        return self.file is not None and self.file.is_file()

    @property
    def snapshot(self) -> Path | None:
        """Where the population is."""
        return None if self.folder is None else self.folder / "population.safetensors"

    def begin(self) -> dict[str, Any]:
        """Make sure that nothing is there; what a search left that did not finish its first round is dropped.

        Raises:
          SnapshotError: there is a search, which a new one would mix its results with.
        """
        if self.snapshot is not None and self.snapshot.is_file():
            raise SnapshotError(f"{self.folder} holds a search; due is to resume it, or another folder")
        if self.file is not None:
            write_atomically(self.file, b"")
        return {}

    def append(self, lines: Sequence[Line]) -> None:
        """Add the results of a round."""
        self.lines += lines
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write("".join(_written(line) + "\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())

    def save(self, population: Population, rounds: int, facts: Mapping[str, Any]) -> None:
        """Write the population as it is after so many rounds; ``facts`` say of what search it is."""
        if self.snapshot is not None:
            arrays, ids = population.stored()
            known = {"rounds": rounds, "ids": ids, "paces": population.paces}
            store(self.snapshot, arrays, {**facts, **known})

    def resume(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Read the lines up to the snapshot, and what the snapshot says; the population is for `restored`.

        Raises:
          SnapshotError: there is no snapshot, it is of another search, or lines are missing.
        """
        if self.snapshot is None or self.file is None:
            raise SnapshotError("a search without a folder cannot be resumed")
        known = facts_of(self.snapshot)
        for name, value in facts.items():
            if known.get(name) != json.loads(json.dumps(value)):
                raise SnapshotError(
                    f"{self.snapshot} is of another search: its {name} is {known.get(name)!r}, now it is {value!r}"
                )
        text = self.file.read_text(encoding="utf-8") if self.file.is_file() else ""
        lines = [_read(line) for line in text.splitlines()]
        self.lines = [line for line in lines if line is not None and line.round < known["rounds"]]
        if len({line.round for line in self.lines}) != known["rounds"]:
            raise SnapshotError(f"{self.file}: results are missing of the {known['rounds']} rounds of {self.snapshot}")
        write_atomically(self.file, "".join(_written(line) + "\n" for line in self.lines).encode())
        return known

    def restored(self, population: Population, known: Mapping[str, Any]) -> None:
        """Put the snapshot's members back."""
        assert self.snapshot is not None
        ids = [[int(i) for i in own] for own in known["ids"]]
        arrays, _ = restore(self.snapshot, population.like(ids))
        population.restore(arrays, ids)


def _written(line: Line) -> str:
    fields = {name: x for name, x in line._asdict().items() if x is not None}
    # JSON has no NaN: a text that Python's float reads again.
    fields["metrics"] = {k: x if math.isfinite(x) else str(x) for k, x in line.metrics.items()}
    return json.dumps(fields)


def _read(text: str) -> Line | None:
    """A line, ``None`` if a crash cut it short."""
    try:
        fields = json.loads(text)
    except json.JSONDecodeError:
        return None
    return Line(**{**fields, "metrics": {k: float(x) for k, x in fields["metrics"].items()}})
