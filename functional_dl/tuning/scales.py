"""The scales of a search's pictures: scores so that good ones can be told apart, hyperparameters as they were drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from functional_dl.strategies.dimensions import Choice, Uniform
from functional_dl.strategies.space import Space
from functional_dl.tuning.results import by_member
from functional_dl.tuning.search import Found

__all__ = ["BEST", "GREY", "LOST", "ScoreScale", "Track", "place", "ticks", "tracks"]

# Vermilion and grey beside viridis: told apart with any kind of colour vision.
BEST, LOST, GREY = "#D55E00", "#B8B8B8", "#666666"

# How far beyond the worst score, on an axis from 0 to 1, members stand that came to no number.
BEYOND = 0.09

ACCURACIES = [0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0]

# Longer texts at an axis would overlap.
LONGEST = 18


class Track(NamedTuple):
    """A member's way: its hyperparameters, and its score after so many steps, NaN where it had diverged."""

    member: int
    values: dict[str, Any]
    steps: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def is_lost(self) -> bool:
        """Whether it came to no number."""
        return not math.isfinite(self.scores[-1])


def tracks(found: Found, metric: str) -> list[Track]:
    """The ways of all members by the strategy's rounds, best first."""
    ways = []
    for member, lines in by_member(found).items():
        scores = tuple(math.nan if math.isnan(line.metrics["loss"]) else line.metrics[metric] for line in lines)
        ways.append(Track(member, dict(lines[-1].values), tuple(line.steps for line in lines), scores))
    return ways


def any_lost(ways: Sequence[Track]) -> bool:
    """Whether a member diverged."""
    return any(not math.isfinite(x) for way in ways for x in way.scores)


class ScoreScale:
    """From scores to [0, 1].

    Accuracies go by the logarithm of what they lack: from 98% to 99% is as far as from 80% to 90%.  Losses go by their
    own logarithm, where all of them have one.
    """

    def __init__(self, metric: str, more: bool, scores: Sequence[float]) -> None:
        self.metric, self.more = metric, more
        known = [x for x in scores if math.isfinite(x)] or [0.5, 1.0]
        low, high = min(known), max(known)
        self._log = metric != "accuracy" and low > 0
        if low == high:
            low, high = low - 0.1 * abs(low or 1.0), high + 0.1 * abs(high or 1.0)
        if metric == "accuracy":
            low, high = max(low, 0.0), min(high, 1.0)
        self._ends = low, high
        self._low, self._high = self._scaled(low), self._scaled(high)

    def _scaled(self, score: float) -> float:
        if self.metric == "accuracy":
            return -math.log10(1.003 - score)
        return math.log10(score) if self._log else score

    def at(self, score: float) -> float:
        """Where a score is; what is no number, beyond the worst."""
        if not math.isfinite(score):
            return -BEYOND if self.more else 1 + BEYOND
        return (self._scaled(score) - self._low) / (self._high - self._low)

    def goodness(self, score: float) -> float:
        """From 0, the worst, to 1, the best."""
        return self.at(score) if self.more else 1 - self.at(score)

    @property
    def label(self) -> str:
        """What stands at the axis."""
        return f"validation {self.metric.replace('_', ' ')}" + ("" if self.more else " (less is better)")

    def ticks(self) -> tuple[list[float], list[str]]:
        """Places on the axis, and what they are called."""
        low, high = self._ends
        if self.metric == "accuracy":
            found = [x for x in ACCURACIES if low <= x <= high]
            if len(found) < 3:
                found = Uniform(low, high).ticks()
            texts = [f"{100 * x:.3g}%" for x in found]
        elif self._log:
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            fine = len(powers) <= 4
            found = [x for k in powers for m in ((1, 2, 5) if fine else (1,)) if low <= (x := m * 10.0**k) <= high]
            if len(found) < 3:
                found = Uniform(low, high).ticks()
            texts = [_text(x) for x in found]
        else:
            found = Uniform(low, high).ticks()
            texts = [_text(x) for x in found]
        kept: list[tuple[float, str]] = []
        for place, text in zip(map(self.at, found), texts, strict=True):
            if not kept or place - kept[-1][0] > 0.045:
                kept.append((place, text))
        return [place for place, _ in kept], [text for _, text in kept]

    def ticks_with_lost(self, ways: Sequence[Track]) -> tuple[list[float], list[str]]:
        """The same, and one for those that came to no number, if there are any."""
        places, texts = self.ticks()
        if any_lost(ways):
            return [self.at(math.nan), *places], ["diverged", *texts]
        return places, texts

    def limits(self, ways: Sequence[Track]) -> tuple[float, float]:
        """The ends of an axis for these members."""
        far = BEYOND + 0.05 if any_lost(ways) else 0.05
        return (-far, 1.05) if self.more else (-0.05, 1 + far)


def place(space: Space, key: str, way: Track) -> float:
    """Where a member stands on the axis of a hyperparameter; members of one choice beside each other."""
    dimension = space[key]
    found = dimension.position(_as_drawn(dimension, way.values[key]))
    if isinstance(dimension, Choice):
        # By the golden ratio: neighbours in number are far apart.
        found += ((0.618034 * way.member) % 1 - 0.5) * 0.5 / len(dimension.values)
    return found


def _as_drawn(dimension: Any, value: Any) -> Any:
    """A value from a file of JSON, whose lists were tuples, as the dimension knows it."""
    if not isinstance(dimension, Choice):
        return value
    return next(known for known in dimension.values if json.dumps(known) == json.dumps(value))


def ticks(space: Space, key: str) -> tuple[list[float], list[str]]:
    """Places on the axis of a hyperparameter, and what they are called."""
    dimension = space[key]
    found: list[Any] = dimension.ticks()
    if not isinstance(dimension, Choice):
        # The ends as well, where there is room beside the round numbers.
        near = [dimension.position(x) for x in found]
        ends = (dimension.low, dimension.high)
        found = [*found, *(x for x in ends if all(abs(dimension.position(x) - at) > 0.08 for at in near))]
    texts = [_text(x) if isinstance(x, (int, float)) and not isinstance(x, bool) else _word(x) for x in found]
    return [dimension.position(x) for x in found], texts


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _text(x: float) -> str:
    """A number for an axis: 0.05, 1e-4."""
    if x == 0 or 1e-3 <= abs(x) < 1e5:
        return f"{x:g}"
    digits, power = f"{x:e}".split("e")
    return f"{float(digits):g}e{int(power)}"
