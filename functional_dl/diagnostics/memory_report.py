"""A ledger as tables for the terminal and as a picture of memory over the schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from functional_dl.diagnostics.plain_tables import add_row, plain_table, short_line, stacked_line
from functional_dl.planner.ledger import Kept, Ledger, Read, Repeated

try:
    from matplotlib import figure as matplotlib_figure
except ImportError:  # the extra "plots" is not installed
    matplotlib_figure: Any = None  # type: ignore[no-redef]  # a module or nothing

__all__ = ["picture", "tables"]

KEPT_LINES, REPEATED_LINES, INPUTS, AREAS = 25, 15, 10, 8  # rows; then come the others
MOST = 3  # names in a cell
_SHORT = {"float": "f", "bfloat": "bf", "int": "i", "uint": "u", "complex": "c"}
_COLORS = ("#1f5fa8", "#e08a1e", "#2b8a3e", "#b5387a", "#5bb5d6", "#8a5a2b", "#e6c229", "#6b4fa0")


def tables(ledger: Ledger) -> list[Table]:
    """The totals, what is kept and repeated per source line, and the inputs that the backward reads.

    Only tables with something in them are made; the widths suit 100 columns and more.
    """
    made = [_totals(ledger)]
    if ledger.kept:
        made.append(_kept(ledger))
    if ledger.repeated:
        made.append(_repeated(ledger))
    if ledger.inputs:
        made.append(_inputs(ledger))
    return made


def _totals(ledger: Ledger) -> Table:
    plan, keep = ledger.plan, ledger.keep
    asked = f"{ledger.memory!r}" if isinstance(ledger.memory, str) else _bytes(ledger.memory)
    table = plain_table(
        "totals", ("", "whole"), (f"memory = {asked}", "right"), ("memory = 'keep'", "right"), ("ratio", "right")
    )
    for name, shown, a, b in [
        ("peak of the intermediates", _bytes, plan.peak_bytes, keep.peak_bytes),
        ("kept for the backward", _bytes, plan.kept_bytes, keep.kept_bytes),
        ("repeated operations", _flops, plan.repeated_flops, keep.repeated_flops),
        ("all operations", _flops, plan.flops, keep.flops),
    ]:
        add_row(table, name, shown(a), shown(b), f"{a / b:.2f}" if b else "1.00" if a == b else "-")
    return table


def _kept(ledger: Ledger) -> Table:
    by_line: dict[str, list[Kept]] = {}
    for value in ledger.kept:
        by_line.setdefault(short_line(value.line), []).append(value)
    lines = sorted(by_line.items(), key=lambda entry: -_size(entry[1]))
    total = _size(ledger.kept) or 1
    table = plain_table(
        f"kept for the backward: {_bytes(_size(ledger.kept))} by {len(lines)} source lines",
        ("bytes", "right"), ("share", "right"), ("peak", "center"), ("values", "left"), ("made by\n→ read by", "left"),
        ("line", "whole"),
        caption="peak: ● alive at the peak, ◐ some of it;  […] ×n: one for each of n iterations;\n"
        "read by: operations of the backward, and of which line they are the reverse if of another",
    )  # fmt: skip
    for line, values in lines[:KEPT_LINES]:
        alive = sum(value.at_peak for value in values)
        mark = "●" if alive == len(values) else "◐" if alive else ""
        made = _counted(Counter(value.primitive for value in values))
        read = _readers([read for value in values for read in value.readers], line)
        size = _size(values)
        add_row(
            table,
            _bytes(size),
            f"{size / total:.1%}",
            mark,
            _shapes(values),
            f"{made}\n→ {read}",
            stacked_line(line, 26),
        )
    others = [value for _, values in lines[KEPT_LINES:] for value in values]
    if others:
        size, alive = _size(others), sum(value.at_peak for value in others)
        mark = "●" if alive == len(others) else "◐" if alive else ""
        rest = f"{len(lines) - KEPT_LINES} others"
        add_row(table, _bytes(size), f"{size / total:.1%}", mark, f"{len(others)} values", "", rest, style="dim")
    return table


def _repeated(ledger: Ledger) -> Table:
    by_line: dict[str, list[Repeated]] = {}
    for operation in ledger.repeated:
        by_line.setdefault(short_line(operation.line), []).append(operation)
    lines = sorted(by_line.items(), key=lambda entry: -sum(operation.flops for operation in entry[1]))
    table = plain_table(
        f"run again in the backward: {_flops(ledger.plan.repeated_flops)}, on {len(lines)} source lines",
        ("operations", "right"), ("times", "right"), ("primitives", "left"), ("line", "whole"),
    )  # fmt: skip
    for line, operations in lines[:REPEATED_LINES]:
        times = Counter[str]()
        for operation in operations:
            times[operation.primitive] += operation.times
        add_row(
            table,
            _flops(sum(o.flops for o in operations)),
            f"{times.total():,}",
            _counted(times),
            stacked_line(line, 44),
        )
    others = [operation for _, operations in lines[REPEATED_LINES:] for operation in operations]
    if others:
        flops, repeats = sum(o.flops for o in others), sum(o.times for o in others)
        add_row(table, _flops(flops), f"{repeats:,}", "", f"{len(lines) - REPEATED_LINES} others", style="dim")
    return table


def _inputs(ledger: Ledger) -> Table:
    inputs = sorted(ledger.inputs, key=lambda value: -value.size)
    table = plain_table(
        f"inputs that the backward reads: {_bytes(_size(inputs))}, which stay anyway and are not counted above",
        ("bytes", "right"), ("values", "left"), ("read by", "left"), ("input", "left"),
    )  # fmt: skip
    for value in inputs[:INPUTS]:
        add_row(
            table,
            _bytes(value.size),
            _shapes([value]),
            _readers(value.readers, ""),
            value.path or short_line(value.line),
        )
    if others := inputs[INPUTS:]:
        add_row(table, _bytes(_size(others)), f"{len(others)} values", "", f"{len(others)} others", style="dim")
    return table


def _size(values: Iterable[Kept]) -> int:
    return sum(value.size for value in values)


def _counted(counts: Counter[str], comma: str = ", ") -> str:
    """``dot_general ×2, tanh``."""
    names = [name if n == 1 else f"{name} ×{n:,}" for name, n in counts.most_common(MOST)]
    return comma.join(names) + (", …" if len(counts) > MOST else "")


def _readers(reads: Sequence[Read], line: str) -> str:
    """The primitives that read a value, with their places where these are not ``line`` itself."""
    places = (
        read.primitive if short_line(read.line) == line else f"{read.primitive} {_place(read.line)}" for read in reads
    )
    return _counted(Counter(place.strip() for place in places), ",\n  ")


def _shapes(values: Sequence[Kept]) -> str:
    """``f32[64,128] ×12``: one iteration's shape, and how many of them there are."""
    counts = Counter(_shape(value) for value in values)
    names = [name if n == 1 else f"{n} {name}" for name, n in counts.most_common(MOST)]
    return ",\n".join(names) + (", …" if len(counts) > MOST else "")


