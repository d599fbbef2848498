"""The aims of the memory benchmark, and its picture, from its rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from benchmarks.measure import ratio

try:
    from matplotlib import figure as matplotlib_figure
except ImportError:  # the extra "plots" is not installed
    matplotlib_figure: Any = None  # type: ignore[no-redef]  # a module or nothing

__all__ = ["PLAIN", "Row", "aims", "picture", "report_aims"]

Row = dict[str, Any]
PLAIN = "jax.grad"
# Programs that differ by a few small buffers have equal bytes.
BYTE_SLACK = 1.02

# The picture: colours, names in the legend, and where a label stands beside its point, so that few of them collide.
OURS, THEIRS, PLAIN_COLOR = "#1f5fa8", "#c4501b", "#222222"
LEGEND = {"ours": "ours", "policy": "jax.checkpoint with a policy", "plain": PLAIN}
PLACES = {"ours, keep": (-1, -11), "ours, auto": (1, 5), "ours, least": (1, 5), "checkpoint": (1, -11),
          "dots": (-1, 5), "dots, no batch": (1, -11), PLAIN: (-1, 5)}  # fmt: skip
TICKS = [m * 10.0**e for e in range(-5, 2) for m in (1, 2, 5)]


class Aim(NamedTuple):
    """What was to be reached, what was, and whether that is enough; ``met`` is None where nothing was measured."""

    what: str
    found: str
    met: bool | None


def equal_bytes(rows: list[Row]) -> Iterable[tuple[str, float | None]]:
    """For each network and policy: the time of our fastest within the policy's bytes over the policy's time.

    None where none of ours is within them.
    """
    for policy in (row for row in rows if row["kind"] == "policy"):
        candidates = [
            row
            for row in rows
            if row["network"] == policy["network"]
            and row["contender"].startswith("ours")
            and row["temp_bytes"] <= BYTE_SLACK * policy["temp_bytes"]
        ]
        cell = f"{policy['network']}, {policy['contender']}"
        if candidates:
            fastest = min(candidates, key=lambda row: row["step_s"])
            yield cell, ratio(fastest["step_times"], policy["step_times"])[0]
        else:
            yield cell, None


def aims(rows: list[Row]) -> list[Aim]:
    """The aims, by the rows of all networks measured so far."""
    by_name = {(row["network"], row["contender"]): row for row in rows}

    def cell(what: str, network: str, contender: str, key: str, holds: Callable[[float], bool]) -> Aim:
        row = by_name.get((network, contender))
        if row is None:
            return Aim(what, "", None)
        value = row["ratio"][0] if key == "ratio" else row[key]
        return Aim(what, f"{value:.4g}", holds(value))

    scanned, unrolled = "transformer-scanned", "transformer-unrolled"
    out = [
        cell(
            "scanned transformer: auto ≤ 0.40 of jax.grad's bytes", scanned, "ours, auto", "share", lambda x: x <= 0.4
        ),
        cell("scanned transformer: auto ≤ 0.85 of its time", scanned, "ours, auto", "ratio", lambda x: x <= 0.85),
        cell("unrolled transformer: auto ≤ 0.50 of the bytes", unrolled, "ours, auto", "share", lambda x: x <= 0.5),
        cell("unrolled transformer: auto no slower", unrolled, "ours, auto", "ratio", lambda x: x <= 1.0),
        cell("LSTM, 512 steps: auto below jax.grad's bytes", "LSTM-512", "ours, auto", "share", lambda x: x < 1.0),
        cell("LSTM, 4096 steps: least ≤ 0.01 of the bytes", "LSTM-4096", "ours, least", "share", lambda x: x <= 0.01),
    ]

    cells = list(equal_bytes(rows))
    reached = [(c, x) for c, x in cells if x is not None]
    wins = [c for c, x in reached if x <= 1.0]
    share = f"{len(wins)} of {len(cells)}, {len(cells) - len(reached)} without a row of ours within the bytes"
    out.append(Aim("at equal bytes: as fast in 3 of 4 cells", share, len(wins) >= 0.75 * len(cells) if cells else None))
    where, worst = max(reached, key=lambda pair: pair[1], default=("", math.nan))
    slowdown = Aim("at equal bytes: worst slowdown ≤ 1.05, no cell out of reach", f"{worst:.3f} ({where})",
                   worst <= 1.05 and len(reached) == len(cells))  # fmt: skip
    out.append(slowdown if reached else slowdown._replace(found="", met=False if cells else None))

    fitted = [row for row in rows if row["kind"] == "budget"]
    kept = sum(row["kept"] for row in fitted)
    out.append(Aim("budgets kept: all", f"{kept} of {len(fitted)}", kept == len(fitted) if fitted else None))

    errors = [row["predicted_bytes"] / row["temp_bytes"] - 1 for row in rows if "predicted_bytes" in row]
    close = sum(abs(e) <= 0.15 for e in errors)
    found = f"{close} of {len(errors)}"
    out.append(Aim("prediction within 15 % on 9 of 10 rows", found, close >= 0.9 * len(errors) if errors else None))

    planning = [
        (ratio(by_name[n, "ours, auto"]["trace_times"], by_name[n, "ours, keep"]["trace_times"])[0] - 1, n)
        for n in dict.fromkeys(row["network"] for row in rows)
    ]
    worst, where = max(planning, default=(math.nan, ""))
    found = f"{worst:.2f} ({where}), median {statistics.median(x for x, _ in planning):.2f}" if planning else ""
    out.append(Aim("planning ≤ 0.2 of the tracing with keep", found, worst <= 0.2 if planning else None))
    return out


def report_aims(found: list[Aim], networks: int) -> Table:
    """The aims as a table."""
    table = Table(title=f"aims, by the {networks} networks in the result file")
    for column in ("aim", "measured", ""):
        table.add_column(column)
    verdicts = {True: "[green]met[/]", False: "[red]missed[/]", None: "not measured"}
    for aim in found:
        table.add_row(aim.what, aim.found, verdicts[aim.met])
    return table


def picture(rows: list[Row], path: Path) -> bool:
    """Draw step time over temporary bytes, both over jax.grad's, a panel per network; False without matplotlib."""
    if matplotlib_figure is None:
        return False
    networks = list(dict.fromkeys(row["network"] for row in rows))
    columns = min(4, len(networks))
    lines = math.ceil(len(networks) / columns)
    figure = matplotlib_figure.Figure(figsize=(4.6 * columns, 3.8 * lines), dpi=120, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for panel in panels[len(networks) :]:
        panel.set_axis_off()
    for panel, network in zip(panels[: len(networks)], networks, strict=True):
        here = sorted((row for row in rows if row["network"] == network), key=lambda row: row["share"])
        for kind, color, mark in (("ours", OURS, "o-"), ("policy", THEIRS, "D"), ("plain", PLAIN_COLOR, "s")):
            group = [row for row in here if row["kind"] == kind or (kind == "ours" and row["kind"] == "budget")]
            middle, low, high = np.array([row["ratio"] for row in group]).reshape(-1, 3).T
            # The bars end at the quartiles.
            spread = [middle - low, high - middle]
            style = {"fmt": mark, "color": color, "ms": 4.5, "lw": 1.4, "elinewidth": 0.7, "label": LEGEND[kind]}
            panel.errorbar([row["share"] for row in group], middle, spread, **style)
            for row in (row for row in group if row["kind"] != "budget"):
                name = row["contender"]
                side, rise = PLACES[name]
                panel.annotate(name.removeprefix("ours, "), (row["share"], row["ratio"][0]), (side * 5, rise),
                               textcoords="offset points", ha="left" if side > 0 else "right", fontsize=7.5,
                               color=color)  # fmt: skip
        panel.axhline(1.0, color="#999999", lw=0.7, ls=":")
        panel.axvline(1.0, color="#999999", lw=0.7, ls=":")
        panel.set(xscale="log", title=network, xlabel="temporary bytes / jax.grad's", ylabel="step time / jax.grad's")
        panel.margins(0.16)
        low, high = panel.get_xlim()
        panel.minorticks_off()
        panel.set_xticks(ticks := [x for x in TICKS if low <= x <= high], [f"{x:g}" for x in ticks])
        panel.grid(alpha=0.25, which="both")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path)
    return True
