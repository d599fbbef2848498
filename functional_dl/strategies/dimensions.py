"""The dimensions of a search space: what one hyperparameter may be, and how its values lie in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

__all__ = ["Choice", "Dimension", "Integer", "LogUniform", "Uniform"]


def _neat(x: float) -> float:
    """To twelve digits: 0.1 where the arithmetic says 0.1 + 1e-17, and one number where two machines' exp differ."""
    return float(f"{x:.12g}")


def _within(x: float, low: Any, high: Any) -> Any:
    return min(max(x, low), high)


def _spread(points: int) -> list[float]:
    """Positions from 0 to 1; a single one is in the middle."""
    if points < 1:
        raise ValueError(f"A grid of {points} points; due is at least 1.")
    return [i / (points - 1) for i in range(points)] if points > 1 else [0.5]


def _round_values(low: float, high: float, least: float = 0.0) -> list[float]:
    """Multiples in [low, high] of 1, 2 or 5 times a power of ten, at most six of them."""
    rough = max((high - low) / 5, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(x * power for x in (1, 2, 5, 10) if x * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [_neat(i * step) for i in range(first, last + 1)]


def _scale(x: float, log: bool) -> float:
    return math.log(x) if log else x


def _check(who: object, low: Any, high: Any, log: bool) -> None:
    name = type(who).__name__
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound):
            raise ValueError(f"{name} from {low!r} to {high!r}; due are two finite numbers.")
    if low >= high or not math.isfinite(high - low):
        raise ValueError(f"{name} from {low!r} to {high!r}; due is low < high.")
    if log and low <= 0:
        raise ValueError(f"{name} from {low!r} to {high!r}, on a logarithmic scale; due is low > 0.")


@dataclass(frozen=True)
class _Interval:
    """Any number from low to high, uniform on a scale."""

    low: float
    high: float

    log: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check(self, self.low, self.high, self.log)
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))

    def at(self, u: float) -> float:
        """The value at position u: the inverse of the distribution function."""
        if u <= 0 or u >= 1:
            return self.low if u <= 0 else self.high
        scaled = (1 - u) * _scale(self.low, self.log) + u * _scale(self.high, self.log)
        return _within(_neat(math.exp(scaled) if self.log else scaled), self.low, self.high)

    def position(self, value: float) -> float:
        """Where in [0, 1] a value lies; one outside, at the nearer end."""
        low, high = _scale(self.low, self.log), _scale(self.high, self.log)
        return (_scale(_within(value, self.low, self.high), self.log) - low) / (high - low)

    def grid(self, points: int) -> list[float]:
        """Values at equal distances, both ends among them; a single one lies in the middle."""
        return [self.at(u) for u in _spread(points)]

    def narrowed(self, center: float, share: float) -> Self:
        """``share`` of the width around a value, as far as it lies inside."""
        middle = self.position(center)
        low, high = self.at(middle - share / 2), self.at(middle + share / 2)
        if low == high:  # narrower than twelve digits can say
            low, high = max(math.nextafter(low, -math.inf), self.low), min(math.nextafter(high, math.inf), self.high)
        return type(self)(low, high)


@dataclass(frozen=True)
class Uniform(_Interval):
    """Any number from low to high, all equally likely.

    >>> Uniform(0.0, 0.5).grid(6)
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    """

    def ticks(self) -> list[float]:
        """Round values for an axis."""
        return _round_values(self.low, self.high)


@dataclass(frozen=True)
class LogUniform(_Interval):
    """Any number from low to high > 0, its logarithm uniform: as often from 1e-4 to 1e-3 as from 1e-3 to 1e-2.

    >>> LogUniform(1e-4, 1e-1).grid(4)
    [0.0001, 0.001, 0.01, 0.1]
    """

    log: ClassVar[bool] = True

    def ticks(self) -> list[float]:
        """The powers of ten for an axis; where there are fewer than two of them, other round values."""
        powers = [
            float(f"1e{k}") for k in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        ]
        found = [x for x in powers if self.low <= x <= self.high]
        return found if len(found) > 1 else _round_values(self.low, self.high)


