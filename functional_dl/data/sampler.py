"""Batches in an order that depends on (seed, epoch) alone, so that a resumed run sees exactly what it would have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Sampler"]


@dataclass
class Sampler:
    """An endless stream of index batches; each epoch is a fresh permutation, its incomplete last batch dropped.

    Attributes:
      size: number of examples.
      batch: examples per batch.
      seed, epoch, position: the whole state: restore them and the stream goes on as it would have.
    """

    size: int
    batch: int
    seed: int = 0
    epoch: int = 0
    position: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= self.size:
            raise ValueError(f"batch size {self.batch} for {self.size} examples; due is 1 to {self.size}.")
        self._epoch_of_order, self._order = -1, np.empty(0, np.int64)

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one epoch."""
        return self.size // self.batch

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        """The next batch of indices."""
        if self._epoch_of_order != self.epoch:
            # Philox is specified bit for bit, on every machine and numpy version.
            generator = np.random.Generator(np.random.Philox(key=[self.seed, self.epoch]))
            self._order, self._epoch_of_order = np.argsort(generator.random(self.size), kind="stable"), self.epoch
        start = self.position * self.batch
        self.position += 1
        if self.position >= self.batches_per_epoch:
            self.epoch, self.position = self.epoch + 1, 0
        return self._order[start : start + self.batch]

    def state(self) -> dict[str, int]:
        """What to store."""
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}
