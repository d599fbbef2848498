"""The ledger of a backward pass: every byte that is kept for it and every operation that it repeats, by source line."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass

__all__ = ["Account", "Kept", "Ledger", "Read", "Repeated", "Span"]


@dataclass(frozen=True)
class Read:
    """A backward equation that reads a kept value.

    Attributes:
      primitive: the operation.
      line: the user's line whose reverse pass it is, ``file:line (function)``.
    """

    primitive: str
    line: str


@dataclass(frozen=True)
class Kept:
    """A value that stays from the forward until the backward has read it.

    Attributes:
      line: the user's line that made it, ``file:line (function)``.
      primitive: the operation that made it.
      shape, dtype: of all of it, iterations of a loop included.
      size: its bytes.
      iterations: over how many iterations of a loop it is stacked; 0 outside loops.
      readers: the backward equations that read it.
      at_peak: whether it is alive at the peak.
      path: if it is an input (which stays anyway, and is not counted), its path: ``params['dense'][0]``; else empty.
    """

    line: str
    primitive: str
    shape: tuple[int, ...]
    dtype: str
    size: int
    iterations: int
    readers: tuple[Read, ...]
    at_peak: bool
    path: str = ""


@dataclass(frozen=True)
class Repeated:
    """A forward operation that the backward runs again.

    Attributes:
      line, primitive: where and what.
      times: how many equations, iterations of loops counted.
      flops: operations in all of them.
    """

    line: str
    primitive: str
    times: int
    flops: int


@dataclass(frozen=True)
class Span:
    """A value's life in the schedule.

    Attributes:
      line: the user's line that made it.
      begin, end: the first and the last step at which it is alive.
      size: its bytes.
    """

    line: str
    begin: int
    end: int
    size: int


@dataclass(frozen=True)
class Account:
    """The totals of a plan.

    Attributes:
      kept_bytes: what stays from forward to backward, inputs and outputs not counted.
      peak_bytes: the most that intermediates take at once.
      repeated_flops: operations that the backward repeats.
      flops: operations of forward and backward together, those repeated included.
    """

    kept_bytes: int
    peak_bytes: int
    repeated_flops: int
    flops: int


@dataclass(frozen=True)
class Ledger:
    """What a backward pass keeps and repeats, and what is alive when.

    Attributes:
      memory: the policy or budget that was asked for.
      plan: its totals.
      keep: the totals of ``memory="keep"``, to compare.
      kept: what is kept, the largest first.
      inputs: inputs that the backward reads, by path; they are not counted.
      repeated: what is repeated, the most operations first.
      steps: how many equations the schedule has.
      forward_steps: how many of them belong to the forward.
      peak_step: the equation at which the peak is.
      spans: the lives of all intermediates.
      live: bytes alive at each step, what equations take inside included.
    """

    memory: str | int
    plan: Account
    keep: Account
    kept: tuple[Kept, ...]
    inputs: tuple[Kept, ...]
    repeated: tuple[Repeated, ...]
    steps: int
    forward_steps: int
    peak_step: int
    spans: tuple[Span, ...]
    live: tuple[int, ...]

    @property
    def peak_bytes(self) -> int:
        """The most that intermediates take at once, as far as the program tells."""
        return self.plan.peak_bytes

    def by_line(self) -> list[tuple[str, int, int]]:
        """Per source line, the bytes kept and how many values they are; the most bytes first."""
        size: Counter[str] = Counter()
        count: Counter[str] = Counter()
        for value in self.kept:
            size[value.line] += value.size
            count[value.line] += 1
        return [(line, n, count[line]) for line, n in size.most_common()]

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps({**asdict(self), "peak_bytes": self.peak_bytes}, indent=1)

    def __str__(self) -> str:
        """A few lines: the totals, and the source lines that keep most."""
        rows = [
            f"memory={self.memory!r}: peak {_mib(self.plan.peak_bytes)}, kept {_mib(self.plan.kept_bytes)}, "
            f"{self.plan.repeated_flops / 1e9:.2f} Gflop repeated of {self.plan.flops / 1e9:.2f}",
            f"memory='keep': peak {_mib(self.keep.peak_bytes)}, kept {_mib(self.keep.kept_bytes)}, "
            f"{self.keep.flops / 1e9:.2f} Gflop",
        ]
        rows += [f"{_mib(size):>12}  {count:3} values  {line}" for line, size, count in self.by_line()[:20]]
        return "\n".join(rows)


def _mib(size: int) -> str:
    return f"{size / 2**20:.2f} MiB"