def _shape(value: Kept) -> str:
    stem = value.dtype.rstrip("0123456789")
    dtype = _SHORT.get(stem, stem) + value.dtype[len(stem) :]
    shape, times = value.shape, ""
    if value.iterations:
        # Loops within loops stack along several axes; where these cannot be told, the whole shape is shown.
        stacked = [n for n in range(1, len(shape) + 1) if prod(shape[:n]) == value.iterations][:1]
        shape, times = (shape[stacked[0] :], f" ×{value.iterations:,}") if stacked else (shape, " in a loop")
    return f"{dtype}[{','.join(map(str, shape))}]{times}"


def _bytes(size: float) -> str:
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size >= 1024**power:
            return f"{size / 1024**power:.2f} {unit}"
    return f"{size:.0f} B"


def _flops(count: float) -> str:
    for power, unit in ((12, "Tflop"), (9, "Gflop"), (6, "Mflop"), (3, "kflop")):
        if count >= 10**power:
            return f"{count / 10**power:.2f} {unit}"
    return f"{count:.0f} flop"


def _place(line: str) -> str:
    """``dense:31`` of a source line."""
    file, _, rest = line.partition(":")
    number = rest.partition(" ")[0].partition(":")[0]
    return f"{Path(file).stem}:{number}" if number else ""


