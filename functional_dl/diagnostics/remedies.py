"""What helps against what a diagnosis finds: one table, from a remedy's name to words and to a config's settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

__all__ = ["REMEDIES", "Advice", "Remedy", "advise"]

# Activations whose slope stays near one on one side, and those of them that are never quite flat on the other.
_ONE_SIDED = {"relu", "leaky_relu", "parametric_relu", "elu", "gelu", "silu", "softplus", "maxout"}
_NEVER_FLAT = {"leaky_relu", "parametric_relu", "elu", "softplus", "maxout", "identity", "silu", "gelu"}
_PLAIN_STEPS = {"sgd", "nesterov"}


class Remedy(NamedTuple):
    """Something that helps.

    Attributes:
      words: what it is.
      settings: ``settings(config) -> overrides``, where ``config`` is a config as nested dicts, defaults filled in;
        empty where there is no key for it in such a config but the remedy can be had otherwise; ``None`` where the
        network has no place for it, or has it already.
    """

    words: str
    settings: Callable[[Mapping[str, Any]], tuple[str, ...] | None]


class Advice(NamedTuple):
    """A remedy for one config: what it is in words, and the overrides that bring it, if there are such."""

    words: str
    settings: tuple[str, ...]


def _model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = config.get("model", {})
    return found


def _init(config: Mapping[str, Any], init: str) -> tuple[str, ...]:
    """The setting of an initializer, unless its kind is there already or it cannot be chosen."""
    return (f"model.init={init}",) if not _model(config).get("init", init).startswith(init.split("_")[0]) else ()


def _relu(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    if _model(config).get("activation", "relu") in _ONE_SIDED:
        return None
    return (
        "model.activation=relu",
        *_init(config, "he_normal"),
    )  # ReLU halves what comes through: He's init doubles it


def _leaky_relu(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    return None if _model(config).get("activation", "elu") in _NEVER_FLAT else ("model.activation=leaky_relu",)


def _he(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    return _init(config, "he_normal") or None if _model(config).get("activation") in _ONE_SIDED else None


def _glorot(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    model = _model(config)
    # Between layers of one width LeCun's and orthogonal weights are as large as Glorot's.
    if model.get("activation") in _ONE_SIDED or str(model.get("init")).startswith(("lecun", "orthogonal")):
        return None
    return _init(config, "glorot_uniform") or None


def _scale(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    return ("initialization.scale=1.0",) if config.get("initialization", {}).get("scale", 1.0) != 1.0 else None


def _batch_norm(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    return ("model.batch_norm=true",) if _model(config).get("batch_norm") is False else None


def _residual(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    return () if _model(config).get("architecture") in ("mlp", "cnn") else None


def _gated_cell(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    return ("model.cell=lstm",) if _model(config).get("cell") == "vanilla" else None


def _fewer_steps(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    return () if "cell" in _model(config) else None


def _standardize(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    if config.get("preprocessing") or _model(config).get("architecture") == "transformer":
        return None
    return ('preprocessing=["standardize"]',)


def _wrapper(name: str, **options: Any) -> Callable[[Mapping[str, Any]], tuple[str, ...] | None]:
    def settings(config: Mapping[str, Any]) -> tuple[str, ...] | None:
        present = list(config.get("wrappers", ()))
        if any(wrapper["name"] == name for wrapper in present):
            return None
        # Innermost first: what looks at gradients stands next to the optimizer that takes them.
        return (f"wrappers=[{','.join(map(_inline, [{'name': name, **options}, *present]))}]",)

    return settings


def _inline(table: Mapping[str, Any]) -> str:
    """TOML's inline table; strings, numbers and lists of them are written in it as in JSON."""
    return "{" + ",".join(f"{k}={json.dumps(v)}" for k, v in table.items() if v is not None) + "}"


def _rate(factor: float) -> Callable[[Mapping[str, Any]], tuple[str, ...] | None]:
    def settings(config: Mapping[str, Any]) -> tuple[str, ...] | None:
        rate = config.get("optimizer", {}).get("learning_rate")
        return None if rate is None else (f"optimizer.learning_rate={float(f'{rate * factor:.3g}')!r}",)

    return settings


def _warmup(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    schedule = config.get("schedule") or {}
    if "warmup" in schedule or "warmup" in config.get("optimizer", {}) or "learning_rate" not in config["optimizer"]:
        return None
    return ('schedule={name="warmup_cosine",warmup=50}',)


def _adam(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    return ('optimizer={name="adam",learning_rate=0.001}',) if _plain(config) else None


def _plain(config: Mapping[str, Any]) -> bool:
    return config.get("optimizer", {}).get("name") in _PLAIN_STEPS


REMEDIES: dict[str, Remedy] = {
    "relu": Remedy("an activation whose slope is 1 where it is on, and He's initial weights", _relu),
    "leaky_relu": Remedy("an activation that is nowhere flat", _leaky_relu),
    "he_init": Remedy("initial weights √(2/fan-in), which make up for ReLU's half (He et al. 2015)", _he),
    "glorot_init": Remedy("initial weights √(2/(fan-in + fan-out)) (Glorot & Bengio 2010)", _glorot),
    "scale": Remedy("initial weights as they are drawn, not scaled", _scale),
    "batch_norm": Remedy("batch normalisation before each activation", _batch_norm),
    "residual": Remedy("residual blocks: nn.residual, or the architecture resnet for images", _residual),
    "gated_cell": Remedy("a gated cell, through which a gradient can pass unchanged", _gated_cell),
    "fewer_steps": Remedy("fewer time steps", _fewer_steps),
    "standardize": Remedy("standardised inputs", _standardize),
    "clip": Remedy("gradients clipped to a norm", _wrapper("clip_by_global_norm", threshold=1.0)),
    "skip_nonfinite": Remedy("steps left out where the gradient is not finite", _wrapper("skip_nonfinite")),
    "lower_rate": Remedy("a lower learning rate", _rate(0.1)),
    "higher_rate": Remedy("a higher learning rate", _rate(10.0)),
    "warmup": Remedy("a learning rate that is warmed up", _warmup),
    "adam": Remedy("an optimizer whose steps do not shrink with the gradient", _adam),
}
"""Remedies by the names that findings have for them."""


def advise(remedies: Iterable[str], config: Mapping[str, Any]) -> list[Advice]:
    """Those of the remedies that a config's network has a place for and not already.

    Args:
      remedies: names in `REMEDIES`, such as a finding has.
      config: the config as nested dicts with defaults filled in: pydantic's ``config.model_dump(mode="json")``.

    Example:
      >>> from functional_dl.diagnostics.remedies import advise
      >>> config = {"model": {"architecture": "mlp", "activation": "sigmoid", "init": "lecun_normal"}}
      >>> advise(["relu", "batch_norm"], config)[0].settings
      ('model.activation=relu', 'model.init=he_normal')
    """
    found = ((REMEDIES[name].words, REMEDIES[name].settings(config)) for name in remedies)
    return [Advice(words, settings) for words, settings in found if settings is not None]
