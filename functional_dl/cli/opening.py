"""What every command begins with: a console, the experiment in two lines, its first batch."""

from __future__ import annotations

import os
from typing import Any

import jax
from rich.console import Console

from functional_dl.config import Config
from functional_dl.data import Sampler
from functional_dl.training.experiment import Experiment
from functional_dl.trees import count

__all__ = ["describe", "first_batch", "open_console"]


def open_console(width: int | None = None) -> Console:
    """A console for plain words and tables; ``width`` is the least that it has where it is no terminal."""
    console = Console(highlight=False)
    if width is not None and not console.is_terminal:
        console.width = max(console.width, width)  # a file has no edge
    return console


def describe(console: Console, config: Config, experiment: Experiment, params: Any) -> None:
    """Say what is trained on what, and on which machine."""
    device = jax.devices()[0]
    console.print(
        f"[bold]{config.name}[/]: {config.named('model')}, {count(params):,} parameters, "
        f"{len(experiment.data.train[0]):,} training and {len(experiment.data.test[0]):,} test examples, "
        f"{experiment.steps:,} steps"
    )
    for note in experiment.notes:
        console.print(f"note: {note}", soft_wrap=True)
    machine = f"{jax.default_backend()} ({device.device_kind}, {os.cpu_count()} cores)"
    console.print(f"running on {machine}, JAX {jax.__version__}")


def first_batch(experiment: Experiment) -> tuple[Any, ...]:
    """The batch that training would begin with."""
    sampler = experiment.sampler
    own = Sampler(sampler.size, sampler.batch, sampler.seed)  # the experiment's is left at its beginning
    return experiment.batch(next(own))
