"""``functional-dl diagnose``: how the gradient of a config's loss flows, what is wrong with it, and what helps."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click
import jax
from rich.console import Console
from rich.text import Text

from functional_dl.cli.files import check_folders, check_png, write_picture
from functional_dl.cli.opening import describe, open_console
from functional_dl.config import Config, ConfigError, load
from functional_dl.data import Sampler
from functional_dl.diagnostics import Flow, gradient_flow
from functional_dl.diagnostics.diagnosis import diagnose
from functional_dl.diagnostics.flow_figures import averaged
from functional_dl.diagnostics.flow_picture import MOST, picture
from functional_dl.diagnostics.flow_report import tables, to_json
from functional_dl.diagnostics.remedies import advise
from functional_dl.training.experiment import Experiment, build
from functional_dl.training.loop import snapshot_of
from functional_dl.training.run_folder import RunFolder
from functional_dl.training.snapshots import write_atomically
from functional_dl.training.step import Training, network_step

__all__ = ["diagnose_command"]

AS_IT_IS = "as it is"


@click.command("diagnose")
@click.argument("config", type=click.Path(path_type=Path), required=False)
@click.argument("overrides", nargs=-1)
@click.option("--with", "remedies", multiple=True, metavar="KEY=VALUE…", help="Draw it with these as well; repeatable.")
@click.option("--steps", default=0, show_default=True, help="Train so many steps first.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="Diagnose a run where its snapshot is.")
@click.option("--examples", default=1024, show_default=True, help="Judge units on so many training examples.")
@click.option(
    "--picture", "image", type=click.Path(path_type=Path, dir_okay=False),
    help="Where to draw, a PNG; by default <name>_gradient_flow.png here.",
)  # fmt: skip
@click.option("--json", "listing", type=click.Path(path_type=Path, dir_okay=False), help="Write all of it as JSON.")
def diagnose_command(
    config: Path | None,
    overrides: tuple[str, ...],
    remedies: tuple[str, ...],
    steps: int,
    folder: Path | None,
    examples: int,
    image: Path | None,
    listing: Path | None,
) -> None:
    """Show how the gradient of CONFIG's loss flows, layer by layer, and say what is wrong with it.

    OVERRIDES are key=value, such as model.activation=tanh.  So are those of --with, several in one string if they
    belong together: --with "model.activation=relu model.init=he_normal".
    """
    if steps < 0:
        raise ConfigError(f"--steps {steps}: due is a number of steps, 0 or more")
    if examples < 1:
        raise ConfigError(f"--examples {examples}: due is a number of examples, 1 or more")
    check_folders(image, listing)
    check_png(image)
    others = {text: tuple(split_overrides(text)) for text in remedies}
    if len(others) >= MOST:
        raise ConfigError(f"--with is there {len(others)} times; {MOST - 1} lines beside the first can be told apart")
    run = None
    if folder is not None:
        if others:
            raise ConfigError("--with starts other networks from the beginning, and --run is in the middle: due is one")
        if config is not None:
            overrides = (str(config), *overrides)
        run, resolved = RunFolder.open(folder, overrides)
    elif config is None:
        raise ConfigError("diagnose needs a CONFIG, or --run RUN")
    else:
        resolved = load(config, overrides)
        # All are read before the first is run: a misspelt remedy costs no waiting.
        variants = {text: load(config, (*overrides, *more)) for text, more in others.items()}
    console, experiment = open_console(width=150), build(resolved)
    training = experiment.start(resolved.seed) if run is None else snapshot_of(run, experiment, resolved)[0]
    describe(console, resolved, experiment, training.optimizer.params)
    at = int(training.steps) + steps
    flows = {AS_IT_IS: _measured(console, resolved, experiment, training, steps, examples)}
    _tell(console, flows[AS_IT_IS], resolved, at)
    if run is None:
        for text, variant in variants.items():
            experiment = build(variant)
            console.print(Text.assemble("\n", ("with " + text, "bold")), soft_wrap=True)
            training = experiment.start(variant.seed)
            flows[text] = _measured(console, variant, experiment, training, steps, examples)
            for finding in diagnose(flows[text]):
                _say(console, finding.kind, finding.text)
    console.print()
    if listing is not None:
        write_atomically(listing, to_json(flows).encode())
        console.print(f"figures: {listing}", soft_wrap=True)
    changed = f" ({' '.join(overrides)})" if overrides else ""
    title = f"{resolved.name}{changed}: {resolved.named('model')}, gradient flow at step {at:,}"
    target = image or Path(f"{resolved.name}_gradient_flow.png")
    write_picture(console, target, lambda path: picture(flows, path, title))


def split_overrides(text: str) -> list[str]:
    """Overrides in one string, apart by commas or blanks that stand outside of TOML's brackets and quotes.

    Example:
      >>> split_overrides('model.hidden=[8, 8], wrappers=[{name="swa"}] seed=1')
      ['model.hidden=[8, 8]', 'wrappers=[{name="swa"}]', 'seed=1']
    """
    words, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif not depth and letter in ", \t\n":
            words.append("")
            continue
        else:
            depth += (letter in "[{") - (letter in "]}")
        words[-1] += letter
    return [word for word in words if word]


def _measured(
    console: Console, config: Config, experiment: Experiment, training: Training, steps: int, examples: int
) -> Flow:
    """The flow after so many steps, over as many of the first batches as have so many examples in all."""
    sampler = experiment.sampler
    if steps:
        step = network_step(experiment.objective.train, experiment.optimizer, memory=config.memory.plan)
        for indices in islice(_from_the_beginning(sampler), steps):
            training, _ = step(training, experiment.batch(indices))
    loss, params = experiment.loss(training), experiment.optimizer.eval_params(training.optimizer)

    def measure(params: Any, state: Any, batch: Sequence[Any]) -> Flow:
        own = {"optimizer": experiment.optimizer, "state": state, "memory": config.memory.plan}
        return gradient_flow(loss, params, batch, has_aux=True, **own)

    run, portions = jax.jit(measure), max(1, min(examples // sampler.batch, sampler.batches_per_epoch))
    batches = map(experiment.batch, islice(_from_the_beginning(sampler), portions))
    flow = averaged([run(params, training.optimizer, batch) for batch in batches])
    console.print(f"measured at step {int(training.steps):,}, on {portions * sampler.batch:,} training examples")
    return flow


def _from_the_beginning(sampler: Sampler) -> Sampler:
    return Sampler(sampler.size, sampler.batch, sampler.seed)


def _tell(console: Console, flow: Flow, config: Config, at: int) -> None:
    """The table, and in words what is seen in it and what helps in such a network."""
    for table in tables(flow):
        console.print()
        console.print(table)
    console.print()
    settings = config.model_dump(mode="json")
    for finding in diagnose(flow):
        _say(console, finding.kind, finding.text)
        # What is dead before the first step was not killed by a step.
        remedies = [name for name in finding.remedies if at or finding.kind != "dead" or name != "lower_rate"]
        for advice in advise(remedies, settings):
            given = " ".join(map(shlex.quote, advice.settings))
            console.print(Text(f"  try {given}: {advice.words}" if given else f"  try {advice.words}"), soft_wrap=True)


def _say(console: Console, kind: str, text: str) -> None:
    style = "bold green" if kind == "healthy" else "bold red"
    console.print(Text.assemble((kind.replace("_", " "), style), ": ", text), soft_wrap=True)
