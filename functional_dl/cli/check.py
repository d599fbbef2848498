"""``functional-dl check``: our gradient of a config's loss against jax.grad's."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from functional_dl.cli.opening import describe, first_batch, open_console
from functional_dl.config import Config, load
from functional_dl.training.experiment import Experiment, build
from functional_dl.training.gradient_check import compare
from functional_dl.training.step import Training

__all__ = ["check_command", "gradient_agrees"]

# In float32 two orders of summation differ by a few rounding errors; more than this is a fault.
GRADIENT_TOLERANCE = 1e-4


def gradient_agrees(console: Console, config: Config, experiment: Experiment, training: Training, table: bool) -> bool:
    """Compare our gradient with JAX's on the first batch; print the difference; whether it is small."""
    params = experiment.optimizer.eval_params(training.optimizer)
    differences = compare(experiment.loss(training), params, first_batch(experiment), config.memory.plan)
    worst = max(differences, key=lambda name: differences[name])
    if table:
        rows = Table("parameter", "relative difference", title="gradient of this loss, ours against jax.grad")
        for name, difference in differences.items():
            rows.add_row(name, f"{difference:.1e}")
        console.print(rows)
    console.print(f"gradient against jax.grad: largest relative difference {differences[worst]:.1e} ({worst})")
    return differences[worst] <= GRADIENT_TOLERANCE


@click.command("check")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
def check_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Compare the gradient of CONFIG's loss with jax.grad's, parameter by parameter.

    OVERRIDES are key=value, such as model.width=64.
    """
    console, resolved = open_console(), load(config, overrides)
    experiment = build(resolved)
    training = experiment.start(resolved.seed)
    describe(console, resolved, experiment, training.optimizer.params)
    if not gradient_agrees(console, resolved, experiment, training, table=True):
        sys.exit(1)
