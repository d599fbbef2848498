"""How hard a plan tries: what may be run again for the sake of a byte, and how loops are divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log, sqrt

__all__ = ["AUTO", "Level", "divisions"]


@dataclass(frozen=True)
class Level:
    """How a program is planned, and the programs inside it.

    Attributes:
      rate: how many operations a byte is worth: 0 to repeat nothing expensive, infinity to repeat anything.
      chunk: a loop of more iterations than this is run in chunks of so many, of which only the carry at the start is
        kept; 0 to leave it whole.
      body: the level of the programs inside, and of the loop over a chunk; this one if left out.
    """

    rate: float = 0.0
    chunk: int = 0
    body: Level | None = None

    @property
    def inside(self) -> Level:
        """The level of the programs inside a loop's body."""
        return self.body or self

    @property
    def divided(self) -> Level:
        """The level of a program that holds a loop, divided into a loop over chunks and loops over each chunk."""
        over_chunks = Level(inf, 0, self.inside)
        return Level(0.0, 0, over_chunks)


AUTO = Level()


def divisions(length: int, carry: int, kept: Sequence[tuple[Level, int]]) -> list[Level]:
    """Ways to divide a loop into chunks, and these into chunks again.

    With ``d`` divisions into chunks of m₁ > m₂ > … iterations, of a loop of n that carries ``a`` bytes and keeps ``k``
    in each iteration, n a/m₁ + m₁ a/m₂ + … + m_d k bytes are kept; they are fewest when the terms are equal (by the
    means), that is (n aᵈ k)^(1/(d+1)) each.  Each division costs one forward more.

    Args:
      length: n.
      carry: a.
      kept: levels for the programs inside, and what the whole loop keeps at each.
    """
    found = []
    for inner, size in kept:
        each = max(size / length, 1.0)
        for depth in range(1, 5):
            equal = (length * max(carry, 1) ** depth * each) ** (1 / (depth + 1))
            for stretch in (0.25, 1.0, 4.0) if depth == 1 else (1.0,):
                level, chunk, sizes = inner, stretch * equal / each, []
                for _ in range(depth):
                    sizes.append(chunk)
                    chunk *= equal / max(carry, 1)
                whole = length
                chosen: list[int] = []
                for m in reversed(sizes):
                    whole = _near(whole, m)
                    chosen.append(whole)
                if chosen[-1] < 2 or chosen[0] >= length or len({*chosen}) < depth:
                    continue
                for m in reversed(chosen):
                    level = Level(0.0, m, level)
                if level not in found:
                    found.append(level)
    return found


def _near(whole: int, size: float) -> int:
    """The divisor of ``whole`` nearest to ``size`` by ratio; the size itself if none is within a factor of two."""
    size = min(max(size, 1.0), float(whole))
    divisors = [d for d in range(1, int(sqrt(whole)) + 1) if whole % d == 0]
    divisors += [whole // d for d in divisors]
    best = min(divisors, key=lambda d: abs(log(d / size)))
    return best if 0.5 <= best / size <= 2 else round(size)
