"""Reading of configs: TOML, overrides, and one sentence for whatever is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from functional_dl.config.schema import SEARCHES, TAGS, Config, Policy
from functional_dl.config.sections import ConfigError, Section, close, near

__all__ = ["changed", "load", "parse"]


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read and validate a TOML file, with overrides such as ``optimizer.learning_rate=0.01``.

    Raises:
      ConfigError: the file is missing, is no TOML, or says something unknown, of the wrong type or out of range.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file{_near_file(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return parse(table, str(path), overrides)


def parse(table: dict[str, Any], where: str, overrides: Sequence[str] = ()) -> Config:
    """Validate a table as `load` does; ``where`` is what errors call it."""
    for override in overrides:
        _override(table, override)
    try:
        return Config.model_validate(_tuples(table))
    except ValidationError as error:
        raise ConfigError(_sentence(where, error.errors()[0], table)) from error


def changed(config: Config, values: Mapping[str, Any], where: str) -> Config:
    """A copy of a config with values at dotted keys, such as ``{"model.width": 64}``, validated as `load` does.

    Raises:
      ConfigError: a key or a value that a config cannot have; ``where`` is what errors call it.
    """
    table = config.model_dump(exclude_none=True, mode="json")
    for key, value in values.items():
        _put(table, key, value, f"{where}: {key}")
    return parse(table, where)


def _tuples(value: Any) -> Any:
    """TOML's arrays as tuples, which is what frozen models hold."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _override(table: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(f"override {override!r}: due is key=value, such as optimizer.learning_rate=0.01")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # an unquoted word
    _put(table, name, value, f"override {override!r}")


def _put(table: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Put a value into tables and lists of tables."""
    *sections, last = key.split(".")
    place: Any = table
    for section in sections:
        is_list = isinstance(place, list)
        place = place[_index(where, section, place)] if is_list else place.setdefault(section, {})
        if not isinstance(place, (dict, list)):
            raise ConfigError(f"{where}: {section} is a value, not a section")
    place[_index(where, last, place) if isinstance(place, list) else last] = value


def _index(where: str, word: str, entries: list[Any]) -> int:
    if not word.isdecimal() or int(word) >= len(entries):
        raise ConfigError(f"{where}: {word!r} is no entry of a list of {len(entries)}, counted from 0")
    return int(word)


def _near_file(path: Path) -> str:
    return close(str(path), [str(p) for p in path.parent.glob("*.toml")] if path.parent.is_dir() else [])


def _sentence(where: str, error: Any, table: dict[str, Any]) -> str:
    """One line for one of pydantic's errors."""
    location = [str(part) for part in error["loc"]]
    section = location[0] if location and location[0] in Config.model_fields else ""
    place, inner, came, known = section, location[1:], table.get(section), list(Config.model_fields)
    if section and inner and inner[0].isdecimal() and isinstance(came, list):  # one of a list of tables
        place, came, inner = f"{section}.{inner[0]}", came[int(inner[0])], inner[1:]
    if section == "tuning" and inner[:1] == ["strategy"]:  # a section in a section
        place, inner, came = "tuning.strategy", inner[1:], came.get("strategy") if isinstance(came, dict) else came
    if tagged := {**TAGS, "tuning.strategy": ("name", SEARCHES)}.get(place if place == "tuning.strategy" else section):
        tag, made = tagged
        if error["type"].startswith("union_tag"):
            name = came.get(tag) if isinstance(came, dict) else came if isinstance(came, str) else None
            if name is None:
                return f"{where} [{place}]: missing key {tag}; known: {', '.join(sorted(made))}"
            return f"{where} [{place}]: unknown {tag} {name!r}{near(str(name), made)}"
        if inner and inner[0] in made:
            known, inner = list(made[inner[0]].model_fields), inner[1:]
    elif section:
        annotation = Config.model_fields[section].annotation
        for kind in get_args(annotation) or (annotation,):
            if isinstance(kind, type) and issubclass(kind, Section):
                known = list(kind.model_fields)
    if error["type"] == "extra_forbidden":
        heading = f" [{place}]" if section and inner else ""
        return f"{where}{heading}: unknown key {location[-1]}{near(location[-1], known)}"
    heading = f" [{place}]" if section and (inner or isinstance(came, dict)) else ""
    if section == "memory" and inner[:1] == ["plan"]:  # a policy or a number: pydantic has a complaint for each
        plan, policies = table[section]["plan"], get_args(Policy)
        due = f"{', '.join(map(repr, policies))} or a positive whole number of bytes"
        return f"{where}{heading}: plan = {plan!r}: due is {due}{close(str(plan), policies)}"
    key = ".".join(part for part in inner if "[" not in part) or section
    if error["type"] == "value_error":  # of our own functions, which say what came
        return f"{where}{heading}: {error['ctx']['error']}"
    if error["type"] == "missing":
        return f"{where}{heading}: missing {'key' if inner else 'section or key'} {key}"
    return f"{where}{heading}: {key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
