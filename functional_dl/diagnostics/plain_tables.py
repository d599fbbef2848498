"""Tables for the terminal that hold no markup, and source lines shortened for them."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

__all__ = ["add_row", "plain_table", "short_line", "stacked_line"]


def plain_table(title: str, *columns: tuple[str, str], caption: str | None = None) -> Table:
    """A table of columns given by name and alignment: ``"right"``, ``"center"``, ``"left"``, or ``"whole"`` (left,
    and never wrapped)."""
    table = Table(
        title=Text(title, style="bold"), caption=caption and Text(caption, style="dim"), box=SIMPLE_HEAD,
        title_justify="left", caption_justify="left", pad_edge=False,
    )  # fmt: skip
    for name, align in columns:
        if align == "left":
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="left" if align == "whole" else align, no_wrap=True)  # type: ignore[arg-type]
    return table


def add_row(table: Table, *cells: str, style: str | None = None) -> None:
    table.add_row(*map(Text, cells), style=style)  # no cell is markup


def short_line(line: str) -> str:
    """``file:line (function)``, without column, the file below the working directory or where it is imported from."""
    place, _, function = line.partition(" (")
    file, _, rest = place.partition(":")
    if not rest:
        return line or "(no source line)"
    rest = rest.partition(":")[0] + (" (" + function.replace("<locals>.", "") if function else "")
    path = Path(file)
    if not path.is_absolute():
        return f"{file}:{rest}"
    if path.is_relative_to(Path.cwd()) and "site-packages" not in path.parts:
        return f"{path.relative_to(Path.cwd())}:{rest}"
    roots = [root for root in sys.path if root and path.is_relative_to(root)]
    return f"{path.relative_to(max(roots, key=len))}:{rest}" if roots else f"…/{'/'.join(path.parts[-3:])}:{rest}"


def stacked_line(line: str, width: int) -> str:
    """A shortened line for a narrow column: its function below its place, of which the end is shown."""
    place, space, function = line.partition(" (")
    if len(place) > width:
        place = f"…/{'/'.join(place.split('/')[-2:])}"
    return f"{place}\n({function}" if space else place
