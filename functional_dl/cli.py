"""The command line: ``functional-dl train``, ``functional-dl check`` and ``functional-dl ledger``."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from functional_dl import config as configs
from functional_dl.autodiff.budget import BudgetError
from functional_dl.autodiff.ledger import ledger
from functional_dl.data import DataError, Sampler
from functional_dl.diagnostics.memory_report import picture, tables
from functional_dl.training.experiment import Experiment, build
from functional_dl.training.gradient_check import compare
from functional_dl.training.loop import Outcome, resume_point, train
from functional_dl.training.pictures import learning_curve
from functional_dl.training.run_folder import RunFolder
from functional_dl.training.snapshots import SnapshotError, write_atomically
from functional_dl.training.step import Training
from functional_dl.trees import count

__all__ = ["main"]

# In float32 two orders of summation differ by a few rounding errors; more than this is a fault.
GRADIENT_TOLERANCE = 1e-4


@click.group()
def cli() -> None:
    """Train networks on gradients made by hand-written rules, check those gradients, and see what they keep."""


def _console() -> Console:
    return Console(highlight=False)


def _describe(console: Console, config: configs.Config, experiment: Experiment, params: Any) -> None:
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


def _first_batch(experiment: Experiment) -> tuple[Any, ...]:
    sampler = experiment.sampler
    own = Sampler(sampler.size, sampler.batch, sampler.seed)  # the experiment's is left at its beginning
    return experiment.batch(next(own))


def _gradient(
    console: Console, config: configs.Config, experiment: Experiment, training: Training, table: bool
) -> bool:
    """Compare our gradient with JAX's on the first batch; print the difference; whether it is small."""
    params = experiment.optimizer.eval_params(training.optimizer)
    differences = compare(experiment.loss(training), params, _first_batch(experiment), config.memory.plan)
    worst = max(differences, key=lambda name: differences[name])
    if table:
        rows = Table("parameter", "relative difference", title="gradient of this loss, ours against jax.grad")
        for name, difference in differences.items():
            rows.add_row(name, f"{difference:.1e}")
        console.print(rows)
    console.print(f"gradient against jax.grad: largest relative difference {differences[worst]:.1e} ({worst})")
    return differences[worst] <= GRADIENT_TOLERANCE


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Turn SIGINT and SIGTERM into an entry of a list; a second SIGINT ends at once, as usual."""
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@cli.command("check")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
def check_command(config: Path, overrides: tuple[str, ...]) -> None:
    """Compare the gradient of CONFIG's loss with jax.grad's, parameter by parameter.

    OVERRIDES are key=value, such as model.width=64.
    """
    console, resolved = _console(), configs.load(config, overrides)
    experiment = build(resolved)
    training = experiment.start(resolved.seed)
    _describe(console, resolved, experiment, training.optimizer.params)
    if not _gradient(console, resolved, experiment, training, table=True):
        sys.exit(1)


@cli.command("ledger")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1)
@click.option("--json", "listing", type=click.Path(path_type=Path, dir_okay=False), help="Write all of it as JSON.")
@click.option(
    "--picture", "image", type=click.Path(path_type=Path, dir_okay=False), help="Draw memory over the schedule, a PNG."
)
def ledger_command(config: Path, overrides: tuple[str, ...], listing: Path | None, image: Path | None) -> None:
    """Show what the backward of CONFIG's loss keeps and repeats, by source line.

    OVERRIDES are key=value, such as memory.plan=least or memory.plan=100000000 (bytes).
    """
    console, resolved = _console(), configs.load(config, overrides)
    if not console.is_terminal:
        console.width = max(console.width, 130)  # a file has no edge
    for file in (listing, image):
        if file is not None and not file.parent.is_dir():
            raise FileNotFoundError(f"{file}: no such folder {file.parent}")
    if image is not None and image.suffix.lower() != ".png":
        raise configs.ConfigError(f"--picture {image}: due is the name of a PNG, {image.with_suffix('.png')}")
    experiment = build(resolved)
    training = experiment.start(resolved.seed)
    params = training.optimizer.params
    _describe(console, resolved, experiment, params)
    loss, batch = experiment.loss(training), _first_batch(experiment)
    found = ledger(loss, params, *batch, has_aux=True, memory=resolved.memory.plan)
    for table in tables(found):
        console.print()
        console.print(table)
    if listing is not None:
        write_atomically(listing, found.to_json().encode())
        console.print(f"ledger: {listing}", soft_wrap=True)
    if image is not None:
        title = f"{resolved.name}: {resolved.named('model')}, batch {resolved.training.batch}, memory = "
        with tempfile.TemporaryDirectory() as folder:
            drawn = Path(folder) / "picture.png"
            if picture(found, drawn, title + repr(resolved.memory.plan)):
                write_atomically(image, drawn.read_bytes())
                console.print(f"picture: {image}", soft_wrap=True)
            else:
                console.print("no picture: matplotlib is missing; pip install 'functional-dl\\[plots]' brings it")


@cli.command("train")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.argument("overrides", nargs=-1)
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with this run where it was.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where run folders go.")
def train_command(config: Path | None, overrides: tuple[str, ...], resume: Path | None, runs: Path) -> None:
    """Train CONFIG and write a run folder.  OVERRIDES are key=value, such as optimizer.learning_rate=0.01.

    With --resume RUN no CONFIG is needed: the run's own is used, with overrides.  Ctrl-C saves first.
    """
    console = _console()
    if resume is not None:
        if config is not None and "=" in str(config):
            overrides, config = (str(config), *overrides), None
        if config is not None:
            run, _ = RunFolder.open(resume)
            resolved = configs.load(config, overrides)
        else:
            run, resolved = RunFolder.open(resume, overrides)
        experiment = build(resolved)
        state = resume_point(run, experiment, resolved)
    elif config is None:
        raise click.UsageError("train needs a CONFIG, or --resume RUN.")
    else:
        resolved = configs.load(config, overrides)
        experiment = build(resolved)
        state, run = experiment.start(resolved.seed), None
    _describe(console, resolved, experiment, state.optimizer.params)
    if not _gradient(console, resolved, experiment, state, table=False):
        console.print("[bold red]That is more than rounding explains: not training on it.[/]")
        sys.exit(1)
    if run is None:
        run = RunFolder.create(runs, resolved)
    else:
        run.write_config(resolved)
        console.print(f"resuming {run.path} at step {int(state.steps):,}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
               TimeRemainingColumn())  # fmt: skip
    with _stop_requests() as received, Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=experiment.steps, completed=int(state.steps), note="")

        def show(step: int, loss: float, pace: float) -> None:
            bar.update(task, completed=step, note=f"loss {loss:.4f}, {pace:,.0f} examples/s")

        outcome = train(experiment, resolved, run, state, show, lambda: bool(received))
    _report(console, experiment, run, resolved, outcome)
    if not outcome.finished:
        console.print(f"stopped and saved; go on with: functional-dl train --resume {run.path}")
        sys.exit(130)


def _report(console: Console, experiment: Experiment, run: RunFolder, config: configs.Config, outcome: Outcome) -> None:
    """The closing table and the learning curve."""
    entropy = experiment.data.facts.get("unigram_entropy")
    if outcome.evaluations:
        last = outcome.evaluations[-1]
        table = Table("", "train", "test", title=f"{config.name} after step {last['step']:,}")
        for name in last["test"]:
            form = "{:.2%}" if name == "accuracy" else "{:.4f}"
            table.add_row(name, form.format(last["train"][name]), form.format(last["test"][name]))
        if entropy is not None:
            table.add_row("unigram entropy", f"{entropy:.4f}", "")
        if outcome.seconds_per_step is not None:
            table.add_row("time per step", f"{1e3 * outcome.seconds_per_step:.2f} ms", "")
        console.print(table)
    reference = None if entropy is None else ("unigram entropy", entropy)
    drawn = learning_curve(run.read(), f"{config.name}: {config.named('model')}", run.picture, reference)
    if not drawn and outcome.evaluations:
        console.print("no learning curve: matplotlib is missing; pip install 'functional-dl\\[plots]' brings it")
    console.print(f"run folder: {run.path}")


def main() -> None:
    """Run the command line; bad input ends with one line and exit code 2."""
    try:
        cli(standalone_mode=True)
    except (configs.ConfigError, DataError, SnapshotError, BudgetError, FileNotFoundError) as error:
        click.echo(f"functional-dl: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
