"""From a config to what it names: data, network, loss, optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from functional_dl import nn, optim
from functional_dl.config import Config, ConfigError
from functional_dl.data import Dataset, Sampler, digits, stdlib_text

__all__ = ["Experiment", "build"]


class Experiment(NamedTuple):
    """All that a training needs.

    Attributes:
      data: the data set.
      network: the network.
      loss: ``loss(params, inputs, targets) -> (scalar, metrics)``.
      optimizer: the optimizer with its schedule.
      sampler: the batches, at their beginning.
      steps: how many steps the whole training has.
    """

    data: Dataset
    network: nn.Network
    loss: Callable[..., Any]
    optimizer: optim.Optimizer
    sampler: Sampler
    steps: int

    def start(self, seed: int) -> optim.State:
        """The first state, its parameters drawn from ``seed``."""
        return self.optimizer.init(self.network.init(jax.random.key(seed)))

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of the training examples ``indices``."""
        inputs, targets = self.data.train
        return inputs[indices], targets[indices]


def build(config: Config) -> Experiment:
    """Build what ``config`` names.

    Raises:
      ConfigError: parts that do not go together, or a batch larger than the data.
    """
    data = _data(config)
    network = _network(config, data)
    size = len(data.train[0])
    try:
        sampler = Sampler(size, config.training.batch, config.seed)
    except ValueError as error:
        raise ConfigError(f"[training]: {error}") from error
    steps = config.training.epochs * sampler.batches_per_epoch
    return Experiment(data, network, _loss(config, network), _optimizer(config, steps), sampler, steps)


def _data(config: Config) -> Dataset:
    options = config.data.model_dump(exclude={"name"})
    if config.data.name == "stdlib":
        return stdlib_text(**options)
    data = digits(**options)
    if config.model.architecture == "autoencoder":
        return data._replace(train=(data.train[0], data.train[0]), test=(data.test[0], data.test[0]))
    return data


def _network(config: Config, data: Dataset) -> nn.Network:
    options = config.model.model_dump(exclude={"architecture"})
    kind, facts = config.model.architecture, data.facts
    if (kind == "transformer") != (config.data.name == "stdlib"):
        raise ConfigError(
            f"[model] architecture {kind!r} does not go with [data] name {config.data.name!r}: the transformer reads "
            "characters (stdlib), the others images (digits)."
        )
    if kind == "transformer":
        own = {"vocabulary": facts["vocabulary"], "context": facts["context"]}
    elif kind == "cnn":
        own = {"shape": facts["shape"], "outputs": facts["classes"]}
    elif kind == "rnn":
        own = {"inputs": facts["shape"][1], "outputs": facts["classes"]}
    elif kind == "autoencoder":
        own = {"inputs": int(np.prod(facts["shape"]))}
    else:
        own = {"inputs": int(np.prod(facts["shape"])), "outputs": facts["classes"]}
    try:
        return nn.ARCHITECTURES[kind](**own, **options)
    except ValueError as error:
        raise ConfigError(f"[model]: {error}") from error


def _loss(config: Config, network: nn.Network) -> Callable[..., Any]:
    if config.model.architecture == "autoencoder":

        def reconstruction(params: Any, inputs: Any, targets: Any) -> Any:
            return nn.losses.squared_error(network.apply(params, inputs), targets), {}

        return reconstruction

    def classification(params: Any, inputs: Any, targets: Any) -> Any:
        logits = network.apply(params, inputs)
        return nn.losses.cross_entropy(logits, targets), {"accuracy": nn.losses.accuracy(logits, targets)}

    return classification


def _optimizer(config: Config, steps: int) -> optim.Optimizer:
    options = config.optimizer.model_dump(exclude={"name", "schedule", "warmup", "clip"})
    schedule = None
    if config.optimizer.schedule == "cosine":
        schedule = optim.schedules.cosine(steps)
    elif config.optimizer.schedule == "warmup_cosine":
        schedule = optim.schedules.warmup_cosine(steps, config.optimizer.warmup)
    makers: dict[str, Callable[..., optim.Optimizer]] = {"sgd": optim.sgd, "adam": optim.adam}
    make = makers[config.optimizer.name]
    optimizer = make(**options, schedule=schedule)
    clip = config.optimizer.clip
    return optimizer if clip is None else optim.clip_by_global_norm(optimizer, clip)
