"""``functional-dl ledger``: what the backward of a config's loss keeps and repeats."""

from __future__ import annotations

from pathlib import Path

import click

from functional_dl.autodiff.ledger import ledger
from functional_dl.cli.files import check_folders, check_png, write_picture
from functional_dl.cli.opening import describe, first_batch, open_console
from functional_dl.config import load
from functional_dl.diagnostics.memory_report import picture, tables
from functional_dl.training.experiment import build
from functional_dl.training.snapshots import write_atomically

__all__ = ["ledger_command"]


@click.command("ledger")
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
    console, resolved = open_console(width=130), load(config, overrides)
    check_folders(listing, image)
    check_png(image)
    experiment = build(resolved)
    training = experiment.start(resolved.seed)
    params = training.optimizer.params
    describe(console, resolved, experiment, params)
    loss, batch = experiment.loss(training), first_batch(experiment)
    found = ledger(loss, params, *batch, has_aux=True, memory=resolved.memory.plan)
    for table in tables(found):
        console.print()
        console.print(table)
    if listing is not None:
        write_atomically(listing, found.to_json().encode())
        console.print(f"ledger: {listing}", soft_wrap=True)
    if image is not None:
        title = f"{resolved.name}: {resolved.named('model')}, batch {resolved.training.batch}, memory = "
        write_picture(console, image, lambda path: picture(found, path, title + repr(resolved.memory.plan)))
