"""Where along a chain of magnitudes it falls or rises for long: the stretch, its rate per step, its whole change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Stretch", "steepest_stretch"]


class Stretch(NamedTuple):
    """A part of a chain.

    Attributes:
      first, last: its ends; ``first < last``.
      change: the magnitude at ``first`` over that at ``last``: what is left after going down from ``last``.
      without_largest: the same without the step that changes most.  It is near 1 where a single step makes it all, such
        as a narrow layer, or a table of small numbers that are normalised.
    """

    first: int
    last: int
    change: float
    without_largest: float

    @property
    def steps(self) -> int:
        """How many steps it has."""
        return self.last - self.first

    @property
    def rate(self) -> float:
        """The geometric mean of the changes of its steps, which are those of a step down each."""
        return float(self.change ** (1 / self.steps))


def steepest_stretch(magnitudes: Sequence[float], slack: float) -> Stretch | None:
    """The stretch over which, going down from its last to its first, most is gained beyond ``slack`` per step.

    It is the contiguous sum that is greatest (Kadane's algorithm; Bentley 1984), of log(x[i]/x[i+1]) − log(slack) for a
    ``slack`` above one, which finds a rise, and of log(slack) − log(x[i]/x[i+1]) for one below, which finds a fall.  So
    its ends are where the change begins and ends, and steps that go the other way inside it must be made up for: a
    residual block whose inner layers differ is no fall.

    Args:
      magnitudes: positive, in the order of the forward pass.
      slack: by how much a step may change things, a factor above or below one.

    Returns:
      The stretch, ``None`` if no step goes beyond the slack.

    Example:
      >>> from functional_dl.diagnostics.stretches import steepest_stretch
      >>> steepest_stretch([1.0, 8.0, 64.0, 64.0, 64.0], slack=0.9)
      Stretch(first=0, last=2, change=0.015625, without_largest=0.125)
    """
    logs = np.log(np.asarray(magnitudes, np.float64))
    gains = np.sign(np.log(slack)) * (logs[:-1] - logs[1:] - np.log(slack))
    best, found, running, start = 0.0, None, 0.0, 0
    for i, gain in enumerate(gains):
        if running <= 0:
            running, start = 0.0, i
        running += gain
        if running > best:
            best, found = running, (start, i + 1)
    if found is None:
        return None
    first, last = found
    change = float(magnitudes[first] / magnitudes[last])
    steps = [float(magnitudes[i] / magnitudes[i + 1]) for i in range(first, last)]
    return Stretch(first, last, change, change / (max(steps) if slack > 1 else min(steps)))
