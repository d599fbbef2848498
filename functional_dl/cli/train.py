"""``functional-dl train``: training, interrupted and resumed as one likes."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from functional_dl.cli.check import gradient_agrees
from functional_dl.cli.opening import describe, open_console
from functional_dl.cli.stopping import STOPPED, stop_requests
from functional_dl.config import Config, load
from functional_dl.training.experiment import Experiment, build
from functional_dl.training.loop import Outcome, resume_point, train
from functional_dl.training.pictures import learning_curve
from functional_dl.training.run_folder import RunFolder

__all__ = ["train_command"]


@click.command("train")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.argument("overrides", nargs=-1)
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with this run where it was.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where run folders go.")
def train_command(config: Path | None, overrides: tuple[str, ...], resume: Path | None, runs: Path) -> None:
    """Train CONFIG and write a run folder.  OVERRIDES are key=value, such as optimizer.learning_rate=0.01.

    With --resume RUN no CONFIG is needed: the run's own is used, with overrides.  Ctrl-C saves first.
    """
    console = open_console()
    if resume is not None:
        if config is not None and "=" in str(config):
            overrides, config = (str(config), *overrides), None
        if config is not None:
            run, _ = RunFolder.open(resume)
            resolved = load(config, overrides)
        else:
            run, resolved = RunFolder.open(resume, overrides)
        experiment = build(resolved)
        state = resume_point(run, experiment, resolved)
    elif config is None:
        raise click.UsageError("train needs a CONFIG, or --resume RUN.")
    else:
        resolved = load(config, overrides)
        experiment = build(resolved)
        state, run = experiment.start(resolved.seed), None
    describe(console, resolved, experiment, state.optimizer.params)
    if not gradient_agrees(console, resolved, experiment, state, table=False):
        console.print("[bold red]That is more than rounding explains: not training on it.[/]")
        sys.exit(1)
    if run is None:
        run = RunFolder.create(runs, resolved)
    else:
        run.write_config(resolved)
        console.print(f"resuming {run.path} at step {int(state.steps):,}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
               TimeRemainingColumn())  # fmt: skip
    with stop_requests() as received, Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=experiment.steps, completed=int(state.steps), note="")

        def show(step: int, loss: float, pace: float) -> None:
            bar.update(task, completed=step, note=f"loss {loss:.4f}, {pace:,.0f} examples/s")

        outcome = train(experiment, resolved, run, state, show, lambda: bool(received))
    _report(console, experiment, run, resolved, outcome)
    if not outcome.finished:
        console.print(f"stopped and saved; go on with: functional-dl train --resume {run.path}")
        sys.exit(STOPPED)


def _report(console: Console, experiment: Experiment, run: RunFolder, config: Config, outcome: Outcome) -> None:
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
