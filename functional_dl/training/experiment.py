"""From a config to what it names: data, network, loss, optimizer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from functional_dl import nn, optim
from functional_dl.config import Config, ConfigError
from functional_dl.data import DATASETS, PREPROCESSORS, DataError, Dataset, Sampler, chain
from functional_dl.traced import is_traced
from functional_dl.training.objective import Objective, objective
from functional_dl.training.step import Training, begin

__all__ = ["Experiment", "assemble", "build", "load_data", "preprocessed", "read_data"]


class Experiment(NamedTuple):
    """All that a training needs.

    Attributes:
      data: the data set, preprocessed.
      network: the network.
      objective: what is minimised and measured.
      optimizer: the optimizer with its schedule, wrapped.
      sampler: the batches, at their beginning; if the seed is traced, it has sizes but cannot draw any.
      steps: how many batches the whole training sees.
      dtype: of the parameters.
      notes: what preprocessing had to say.
      scale: by what initial kernels are multiplied.
    """

    data: Dataset
    network: nn.Network
    objective: Objective
    optimizer: optim.Optimizer
    sampler: Sampler
    steps: int
    dtype: Any
    notes: tuple[str, ...] = ()
    scale: Any = 1.0

    def start(self, seed: Any) -> Training:
        """The first state, everything in it drawn from ``seed``."""
        # One program: run one by one, each operation on each shape would be compiled for itself.
        return jax.jit(partial(begin, self.network, self.optimizer, seed, self.dtype, self.scale))()

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of the training examples ``indices``."""
        inputs, targets = self.data.train
        return inputs[indices], targets[indices]

    def loss(self, training: Training) -> Callable[..., Any]:
        """``loss(params, inputs, targets) -> (scalar, metrics)`` as the next step of ``training`` differentiates it."""

        def loss(params: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
            value, (_, metrics) = self.objective.train(params, training.network, training.key, inputs, targets)
            return value, metrics

        return loss


def build(config: Config) -> Experiment:
    """Build what ``config`` names.

    Raises:
      ConfigError: parts that do not go together, or a batch larger than the data.
      DataError: data that are not there or cannot be used.
    """
    return assemble(config, *load_data(config))


def assemble(config: Config, data: Dataset, notes: tuple[str, ...] = ()) -> Experiment:
    """Build what ``config`` names around data that are loaded: no file is read.

    Numbers of the config may be traced (`Config.with_values`), and so this may be called in a function that is compiled
    or batched.  Numbers that decide what is built cannot: a traced width or batch size raises JAX's own error.

    Raises:
      ConfigError: parts that do not go together, a batch larger than the data, or a traced number in the sections that
        these were loaded by.
    """
    for section in (config.data, *config.preprocessing):
        if traced := [name for name, value in section if is_traced(value)]:
            raise ConfigError(f"[data] or [preprocessing]: {traced[0]} is traced; data are loaded before that")
    network = _network(config, data)
    size = len(data.train[0])
    try:
        sampler = Sampler(size, config.training.batch, config.seed)
    except ValueError as error:
        raise ConfigError(f"[training]: {error}") from error
    steps = config.training.epochs * sampler.batches_per_epoch
    dtype = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}[config.precision.parameters]
    data, measured = objective(config, data, network)
    optimizer, scale = _optimizer(config, steps), config.initialization.scale
    return Experiment(data, network, measured, optimizer, sampler, steps, dtype, notes, scale)


def load_data(config: Config) -> tuple[Dataset, tuple[str, ...]]:
    """The data that ``config`` names, preprocessed, and what preprocessing had to say.

    Raises:
      ConfigError: preprocessing that does not go with the data.
      DataError: data that are not there or cannot be used.
    """
    return preprocessed(config, read_data(config))


def read_data(config: Config) -> Dataset:
    """The data that ``config`` names, as they are.

    Raises:
      DataError: they are not there or cannot be used.
    """
    return DATASETS[config.named("data")](**config.data.options("name"))


def preprocessed(config: Config, data: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """Data with the config's preprocessing fitted to their training part, and what it had to say.

    Raises:
      ConfigError: preprocessing that does not go with the data.
      DataError: data that cannot be used.
    """
    if not config.preprocessing:
        return data, ()
    if data.facts["kind"] == "language":
        raise ConfigError("[preprocessing]: characters are no numbers to preprocess; leave it out for language")
    steps = chain(*(PREPROCESSORS[s.name](**s.options("name")) for s in config.preprocessing))  # type: ignore[attr-defined]
    try:
        fitted = steps.fit(data.train[0])
    except DataError as error:
        raise DataError(f"[preprocessing]: {error}") from error
    train, test = ((fitted.apply(x).astype(np.float32), y) for x, y in (data.train, data.test))
    facts = {**data.facts, "shape": train[0].shape[1:]}
    return Dataset(train, test, facts), fitted.notes


# What each architecture reads: how many axes one example has.
_READS = {
    "mlp": (range(1, 9), "examples of any shape"),
    "autoencoder": (range(1, 9), "examples of any shape"),
    "cnn": (range(2, 4), "images (H, W) or (H, W, channels)"),
    "resnet": (range(2, 4), "images (H, W) or (H, W, channels)"),
    "rnn": (range(2, 3), "series (time, features)"),
}


def _network(config: Config, data: Dataset) -> nn.Network:
    kind, facts = config.named("model"), data.facts
    shape = tuple(facts.get("shape", ()))
    text = facts["kind"] == "language"
    if (kind == "transformer") != text or (not text and len(shape) not in _READS[kind][0]):
        reads = "characters" if kind == "transformer" else _READS[kind][1]
        came = "characters" if text else f"examples of shape {shape}"
        raise ConfigError(
            f"[model] architecture {kind!r} does not go with [data] name {config.named('data')!r}: it reads {reads}, "
            f"the data are {came}."
        )
    outputs = {} if kind in ("transformer", "autoencoder") else {"outputs": facts.get("classes", facts.get("targets"))}
    own: dict[str, Any] = {
        "transformer": {name: facts[name] for name in ("vocabulary", "context") if text},
        "cnn": {"shape": shape},
        "resnet": {"shape": shape},
        "rnn": {"inputs": shape[-1] if shape else 0},
    }.get(kind, {"inputs": int(np.prod(shape))})
    try:
        return nn.ARCHITECTURES[kind](**own, **outputs, **config.model.options("architecture"))
    except ValueError as error:
        raise ConfigError(f"[model]: {error}") from error


def _optimizer(config: Config, steps: int) -> optim.Optimizer:
    try:
        schedule = None
        if config.schedule is not None:
            options = config.schedule.options("name")
            if options.get("steps", 0) is None:
                options["steps"] = steps
            schedule = optim.schedules.SCHEDULES[config.named("schedule")](**options)
        make = optim.OPTIMIZERS[config.named("optimizer")]
        optimizer = make(**config.optimizer.options("name"), schedule=schedule)
        for wrapper in config.wrappers:
            optimizer = optim.WRAPPERS[wrapper.name](optimizer, **wrapper.options("name"))  # type: ignore[attr-defined]
    except jax.errors.JAXTypeError:  # a traced number where a known one is due
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"[optimizer], [schedule] or [wrappers]: {error}") from error
    return optimizer
