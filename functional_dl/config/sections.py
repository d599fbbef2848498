"""Sections of a config from signatures: what a function takes by keyword is what its section may say."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, create_model
from pydantic_core import PydanticCustomError

from functional_dl import nn

__all__ = ["ConfigError", "Section", "close", "near", "put", "sections", "tagged"]


class ConfigError(ValueError):
    """A config that cannot be used: one line that says where, what came, what was due."""


class Section(BaseModel):
    """A table of a config: frozen, nothing unknown, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def options(self, tag: str) -> dict[str, Any]:
        """Everything but the tag, as keyword arguments."""
        return {name: value for name, value in self if name != tag}


def close(word: str, known: Iterable[str]) -> str:
    """``; did you mean …?``, if something known is close."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""


def near(word: str, known: Iterable[str]) -> str:
    """The close one, or all that are known."""
    known = sorted(known)
    return close(word, known) or f"; known: {', '.join(known)}"


def put(place: Any, key: str, value: Any, before: str = "") -> Any:
    """A copy of a section, or of a tuple, with ``value`` at a dotted ``key``, not validated; ``before`` led to it.

    Raises:
      ConfigError: there is no such key, it names a whole section or which one it is, or the section is absent.
    """
    here, _, rest = key.partition(".")
    where, within = before + here, f" in [{before[:-1]}]" if before else ""
    if isinstance(place, Section):
        held = dict(place)
        if here not in held:
            raise ConfigError(f"{before}{key}: unknown key {here}{within}{near(here, held)}")
        kind = type(place).model_fields[here].annotation
        if get_origin(kind) is Literal and len(get_args(kind)) == 1:
            raise ConfigError(f"{before}{key}: {here} says which keys there are{within}; it cannot change alone")
    elif isinstance(place, tuple):
        if not here.isdecimal() or int(here) >= len(place):
            raise ConfigError(f"{before}{key}: {here!r} is no entry of a list of {len(place)}, counted from 0")
        held = {str(i): x for i, x in enumerate(place)}
        here = str(int(here))
    elif place is None:
        raise ConfigError(f"{before}{key}: this config has no [{before[:-1]}], so nothing in it has a value")
    else:
        raise ConfigError(f"{before}{key}: {before[:-1]} is a value, not a section")
    if not rest and isinstance(held[here], Section):
        raise ConfigError(f"{before}{key}: this is a section; due is a key in it")
    held[here] = put(held[here], rest, value, f"{where}.") if rest else value
    return place.model_copy(update={here: held[here]}) if isinstance(place, Section) else tuple(held.values())


def _one_of(names: Sequence[str]) -> Any:
    def check(name: str) -> str:
        if name not in names:
            raise PydanticCustomError("choice", "{text}", {"text": f"unknown{near(name, names)}"})
        return name

    return Annotated[str, AfterValidator(check)]


Share = Annotated[float, Field(gt=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

# What a parameter may be, by its type and its name where the type alone says too little.
BOUNDS: dict[Any, dict[str, Any]] = {
    float: {
        **dict.fromkeys(["test_share"], Share),
        **dict.fromkeys(["beta", "beta_1", "beta_2", "factor_beta", "adam_beta_1", "adam_beta_2", "momentum", "rho",
                         "dropout", "decay", "smoothing", "warmup"], Fraction),
        **dict.fromkeys(["learning_rate", "epsilon", "adam_learning_rate", "adam_epsilon", "threshold", "delta",
                         "limit", "ratio"], Positive),
        **dict.fromkeys(["weight_decay", "adam_weight_decay", "amount", "initial", "k"], NonNegative),
        "longest": Annotated[float, Field(gt=0)],
    },
    int: {
        **dict.fromkeys(["warmup", "start"], Natural),
        **dict.fromkeys(["split_seed", "seed"], Seed),
        "characters": Annotated[int, Field(ge=10_000)],
    },
    str: {
        "activation": _one_of([*nn.activations.ACTIVATIONS, "parametric_relu", "maxout"]),
        "init": _one_of(list(nn.initializers.INITIALIZERS)),
    },
    bool: {},
}  # fmt: skip
FREE = {float: Number, int: Count, str: str, bool: bool}


def _kind(name: str, hint: Any) -> Any:
    """The validated type of a parameter, ``None`` for what no config can say."""
    if hint is Any or get_origin(hint) in (dict, Mapping) or hint is inspect.Parameter.empty:
        return None
    if get_origin(hint) in (Union, UnionType):
        parts = [x for x in get_args(hint) if x not in (NoneType, Path)]
        kinds = [kind for part in parts if (kind := _kind(name, part)) is not None]
        if not kinds:
            return None
        whole: Any = Union[tuple(kinds)]  # noqa: UP007
        return Union[whole, None] if NoneType in get_args(hint) else whole  # noqa: UP007
    if get_origin(hint) is Literal:
        names = get_args(hint)
        return _one_of(names) if all(isinstance(x, str) for x in names) else hint
    if hint in FREE:
        return BOUNDS[hint].get(name, FREE[hint])
    if get_origin(hint) in (Sequence, tuple, list):
        inner = _kind("", get_args(hint)[0])
        return None if inner is None else tuple[inner, ...]  # type: ignore[valid-type]  # made at run time
    return None


def sections(
    table: Mapping[str, Callable[..., Any]], tag: str, given: Sequence[str] = (), filled: Sequence[str] = ()
) -> dict[str, type[Section]]:
    """A section for each function of a table.

    Args:
      table: the functions by the name that ``tag`` has in the section.
      tag: the key that says which.
      given: parameters that the program gives, which a config has no say in.
      filled: parameters that the program gives where the config says nothing.
    """
    made = {}
    for name, function in table.items():
        hints = get_type_hints(function)
        fields: dict[str, Any] = {tag: (Literal[name], ...)}
        for parameter in inspect.signature(function).parameters.values():
            kind = None if parameter.name in given else _kind(parameter.name, hints.get(parameter.name, Any))
            if kind is None or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            if parameter.name in filled:
                fields[parameter.name] = (kind | None, None)
            else:
                default = ... if parameter.default is parameter.empty else parameter.default
                fields[parameter.name] = (kind, default)
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        made[name] = create_model(name, __base__=Section, __doc__=summary, **fields)
    return made


def tagged(made: Mapping[str, type[Section]], tag: str) -> Any:
    """Any of these sections, told apart by the tag; a bare name stands for a section that says nothing else."""

    def spelled_out(value: Any) -> Any:
        return {tag: value} if isinstance(value, str) else value

    union = Union[tuple(made.values())] if len(made) > 1 else next(iter(made.values()))  # noqa: UP007
    return Annotated[Annotated[union, Field(discriminator=tag)], BeforeValidator(spelled_out)]