def picture(ledger: Ledger, path: Path, title: str) -> bool:
    """Draw the bytes alive at each step of the schedule, by the source line that made them.

    Args:
      ledger: what to draw.
      path: where to write; the suffix says in which format.
      title: above the picture.

    Returns:
      Whether it was drawn: not without matplotlib, nor for a program without equations.
    """
    if matplotlib_figure is None or not ledger.steps:
        return False
    names, areas, inside = _areas(ledger)
    live = np.asarray(ledger.live) / 2**20
    figure = matplotlib_figure.Figure(figsize=(11, 7), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    edges = np.arange(ledger.steps + 1) - 0.5  # a step is a bar from half before to half after
    colors = [*_COLORS[: len(names) - 1], "#c4c4c4"] if names and names[-1] == "others" else _COLORS[: len(names)]
    floor = np.zeros(ledger.steps)
    for name, area, color in zip(names, areas, colors, strict=True):
        top = floor + area / 2**20
        axes.fill_between(edges, _ends(floor), _ends(top), step="post", color=color, lw=0, label=_label(name))
        floor = top
    if inside.any():
        top = floor + inside / 2**20
        axes.fill_between(
            edges, _ends(floor), _ends(top), step="post", facecolor="#ffffff", edgecolor="#555555", hatch="////", lw=0,
            label="inside loops and other inner programs",
        )  # fmt: skip
    axes.step(edges, _ends(live), where="post", color="#222222", lw=0.8)
    highest = max(float(live.max()), float(floor.max())) or 1.0
    axes.set(
        xlim=(edges[0], edges[-1]), ylim=(0, 1.18 * highest), xlabel="equation of the schedule", ylabel="MiB alive"
    )
    axes.set_title(title, loc="left")
    border = ledger.forward_steps - 0.5
    axes.axvline(border, color="#222222", ls="--", lw=1)
    for text, side in (("forward ", "right"), (" backward", "left")):
        axes.text(border, 1.165 * highest, text, ha=side, va="top", color="#222222")
    peak = ledger.peak_bytes / 2**20
    if ledger.peak_step >= 0:
        right = ledger.peak_step > 0.8 * ledger.steps
        axes.annotate(
            f"peak {_bytes(ledger.peak_bytes)}", (ledger.peak_step, peak), xytext=(-10 if right else 10, 12),
            textcoords="offset points", ha="right" if right else "left", fontweight="bold", color="#b00020",
            arrowprops={"arrowstyle": "-", "color": "#b00020"},
        )  # fmt: skip
        axes.plot([ledger.peak_step], [peak], marker="o", ms=6, color="#b00020", clip_on=False)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    figure.savefig(path)
    return True


def _ends(values: Any) -> Any:
    """Values of steps as values at the steps' edges."""
    return np.append(values, values[-1])


def _label(name: str) -> str:
    line = name.replace("$", r"\$").lstrip("_")  # a legend leaves out what begins with _, and $ is mathematics
    return line if len(line) <= 70 else f"…{line[-69:]}"


def _areas(ledger: Ledger) -> tuple[list[str], list[Any], Any]:
    """Per source line, the bytes of its values alive at each step: of the lines that hold most for longest, then of
    all others; and what is alive beyond that, inside of equations."""
    weight: Counter[str] = Counter()
    lines = [short_line(span.line) for span in ledger.spans]
    for span, line in zip(ledger.spans, lines, strict=True):
        weight[line] += span.size * (span.end - span.begin + 1)
    names = [name for name, total in weight.most_common(AREAS) if total]
    place = {name: i for i, name in enumerate(names)}
    changes = np.zeros((len(names) + 1, ledger.steps + 1))
    dying = np.zeros((len(names) + 1, ledger.steps))
    for span, line in zip(ledger.spans, lines, strict=True):
        row = place.get(line, len(names))
        changes[row, span.begin] += span.size
        changes[row, span.end + 1] -= span.size
        dying[row, span.end] += span.size if span.end > span.begin else 0
    areas = list(np.cumsum(changes, axis=1)[:, :-1])
    # An elementwise operation writes over operands that die there: their bytes are not alive twice.
    beyond = np.asarray(ledger.live) - sum(areas)
    share = np.minimum(np.maximum(-beyond, 0) / np.maximum(dying.sum(axis=0), 1), 1)
    areas, inside = [area - gone * share for area, gone in zip(areas, dying, strict=True)], np.maximum(beyond, 0)
    if areas[-1].any():
        return [*names, "others"], areas, inside
    return names, areas[:-1], inside
