"""Where to cut a forward into segments: between equations where few bytes cross."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate

__all__ = ["crossing", "cuts"]


def crossing(births: Sequence[int], deaths: Sequence[int], sizes: Sequence[int], count: int) -> list[int]:
    """Bytes that cross each place between ``count`` equations: place ``p`` lies before equation ``p``.

    Args:
      births, deaths: per value, the equation that makes it and the last that reads it.
      sizes: bytes of each value.
      count: the number of equations.

    Example:
      >>> crossing(births=[0, 1], deaths=[2, 2], sizes=[5, 7], count=3)
      [0, 5, 12, 0]
    """
    change = [0] * (count + 2)
    for birth, death, size in zip(births, deaths, sizes, strict=True):
        change[birth + 1] += size
        change[death + 1] -= size
    return list(accumulate(change))[: count + 1]


def cuts(bytes_across: Sequence[int], weights: Mapping[int, float], alone: Collection[int], segments: int) -> list[int]:
    """The places at which to cut: a list that begins with 0 and ends with the number of equations.

    Segments weigh from half to two and a half times an equal share; among the places that would make them so, the one
    where the fewest bytes cross is taken, the last of equals.

    Args:
      bytes_across: what `crossing` gives.
      weights: how much each equation weighs; those left out weigh nothing.
      alone: equations that are a segment by themselves.
      segments: about how many there should be.

    Example:
      >>> cuts([0, 9, 2, 9, 2, 9, 0], {i: 1.0 for i in range(6)}, alone=[], segments=6)
      [0, 2, 4, 6]
    """
    count = len(bytes_across) - 1
    share = sum(w for i, w in weights.items() if i not in alone) / max(segments, 1)
    places, since, best = [0], 0.0, -1
    for i in range(count):
        if i in alone:
            places += [i, i + 1]
            since, best = 0.0, -1
            continue
        since += weights.get(i, 0.0)
        here = i + 1
        if since >= 0.5 * share and (best < 0 or bytes_across[here] <= bytes_across[best]):
            best = here
        if since >= 2.5 * share:
            places.append(best)
            since, best = sum(weights.get(j, 0.0) for j in range(best, here)), -1
    return sorted({*places, count})
