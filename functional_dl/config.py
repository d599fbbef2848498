"""Configs: TOML files and ``key=value`` overrides, validated into frozen models; errors name the near miss."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

__all__ = ["Config", "ConfigError", "load", "parse"]

Activation = Literal[
    "identity", "sigmoid", "tanh", "relu", "hard_tanh", "leaky_relu", "elu", "gelu", "silu", "softplus"
]
Share = Annotated[float, Field(gt=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Policy = Literal["auto", "keep", "least"]


class ConfigError(ValueError):
    """A config that cannot be used: one line that says where, what came, what was due."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Digits(_Section):
    """The handwritten digits of the package."""

    name: Literal["digits"]
    test_share: Share = 0.2
    split_seed: Seed = 0


class Stdlib(_Section):
    """Python's own source, as characters."""

    name: Literal["stdlib"]
    context: PositiveInt = 64
    characters: Annotated[int, Field(ge=10_000)] = 1_000_000
    test_share: Share = 0.1


class Mlp(_Section):
    """Dense layers."""

    architecture: Literal["mlp"]
    hidden: tuple[PositiveInt, ...] = (128,)
    activation: Activation = "relu"
    init: Literal["zeros", "small_normal", "lecun_normal", "glorot_normal", "glorot_uniform", "he_normal"] = "he_normal"


class Cnn(_Section):
    """Convolutions and pooling."""

    architecture: Literal["cnn"]
    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=3)] = (16, 32)
    hidden: PositiveInt = 64
    activation: Activation = "relu"


class Rnn(_Section):
    """A recurrent cell that reads an image row by row."""

    architecture: Literal["rnn"]
    width: PositiveInt = 64
    cell: Literal["vanilla", "gru"] = "gru"


class Autoencoder(_Section):
    """The tied autoencoder."""

    architecture: Literal["autoencoder"]
    code: PositiveInt = 16
    activation: Activation = "tanh"


class Transformer(_Section):
    """A character language model."""

    architecture: Literal["transformer"]
    width: PositiveInt = 128
    heads: PositiveInt = 4
    depth: PositiveInt = 4
    scanned: bool = False


class _Rate(_Section):
    learning_rate: PositiveFloat
    schedule: Literal["constant", "cosine", "warmup_cosine"] = "constant"
    warmup: Annotated[int, Field(ge=0)] = 0
    clip: PositiveFloat | None = None


class Sgd(_Rate):
    """SGD with momentum."""

    name: Literal["sgd"]
    momentum: Decay = 0.0


class Adam(_Rate):
    """Adam, or AdamW with ``weight_decay``."""

    name: Literal["adam"]
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    epsilon: PositiveFloat = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Training(_Section):
    """How long, in what portions, and how often to report."""

    epochs: PositiveInt
    batch: PositiveInt
    log_every: PositiveInt = 10


class Memory(_Section):
    """What is kept of the forward for the backward: a policy, or the bytes that intermediates may take."""

    plan: Policy | PositiveInt = "auto"


class Config(_Section):
    """A whole experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    seed: Seed = 0
    data: Annotated[Digits | Stdlib, Field(discriminator="name")]
    model: Annotated[Mlp | Cnn | Rnn | Autoencoder | Transformer, Field(discriminator="architecture")]
    optimizer: Annotated[Sgd | Adam, Field(discriminator="name")]
    training: Training
    memory: Memory = Memory()


_TAGGED: dict[str, dict[str, type[_Section]]] = {
    "data": {"digits": Digits, "stdlib": Stdlib},
    "model": {"mlp": Mlp, "cnn": Cnn, "rnn": Rnn, "autoencoder": Autoencoder, "transformer": Transformer},
    "optimizer": {"sgd": Sgd, "adam": Adam},
}
_UNTAGGED: dict[str, type[_Section]] = {"training": Training, "memory": Memory}


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
    *sections, last = name.split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"override {override!r}: {section} is a value, not a section")
    table[last] = value


def _close(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _near(word: str, known: Sequence[str]) -> str:
    return _close(word, known) or f"; known: {', '.join(sorted(known))}"


def _near_file(path: Path) -> str:
    return _close(str(path), [str(p) for p in path.parent.glob("*.toml")] if path.parent.is_dir() else [])


def _sentence(where: str, error: Any, table: dict[str, Any]) -> str:
    """One line for one of pydantic's errors."""
    location = [str(part) for part in error["loc"]]
    section = location[0] if location and location[0] in Config.model_fields else ""
    known: Sequence[str] = list(Config.model_fields)
    inner = location[1:]
    if section in _TAGGED:
        tags = _TAGGED[section]
        tag = "architecture" if section == "model" else "name"
        if error["type"].startswith("union_tag"):
            came = table[section].get(tag) if isinstance(table.get(section), dict) else None
            if came is None:
                return f"{where} [{section}]: missing key {tag}; known: {', '.join(sorted(tags))}"
            return f"{where} [{section}]: unknown {tag} {came!r}{_near(str(came), list(tags))}"
        if inner and inner[0] in tags:
            known, inner = list(tags[inner[0]].model_fields), inner[1:]
    elif section in _UNTAGGED:
        known = list(_UNTAGGED[section].model_fields)
    if error["type"] == "extra_forbidden":
        place = f" [{section}]" if section and inner else ""
        word = location[-1]
        return f"{where}{place}: unknown key {word}{_near(word, known)}"
    place = f" [{section}]" if section and (inner or isinstance(table.get(section), dict)) else ""
    if section == "memory" and inner[:1] == ["plan"]:  # a policy or a number: pydantic has a complaint for each
        came, policies = table[section]["plan"], get_args(Policy)
        due = f"{', '.join(map(repr, policies))} or a positive whole number of bytes"
        return f"{where}{place}: plan = {came!r}: due is {due}{_close(str(came), policies)}"
    key = ".".join(inner) or section
    if error["type"] == "missing":
        return f"{where}{place}: missing {'key' if inner else 'section or key'} {key}"
    return f"{where}{place}: {key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
