"""The picture of a search's rungs: each member's score by its steps, until it was dropped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from functional_dl.strategies.space import Space
from functional_dl.tuning.pictures import chosen, legend_of_best, save, shade
from functional_dl.tuning.results import spread
from functional_dl.tuning.scales import BEST, GREY, ScoreScale, Track, tracks
from functional_dl.tuning.search import Found

try:
    from matplotlib import figure as matplotlib_figure
except ImportError:  # the extra "plots" is not installed
    matplotlib_figure: Any = None  # type: ignore[no-redef]  # a module or nothing

__all__ = ["rungs"]

# Finalists that were not the best, in blue.
OTHERS = "#0072B2"

# Rungs that lie further apart than this, the first from the last, are drawn on a logarithmic axis.
FAR = 8


def rungs(found: Found, space: Space, score: tuple[str, bool], title: str, path: Path) -> bool:
    """Draw the score of each member after each of its rounds; where members had only one, against their numbers.

    Returns:
      Whether it was drawn: not without matplotlib.
    """
    if matplotlib_figure is None:
        return False
    ways, best = tracks(found, score[0]), chosen(found)
    known = [x for way in ways for x in way.scores] + [m[score[0]] for one in found.finalists for m in one.metrics]
    scale = ScoreScale(*score, known)
    figure = matplotlib_figure.Figure(figsize=(8, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    if any(len(way.steps) > 1 for way in ways):
        _lines(axes, ways, best, scale)
        _finals(axes, found, score[0], scale)
    else:
        _points(axes, ways, best, scale)
    legend_of_best(figure, best)
    axes.set_yticks(*scale.ticks_with_lost(ways))
    axes.set(ylabel=scale.label, title=title, ylim=scale.limits(ways))
    axes.grid(alpha=0.25)
    save(figure, path)
    return True


def _lines(axes: Any, ways: list[Track], best: int | None, scale: ScoreScale) -> None:
    order = sorted(ways, key=lambda way: (not way.is_lost, scale.goodness(way.scores[-1])))
    for level, way in enumerate(order):
        y = [scale.at(x) for x in way.scores]
        if way.member == best:
            axes.plot(way.steps, y, color=BEST, lw=2.6, marker="o", ms=5, zorder=1000)
            continue
        color = GREY if way.is_lost else shade(scale.goodness(way.scores[-1]))
        axes.plot(way.steps, y, color=color, lw=1.1, alpha=0.8, zorder=2 + level)
        axes.plot(way.steps[-1:], y[-1:], "x" if way.is_lost else "o", color=color, ms=5 if way.is_lost else 3.5,
                  zorder=2 + level)  # fmt: skip
    stops = sorted({x for way in ways for x in way.steps})
    if stops[-1] >= FAR * stops[0]:
        axes.set_xscale("log")
    if len(stops) <= 8:
        axes.set_xticks(stops, [f"{x:,}" for x in stops])
        axes.set_xticks([], minor=True)
    axes.set_xlabel("step")


def _finals(axes: Any, found: Found, metric: str, scale: ScoreScale) -> None:
    """Beside the end the finalists' means over their seeds, each with a bar from its worst training to its best."""
    first, last = axes.get_xlim()
    is_log = axes.get_xscale() == "log"

    def beside(share: float) -> float:
        return last * (last / first) ** share if is_log else last + share * (last - first)

    for i, one in enumerate(found.finalists):
        scores = [m[metric] for m in one.metrics]
        mean = spread(scores)[0]
        if len(scores) > 1 and math.isfinite(mean):
            x, color = beside(0.045 + 0.03 * i), BEST if i == 0 else OTHERS
            axes.plot([x, x], [scale.at(min(scores)), scale.at(max(scores))], color=color, lw=1.6)
            axes.plot(x, scale.at(mean), "D", color=color, ms=5)
    if any(len(one.metrics) > 1 for one in found.finalists):
        axes.set_xlim(first, beside(0.07 + 0.03 * len(found.finalists)))
        words = "finalists: mean\nand range of seeds"
        axes.annotate(words, (1.0, 1.005), xycoords="axes fraction", ha="right", va="bottom", fontsize=7)


def _points(axes: Any, ways: list[Track], best: int | None, scale: ScoreScale) -> None:
    for way in ways:
        x, y = way.member, scale.at(way.scores[-1])
        if way.member == best:
            axes.plot(x, y, "*", color=BEST, ms=15, mec="white", zorder=1000)
        else:
            color = GREY if way.is_lost else shade(scale.goodness(way.scores[-1]))
            axes.plot(x, y, "x" if way.is_lost else "o", color=color, ms=6)
    axes.set_xlabel("member, in the order of their rounds")
