"""What a config's training minimises, and what it measures besides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from functional_dl.config import Config, ConfigError
from functional_dl.data import Dataset
from functional_dl.nn import Network, losses
from functional_dl.traced import is_zero

__all__ = ["Objective", "objective"]

# What a loss takes as targets: class numbers, a number for each output, or −1 and 1 for each output.
_TAKES = {"cross_entropy": "labels", "multiclass_hinge": "labels", "hinge": "signs"}


class Objective(NamedTuple):
    """A loss, for training and for evaluation.

    Attributes:
      train: ``train(params, network_state, key, inputs, targets) -> (scalar, (new network_state, metrics))``, with
        penalties.
      evaluate: ``evaluate(params, network_state, inputs, targets) -> (scalar, metrics)``, without.
    """

    train: Callable[..., Any]
    evaluate: Callable[..., Any]


def objective(config: Config, data: Dataset, network: Network) -> tuple[Dataset, Objective]:
    """The objective, and the data with targets as it takes them.

    Targets of a regression are standardised by the training part's mean and deviation: the loss is in these units, and
    the metric ``absolute_error`` in the data's own.

    Raises:
      ConfigError: the loss does not go with the data.
    """
    facts = data.facts
    kind = "reconstruction" if config.named("model") == "autoencoder" else facts["kind"]
    labelled = kind in ("classification", "language")
    name = config.named("loss") or ("cross_entropy" if labelled else "squared_error")
    options: dict[str, Any] = {} if config.loss is None else config.loss.options("name")
    takes = _TAKES.get(name, "numbers")
    if not labelled and takes != "numbers":
        raise ConfigError(f"[loss] name {name!r} does not go with {kind}: it takes classes, the targets are numbers.")
    scale = np.ones(1, np.float32)
    if kind == "reconstruction":
        data = data._replace(train=(data.train[0], data.train[0]), test=(data.test[0], data.test[0]))
    elif kind == "regression":
        mean, scale = data.train[1].mean(0), data.train[1].std(0)
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        parts = [(x, ((y - mean) / scale).astype(np.float32)) for x, y in (data.train, data.test)]
        data = data._replace(train=parts[0], test=parts[1])
    classes = int(facts.get("classes", facts.get("vocabulary", 0)))

    def as_taken(targets: Any) -> Any:
        if not labelled or takes == "labels":
            return targets
        shares = jax.nn.one_hot(targets, classes, dtype=jnp.float32)
        return 2 * shares - 1 if takes == "signs" else shares

    def measured(outputs: Any, targets: Any) -> tuple[Any, dict[str, Any]]:
        value = losses.LOSSES[name](outputs, as_taken(targets), **options)
        if labelled:
            return value, {"accuracy": losses.accuracy(outputs, targets)}
        if kind == "regression":
            apart = jnp.abs(outputs.astype(jnp.float32) - targets) * jnp.asarray(scale)[None]
            return value, {"absolute_error": jnp.mean(apart)}
        return value, {}

    def cast(params: Any, inputs: Any) -> Any:
        """Inputs in the parameters' dtype, so that bfloat16 networks run in bfloat16."""
        leaves = jax.tree.leaves(params)
        floating = leaves and jnp.issubdtype(jnp.result_type(inputs), jnp.floating)
        return jnp.asarray(inputs).astype(leaves[0].dtype) if floating else inputs

    def train(params: Any, network_state: Any, key: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
        outputs, after = network.train(params, cast(params, inputs), network_state, key)
        value, metrics = measured(outputs, targets)
        if not is_zero(config.penalty.l1):
            value = value + config.penalty.l1 * losses.l1_penalty(params)
        if not is_zero(config.penalty.l2):
            value = value + config.penalty.l2 * losses.l2_penalty(params)
        return value, (after, metrics)

    def evaluate(params: Any, network_state: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
        return measured(network.apply(params, cast(params, inputs), network_state), targets)

    return data, Objective(train, evaluate)
