"""``functional-dl tune``: a search of a config's keys, interrupted and resumed as one likes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from functional_dl.autodiff.budget import BudgetError
from functional_dl.cli.devices import divide_cores, machine
from functional_dl.cli.opening import open_console
from functional_dl.cli.rungs import RungTable
from functional_dl.cli.stopping import STOPPED, stop_requests
from functional_dl.config import Config, ConfigError, load
from functional_dl.config.schema import Tuning
from functional_dl.data import DataError
from functional_dl.strategies.space import Space, write_space
from functional_dl.training.run_folder import RunFolder
from functional_dl.training.snapshots import SnapshotError
from functional_dl.tuning.configured import configured, space_of, validated
from functional_dl.tuning.pictures import hyperparameters, parallel_coordinates
from functional_dl.tuning.problem import Problem
from functional_dl.tuning.results import (
    by_member,
    short_names,
    shown,
    shown_value,
    spread,
    write_ranking,
    write_result,
)
from functional_dl.tuning.rung_picture import rungs
from functional_dl.tuning.search import Found, run_search
from functional_dl.tuning.trials import Trials

__all__ = ["tune_command"]

# Of the ranking, so many are printed; all are in ranking.csv.
SHOWN = 10


@click.command("tune")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.argument("overrides", nargs=-1)
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with this search where it was.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), help="Where run folders go.")
def tune_command(config: Path | None, overrides: tuple[str, ...], resume: Path | None, runs: Path) -> None:
    """Search hyperparameters of CONFIG by its [tuning] section, and write a run folder.

    Without one, 27 learning rates are halved.  OVERRIDES are key=value, such as tuning.finalists=1.  With --resume RUN
    no CONFIG is needed.  Ctrl-C finishes the round under way and saves first.
    """
    divide_cores()
    console, run = open_console(width=150), None
    if resume is not None:
        run, resolved = _search_in(resume, config, overrides)
    elif config is None:
        raise click.UsageError("tune needs a CONFIG, or --resume RUN.")
    else:
        resolved = _spelled_out(load(config, overrides))
    tuning = resolved.tuning
    assert tuning is not None
    space = space_of(resolved)
    validated(resolved, space)
    problem = configured(resolved, tuning.validation, tuning.score, resolved.seed)
    strategy, budget = _planned(tuning, problem, space)
    _describe(console, resolved, problem, space, strategy, budget)
    is_new = run is None
    if run is None:
        run = RunFolder.create(runs, resolved, "tune")
    trials = Trials(run.path)
    going_on = not is_new and trials.snapshot is not None and trials.snapshot.is_file()
    console.print(f"{'resuming' if going_on else 'run folder:'} {run.path}", soft_wrap=True)
    finals = (tuning.finalists, tuning.seeds)
    table = RungTable(console, trials, space, problem.score_name, problem.steps, budget, finals)
    with stop_requests(table.stopping, table.leave) as received, table:
        try:
            found = run_search(
                problem, space, strategy, resolved.seed, *finals, trials, going_on,
                report=table.report, stopping=lambda: bool(received),
            )  # fmt: skip
        except (ConfigError, DataError, SnapshotError, BudgetError):
            raise
        except ValueError as error:
            raise ConfigError(f"{run.path}: {error}") from error
    write_ranking(run, found, space, problem.score_name[0])
    _print_ranking(console, found, space, problem.score_name[0])
    if not found.finished:
        console.print(f"stopped and saved; go on with: functional-dl tune --resume {run.path}", soft_wrap=True)
        sys.exit(STOPPED)
    write_result(run, resolved, found, problem.score_name[0])
    _print_finalists(console, found, space, problem.score_name[0])
    by = tuning.strategy.name.replace("_", " ")  # type: ignore[attr-defined]  # every strategy's section has one
    _draw(console, run, found, space, problem, f"{resolved.name}: {len(found.standing)} members, {by}")
    console.print(f"run folder: {run.path}", soft_wrap=True)
    console.print(f"train the best on all training data: functional-dl train {run.path / 'best.toml'}", soft_wrap=True)


def _spelled_out(config: Config) -> Config:
    """The config with all that a search goes by, also where it says nothing of it."""
    tuning = config.tuning or Tuning()
    return config.model_copy(update={"tuning": tuning.model_copy(update={"space": space_of(config)})})


def _search_in(path: Path, config: Path | None, overrides: tuple[str, ...]) -> tuple[RunFolder, Config]:
    """A search's folder and its config.

    Raises:
      ConfigError: it is none; or it is to go on with another config, which would make results that do not go together.
    """
    run, own = RunFolder.open(path)
    if own.tuning is None or not Trials(path).is_there:
        raise ConfigError(f"{path}: not a folder of functional-dl tune (no trials.jsonl in it)")
    if config is not None and "=" in str(config):
        overrides, config = (str(config), *overrides), None
    wanted = _spelled_out(load(config or path / "config.toml", overrides))
    if wanted != own:
        before, now = (x.model_dump(mode="json") for x in (own, wanted))
        other = next(name for name in now if before[name] != now[name])
        raise ConfigError(f"{path}: its search is of another config, whose {other} differs; due is a new search")
    return run, own


def _planned(tuning: Tuning, problem: Problem, space: Space) -> tuple[Any, int]:
    """The strategy, and its member-steps.

    Raises:
      ConfigError: options that a strategy cannot have, or not for so short a training.
    """
    try:
        strategy = tuning.named_strategy()
        return strategy, strategy.budget(problem.steps, space)
    except ValueError as error:
        raise ConfigError(f"[tuning.strategy]: {error}") from error


def _describe(console: Console, config: Config, problem: Problem, space: Space, strategy: Any, budget: int) -> None:
    """Say what is searched, how, and on which machine."""
    tuning, parts = config.tuning, problem.prepare({}).parts
    assert tuning is not None
    named = ", ".join(f"{key} = {value}" for key, value in tuning.strategy if key != "name" and value is not None)
    console.print(
        f"[bold]{config.name}[/]: {config.named('model')}, {len(parts.train[0]):,} examples to train on, "
        f"{len(parts.validation[0]):,} to rank by; {problem.steps:,} steps in full",
        soft_wrap=True,
    )
    for key, entry in write_space(space).items():
        ((kind, said),) = entry.items()
        ends = ", ".join(map(shown_value, said)) if kind == "choice" else " … ".join(map(shown_value, said))
        console.print(f"  {key}: {kind.replace('_', ' ')} {ends}", soft_wrap=True, markup=False)
    name = tuning.strategy.name  # type: ignore[attr-defined]  # every strategy's section has one
    console.print(
        f"{name.replace('_', ' ')}{f' ({named})' if named else ''}, {budget:,} member-steps at most; "
        f"then {tuning.finalists} finalists with {tuning.seeds} seeds",
        soft_wrap=True,
    )
    console.print(f"running on {machine()}")


def _print_ranking(console: Console, found: Found, space: Space, metric: str) -> None:
    """The top of the ranking."""
    names, every = short_names(space), by_member(found)
    losses = [] if metric == "loss" else ["loss"]
    title = f"{min(SHOWN, len(every))} of {len(every)} members, by {metric} on the validation part"
    table = Table("rank", "member", "step", metric, *losses, *names.values(), title=title)
    for rank, (*_, line) in enumerate(list(every.values())[:SHOWN], 1):
        measured = [shown(name, line.metrics[name]) for name in (metric, *losses)]
        values = (shown_value(line.values[key]) for key in names)
        table.add_row(str(rank), str(line.member), f"{line.steps:,}", *measured, *values)
    console.print(_right(table))


def _print_finalists(console: Console, found: Found, space: Space, metric: str) -> None:
    """The finalists over their seeds, and what the best came to on the test part."""
    names, seeds = short_names(space), len(found.finalists[0].seeds)
    losses = [] if metric == "loss" else ["loss"]
    mean = f"mean ± sd of {seeds} trainings" if seeds > 1 else "one training each"
    table = Table("", "member", metric, *losses, *names.values(), title=f"finalists on the validation part, {mean}")
    for rank, one in enumerate(found.finalists, 1):
        measured = [shown(name, *spread([m[name] for m in one.metrics])) for name in (metric, *losses)]
        table.add_row(str(rank), str(one.member), *measured, *(shown_value(one.values[key]) for key in names))
    console.print(_right(table))
    if found.test:
        tested = ", ".join(f"{name} {_summary(name, [m[name] for m in found.test])}" for name in (metric, *losses))
        console.print(f"[bold]the best on the test part, once: {tested}[/]", soft_wrap=True)
    steps, more = found.member_steps
    console.print(f"{steps:,} member-steps of the search, {more:,} of the finalists")


def _summary(name: str, values: Sequence[float]) -> str:
    return shown(name, *spread(values))


def _right(table: Table) -> Table:
    for column in table.columns:
        column.justify = "right"
    return table


def _draw(console: Console, run: RunFolder, found: Found, space: Space, problem: Problem, title: str) -> None:
    """The pictures, where matplotlib is."""
    drawn = [
        draw(found, space, problem.score_name, title, run.path / file)
        for draw, file in (
            (parallel_coordinates, "parallel_coordinates.png"),
            (rungs, "rungs.png"),
            (hyperparameters, "hyperparameters.png"),
        )
    ]
    if not all(drawn):
        console.print("no pictures: matplotlib is missing; pip install 'functional-dl\\[plots]' brings it")
