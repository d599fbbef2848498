"""The command line: ``functional-dl train``, ``check``, ``ledger``, ``diagnose`` and ``tune``, a file for each."""

from __future__ import annotations

import sys

import click

from functional_dl.autodiff.budget import BudgetError
from functional_dl.cli.check import check_command
from functional_dl.cli.diagnose import diagnose_command
from functional_dl.cli.ledger import ledger_command
from functional_dl.cli.train import train_command
from functional_dl.cli.tune import tune_command
from functional_dl.config import ConfigError
from functional_dl.data import DataError
from functional_dl.training.snapshots import SnapshotError

__all__ = ["main"]


@click.group()
def cli() -> None:
    """Train networks on gradients made by hand-written rules, and tune them; check those rules, see what they do."""


for _command in (train_command, check_command, ledger_command, diagnose_command, tune_command):
    cli.add_command(_command)


def main() -> None:
    """Run the command line; bad input ends with one line and exit code 2."""
    try:
        cli(standalone_mode=True)
    except (ConfigError, DataError, SnapshotError, BudgetError, FileNotFoundError) as error:
        click.echo(f"functional-dl: {error}", err=True)
        sys.exit(2)