@dataclass(frozen=True)
class Integer:
    """A whole number from low to high, both included; with ``log`` small ones are as likely as large ones together.

    Each number n owns what rounds to it, n − ½ to n + ½, which is what makes the ends as likely as the rest.
    """

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check(self, self.low, self.high, self.log)
        if not isinstance(self.low, int) or not isinstance(self.high, int):
            raise ValueError(f"Integer from {self.low!r} to {self.high!r}; due are two whole numbers.")

    @property
    def _ends(self) -> tuple[float, float]:
        return _scale(self.low - 0.5, self.log), _scale(self.high + 0.5, self.log)

    def _nearest(self, scaled: float) -> int:
        return _within(math.floor((math.exp(scaled) if self.log else scaled) + 0.5), self.low, self.high)

    def at(self, u: float) -> int:
        """The number at position u."""
        first, last = self._ends
        return self._nearest((1 - u) * first + u * last)

    def position(self, value: float) -> float:
        """Where in [0, 1] a number lies: within the part that is its own."""
        first, last = self._ends
        return (_scale(_within(value, self.low, self.high), self.log) - first) / (last - first)

    def grid(self, points: int) -> list[int]:
        """At most ``points`` numbers at distances as equal as can be, both ends among them."""
        if points > self.high - self.low:
            return list(range(self.low, self.high + 1))
        first, last = _scale(self.low, self.log), _scale(self.high, self.log)
        return sorted({self._nearest((1 - u) * first + u * last) for u in _spread(points)})

    def narrowed(self, center: int, share: float) -> Integer:
        """``share`` of the width around a number, as far as it lies inside; its two neighbours at the least."""
        middle = self.position(center)
        low, high = self.at(max(middle - share / 2, 0.0)), self.at(min(middle + share / 2, 1.0))
        return Integer(max(min(low, center - 1), self.low), min(max(high, center + 1), self.high), self.log)

    def ticks(self) -> list[int]:
        """Round numbers for an axis; powers of two on a logarithmic scale."""
        powers = [2**k for k in range(self.high.bit_length()) if self.log and self.low <= 2**k <= self.high]
        return powers if len(powers) > 1 else [int(x) for x in _round_values(self.low, self.high, least=1.0)]


@dataclass(frozen=True)
class Choice:
    """One of some values, all equally likely."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise ValueError("Choice of nothing; due is at least one value.")
        for i, value in enumerate(self.values):
            if self.index(value) != i:
                raise ValueError(f"Choice of {self.values!r}; {value!r} comes twice.")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"Choice of {self.values!r}; {value!r} is no number.")

    def index(self, value: Any) -> int:
        """The place of a value among them; 1, 1.0 and True are three values."""
        for i, known in enumerate(self.values):
            if type(known) is type(value) and known == value:
                return i
        raise ValueError(f"{value!r} is none of the choices {self.values!r}.")

    def at(self, u: float) -> Any:
        """The value at position u."""
        return self.values[_within(math.floor(u * len(self.values)), 0, len(self.values) - 1)]

    def position(self, value: Any) -> float:
        """Where in [0, 1] a value lies: in the middle of its part."""
        return (self.index(value) + 0.5) / len(self.values)

    def grid(self, points: int) -> list[Any]:
        """All of them, whatever ``points`` says."""
        return list(self.values)

    def narrowed(self, center: Any, share: float) -> Choice:
        """All of them: there is nothing between two choices, so one says nothing of its neighbours."""
        return self

    def among(self, best: Sequence[Any]) -> Choice:
        """Those that are among the best."""
        kept = {self.index(value) for value in best}
        return Choice(tuple(value for i, value in enumerate(self.values) if i in kept))

    def ticks(self) -> list[Any]:
        """All of them."""
        return list(self.values)


Dimension = Uniform | LogUniform | Integer | Choice
