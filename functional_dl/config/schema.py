"""What a config says, section by section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, PlainSerializer, PositiveInt

from functional_dl import data, nn, optim
from functional_dl.config.sections import (
    ConfigError,
    NonNegative,
    Positive,
    Section,
    Seed,
    Share,
    put,
    sections,
    tagged,
)
from functional_dl.strategies.named import STRATEGIES
from functional_dl.strategies.space import read_space, write_space

__all__ = ["SEARCHES", "TAGS", "Config", "Policy", "Tuning"]

Policy = Literal["auto", "keep", "least"]

# What the program itself knows: the network's ends from the data, the batch from the sampler.
_ENDS = ("inputs", "outputs", "shape", "vocabulary", "context")

# Each section that names something: the key it is named by, and what there is.
TAGS: dict[str, tuple[str, dict[str, type[Section]]]] = {
    "data": ("name", sections(data.DATASETS, "name")),
    "preprocessing": ("name", sections(data.PREPROCESSORS, "name")),
    "model": ("architecture", sections(nn.ARCHITECTURES, "architecture", given=_ENDS)),
    "loss": ("name", sections(nn.losses.LOSSES, "name", given=("weights",))),
    "optimizer": ("name", sections(optim.OPTIMIZERS, "name", given=("schedule",))),
    "schedule": ("name", sections(optim.schedules.SCHEDULES, "name", filled=("steps",))),
    "wrappers": ("name", sections(optim.WRAPPERS, "name", given=("optimizer",))),
}

# How members of a search are trained, named within the section "tuning".
SEARCHES = sections(STRATEGIES, "name")

if TYPE_CHECKING:
    Search: TypeAlias = Section
    Data: TypeAlias = Section
    Preprocessing: TypeAlias = Section
    Model: TypeAlias = Section
    Loss: TypeAlias = Section
    Optimizer: TypeAlias = Section
    Schedule: TypeAlias = Section
    Wrapper: TypeAlias = Section
else:
    Data, Preprocessing, Model, Loss, Optimizer, Schedule, Wrapper = (tagged(made, tag) for tag, made in TAGS.values())
    Search = tagged(SEARCHES, "name")


class Penalty(Section):
    """What is added to the loss: λ Σ |w| and λ Σ w² over kernels."""

    l1: NonNegative = 0.0
    l2: NonNegative = 0.0


class Initialization(Section):
    """By what all initial kernels, the leaves of two axes or more, are multiplied.

    Biases and gains stay as they are, also where layers are stacked and theirs have two axes.
    """

    scale: Positive = 1.0


class Training(Section):
    """How long, in what portions, and how often to report."""

    epochs: PositiveInt
    batch: PositiveInt
    log_every: PositiveInt = 10


class Precision(Section):
    """In what the parameters are; bfloat16 wants `master_weights` or `stochastic_rounding` among the wrappers."""

    parameters: Literal["float32", "bfloat16"] = "float32"


class Memory(Section):
    """What is kept of the forward for the backward: a policy, or the bytes that intermediates may take."""

    plan: Policy | PositiveInt = "auto"


class Tuning(Section):
    """How the config's own keys are searched: where, by what strategy, and how the best is told from the lucky.

    Attributes:
      space: for each dotted key what it may be, such as ``{ log_uniform = [1e-4, 1e-1] }``; by default the learning
        rate, from a tenth of the config's to ten times as much.
      strategy: who is trained and how far.
      validation: the share of the training part that members are ranked by and none trains on.
      score: the metric by which; by default accuracy for a classification, otherwise the loss.
      finalists, seeds: how many of the best are trained with how many seeds.
    """

    space: Annotated[Mapping[str, Any], BeforeValidator(read_space), PlainSerializer(write_space)] | None = None
    strategy: Search = SEARCHES["halving"].model_validate({"name": "halving", "members": 27})
    validation: Share = 0.2
    score: str | None = None
    finalists: PositiveInt = 3
    seeds: PositiveInt = 3

    def named_strategy(self) -> Any:
        """The strategy itself."""
        return STRATEGIES[self.strategy.name](**self.strategy.options("name"))  # type: ignore[attr-defined]


class Config(Section):
    """A whole experiment.

    Attributes:
      name: what its run folders are called.
      seed: of the initial parameters, the batches' order and whatever training draws.
      data, preprocessing: what is trained on, and what is fitted to its training part and applied to all of it.
      model, initialization: the network, and by what its initial kernels are multiplied.
      loss, penalty: the loss, by default what goes with the data; what is added to it.
      optimizer, schedule, wrappers: the optimizer, its learning rate's schedule, and what it is wrapped in, innermost
        first.
      training, precision, memory: how long; in what; within what.
      tuning: how `functional-dl tune` searches the other keys; training itself has no use for it.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    seed: Seed = 0
    data: Data
    preprocessing: tuple[Preprocessing, ...] = ()
    model: Model
    initialization: Initialization = Initialization()
    loss: Loss | None = None
    penalty: Penalty = Penalty()
    optimizer: Optimizer
    schedule: Schedule | None = None
    wrappers: tuple[Wrapper, ...] = ()
    training: Training
    precision: Precision = Precision()
    memory: Memory = Memory()
    tuning: Tuning | None = None

    def named(self, section: str) -> Any:
        """The name of what a section names, such as ``named("model")``: ``"mlp"``."""
        return getattr(getattr(self, section), TAGS[section][0], None)

    def with_values(self, values: Mapping[str, Any]) -> Config:
        """A copy with values at dotted keys, such as ``{"optimizer.learning_rate": x}``, as they come: not validated.

        They may be tracers, so that one compiled program is the training of many configs: a validated one says what is
        built, and the values are its numbers.  Entries of lists are counted from 0: ``wrappers.0.threshold``.

        Raises:
          ConfigError: a key is not there, names a whole section or which one it is, or is in a section that is absent.
        """
        changed = self
        for key, value in values.items():
            if key in TAGS:
                raise ConfigError(f"{key}: this is a section; due is a key in it")
            changed = put(changed, key, value)
        return changed
