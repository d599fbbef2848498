"""What a config says, section by section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import Field, PositiveInt

from functional_dl import data, nn, optim
from functional_dl.config.sections import NonNegative, Section, Seed, sections, tagged

__all__ = ["TAGS", "Config", "Policy"]

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

if TYPE_CHECKING:
    Data: TypeAlias = Section
    Preprocessing: TypeAlias = Section
    Model: TypeAlias = Section
    Loss: TypeAlias = Section
    Optimizer: TypeAlias = Section
    Schedule: TypeAlias = Section
    Wrapper: TypeAlias = Section
else:
    Data, Preprocessing, Model, Loss, Optimizer, Schedule, Wrapper = (tagged(made, tag) for tag, made in TAGS.values())


class Penalty(Section):
    """What is added to the loss: λ Σ |w| and λ Σ w² over kernels."""

    l1: NonNegative = 0.0
    l2: NonNegative = 0.0


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


class Config(Section):
    """A whole experiment.

    Attributes:
      name: what its run folders are called.
      seed: of the initial parameters, the batches' order and whatever training draws.
      data, preprocessing: what is trained on, and what is fitted to its training part and applied to all of it.
      model, loss, penalty: the network; the loss, by default what goes with the data; what is added to it.
      optimizer, schedule, wrappers: the optimizer, its learning rate's schedule, and what it is wrapped in, innermost
        first.
      training, precision, memory: how long; in what; within what.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    seed: Seed = 0
    data: Data
    preprocessing: tuple[Preprocessing, ...] = ()
    model: Model
    loss: Loss | None = None
    penalty: Penalty = Penalty()
    optimizer: Optimizer
    schedule: Schedule | None = None
    wrappers: tuple[Wrapper, ...] = ()
    training: Training
    precision: Precision = Precision()
    memory: Memory = Memory()

    def named(self, section: str) -> Any:
        """The name of what a section names, such as ``named("model")``: ``"mlp"``."""
        return getattr(getattr(self, section), TAGS[section][0], None)
