"""A search space, dimensions by their config keys: members drawn from it, the grid on it, its part around the best."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from functional_dl.strategies.dimensions import Choice, Dimension, Integer, LogUniform, Uniform

__all__ = [
    "Choice",
    "Dimension",
    "Integer",
    "LogUniform",
    "Space",
    "Uniform",
    "choice",
    "draw",
    "grid",
    "integer",
    "log_uniform",
    "member_seed",
    "narrowed",
    "read_space",
    "uniform",
    "write_space",
]

Space = Mapping[str, Dimension]


def uniform(low: float, high: float) -> Uniform:
    """Any number from low to high, all equally likely."""
    return Uniform(low, high)


def log_uniform(low: float, high: float) -> LogUniform:
    """Any number from low to high, its logarithm uniform: what a learning rate wants."""
    return LogUniform(low, high)


def integer(low: int, high: int, log: bool = False) -> Integer:
    """A whole number from low to high, both included."""
    return Integer(low, high, log)


def choice(*values: Any) -> Choice:
    """One of the values."""
    return Choice(values)


def draw(space: Space, seed: int, member: int) -> dict[str, Any]:
    """The hyperparameters of a member: random search's draw (Bergstra & Bengio, 2012).

    Each dimension's number is Philox's at (seed, member, the key's hash), so it does not depend on which other members
    are drawn, nor on what else is in the space, and it is the same on every machine.

    >>> draw({"optimizer.learning_rate": log_uniform(1e-4, 1e-1), "model.depth": integer(1, 4)}, seed=0, member=5)
    {'optimizer.learning_rate': 0.0337127709347, 'model.depth': 4}
    """
    values = {}
    for name, dimension in space.items():
        word = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        # The first word of the counter counts the numbers drawn; the key's hash is the second, so streams never meet.
        philox = np.random.Philox(key=np.array([seed, member], np.uint64), counter=np.array([0, word, 0, 0], np.uint64))
        values[name] = dimension.at(np.random.Generator(philox).random())
    return values


def grid(space: Space, points: int) -> list[dict[str, Any]]:
    """The full product: ``points`` values of each interval, all of each choice.

    The keys are taken in alphabetical order, the last of them changing fastest, so that a member's number says the
    same wherever the space was read from.

    >>> grid({"b": choice("relu", "tanh"), "a": uniform(0.0, 1.0)}, points=2)
    [{'a': 0.0, 'b': 'relu'}, {'a': 0.0, 'b': 'tanh'}, {'a': 1.0, 'b': 'relu'}, {'a': 1.0, 'b': 'tanh'}]
    """
    names = sorted(space)
    return [dict(zip(names, values, strict=True))
            for values in itertools.product(*(space[name].grid(points) for name in names))]  # fmt: skip


def narrowed(space: Space, best: Sequence[Mapping[str, Any]], share: float) -> Space:
    """The part of a space around the best members: of each interval ``share`` of its width, of each choice theirs.

    An interval is centred on the (low) median of the best, not on their mean, which may be a value that none of them
    had and that is bad.

    >>> narrowed({"rate": log_uniform(1e-4, 1e0)}, [{"rate": 0.01}, {"rate": 0.02}, {"rate": 0.009}], share=0.5)
    {'rate': LogUniform(low=0.001, high=0.1)}
    """
    if not best:
        raise ValueError("A space is to be narrowed around no members; due is at least one.")
    if not 0 < share <= 1:
        raise ValueError(f"A space is to be narrowed to {share!r} of its width; due is a share in (0, 1].")
    found: dict[str, Dimension] = {}
    for name, dimension in space.items():
        values = [member[name] for member in best]
        if isinstance(dimension, Choice):
            found[name] = dimension.among(values)
        else:
            found[name] = dimension.narrowed(statistics.median_low(values), share)
    return found


KINDS: dict[str, Callable[[list[Any]], Dimension]] = {
    "uniform": lambda ends: Uniform(*_two(ends)),
    "log_uniform": lambda ends: LogUniform(*_two(ends)),
    "integer": lambda ends: Integer(*_two(ends), False),
    "log_integer": lambda ends: Integer(*_two(ends), True),
    "choice": lambda values: Choice(tuple(values)),
}


def _two(ends: list[Any]) -> tuple[Any, Any]:
    if len(ends) != 2:
        raise ValueError(f"{len(ends)} values came; due are two, [low, high].")
    return ends[0], ends[1]


def _entries(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and what they stand for, whether TOML was told "a.b" in quotes or a table b in a table a."""
    for key, entry in table.items():
        if isinstance(entry, Mapping) and entry and all(isinstance(part, Mapping) for part in entry.values()):
            yield from _entries(entry, f"{above}{key}.")
        else:
            yield f"{above}{key}", entry


def _dimension(entry: Any) -> Dimension:
    known = ", ".join(KINDS)
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise ValueError(f"{entry!r} came; due is one of {known}, as in {{ uniform = [0.0, 0.5] }}.")
    ((kind, said),) = entry.items()
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.5)
        raise ValueError(
            f"unknown kind {kind}; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(KINDS)}")
        )
    if not isinstance(said, (list, tuple)):
        raise ValueError(f"{kind} = {said!r}; due is a list.")
    return KINDS[kind](list(said))


def read_space(table: Mapping[str, Any]) -> Space:
    """A space from a TOML table.

    >>> read_space({"optimizer.learning_rate": {"log_uniform": [1e-4, 1e-1]}, "model": {"depth": {"integer": [1, 4]}}})
    {'optimizer.learning_rate': LogUniform(low=0.0001, high=0.1), 'model.depth': Integer(low=1, high=4, log=False)}
    """
    space: dict[str, Dimension] = {}
    for name, entry in _entries(table):
        if name in space:
            raise ValueError(f"search space, {name}: it comes twice; due is once.")
        try:
            space[name] = _dimension(entry)
        except ValueError as error:
            raise ValueError(f"search space, {name}: {error}") from None
    if not space:
        raise ValueError("search space: it is empty; due is at least one key, as in "
                         '"optimizer.learning_rate" = { log_uniform = [1e-4, 1e-1] }.')  # fmt: skip
    return space


def write_space(space: Space) -> dict[str, dict[str, list[Any]]]:
    """The TOML table that ``read_space`` reads the space from.

    >>> write_space({"model.width": integer(16, 256, log=True)})
    {'model.width': {'log_integer': [16, 256]}}
    """
    table = {}
    for name, dimension in space.items():
        match dimension:
            case Choice(values):
                table[name] = {"choice": list(values)}
            case Integer(low, high, log):
                table[name] = {"log_integer" if log else "integer": [low, high]}
            case Uniform(low, high) | LogUniform(low, high):
                table[name] = {"log_uniform" if dimension.log else "uniform": [low, high]}
    return table


def member_seed(seed: int, member: int, replicate: int = 0) -> int:
    """The ``seed`` of a member's training, in [0, 2³²); a replicate is the same member with other randomness.

    >>> member_seed(0, 3), member_seed(0, 3, replicate=1)
    (2613022947, 3679268941)
    """
    return int(np.random.SeedSequence([seed, member, replicate]).generate_state(1)[0])
