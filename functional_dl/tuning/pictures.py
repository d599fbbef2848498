"""Pictures of a search's members by their hyperparameters: all at once in parallel coordinates, and one by one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from functional_dl.strategies.space import Space
from functional_dl.training.snapshots import write_atomically
from functional_dl.tuning.results import short_names
from functional_dl.tuning.scales import BEST, GREY, LOST, ScoreScale, Track, place, ticks, tracks
from functional_dl.tuning.search import Found

try:
    from matplotlib import cm
    from matplotlib import figure as matplotlib_figure
except ImportError:  # the extra "plots" is not installed
    cm: Any = None  # type: ignore[no-redef]
    matplotlib_figure: Any = None  # type: ignore[no-redef]  # a module or nothing

__all__ = ["chosen", "hyperparameters", "legend_of_best", "parallel_coordinates", "save", "shade"]

# More would be a picture that nobody takes in at a glance.
COLUMNS = 3


def parallel_coordinates(found: Found, space: Space, score: tuple[str, bool], title: str, path: Path) -> bool:
    """Draw each member as a line over an axis for each hyperparameter and one for its score; better ones lie on top.

    Returns:
      Whether it was drawn: not without matplotlib.
    """
    if matplotlib_figure is None:
        return False
    ways, names, best = tracks(found, score[0]), short_names(space), chosen(found)
    scale = ScoreScale(*score, [way.scores[-1] for way in ways])
    most = max(way.steps[-1] for way in ways)
    figure = matplotlib_figure.Figure(figsize=(max(2.6 + 2.1 * len(space), 7), 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for i, key in enumerate(space):
        _axis(axes, i, *ticks(space, key))
    last = len(space)
    _axis(axes, last, *scale.ticks_with_lost(ways), right=True)
    order = sorted(ways, key=lambda way: (not way.is_lost, scale.goodness(way.scores[-1])))
    for level, way in enumerate(order):
        share = (way.steps[-1] / most) ** 0.5
        line = [*(place(space, key, way) for key in space), scale.at(way.scores[-1])]
        style: dict[str, Any]
        if way.member == best:
            style = {"color": BEST, "lw": 2.6, "zorder": 1000}
        elif way.is_lost:
            style = {"color": LOST, "lw": 0.9, "ls": (0, (3, 2)), "zorder": 1}
        else:
            color = shade(scale.goodness(way.scores[-1]))
            style = {"color": color, "lw": 0.7 + 1.2 * share, "alpha": 0.35 + 0.6 * share, "zorder": 2 + level}
        axes.plot(range(last + 1), line, solid_capstyle="round", **style)
    axes.set_xticks(range(last + 1), [*names.values(), scale.label.replace("validation ", "validation\n")])
    axes.tick_params(axis="x", length=0, pad=10)
    axes.set(xlim=(-0.35, last + 0.35), ylim=scale.limits(ways), title=title)
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    differ = len({way.steps[-1] for way in ways}) > 1
    legend_of_best(figure, best, *(["thick lines trained longer"] if differ else []))
    save(figure, path)
    return True


def hyperparameters(found: Found, space: Space, score: tuple[str, bool], title: str, path: Path) -> bool:
    """Draw the last score of each member against each hyperparameter, darker the further it came.

    Returns:
      Whether it was drawn: not without matplotlib.
    """
    if matplotlib_figure is None:
        return False
    ways, names, best = tracks(found, score[0]), short_names(space), chosen(found)
    scale = ScoreScale(*score, [way.scores[-1] for way in ways])
    reached = sorted({way.steps[-1] for way in ways})
    columns = 2 if len(space) == 4 else min(COLUMNS, len(space))
    rows = -(-len(space) // columns)
    size = (max(3.4 * columns + 0.6, 5.6), 3.2 * rows + 0.9)
    figure = matplotlib_figure.Figure(figsize=size, dpi=120, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for panel in panels[len(space) :]:
        panel.set_visible(False)
    for panel, (key, name) in zip(panels, names.items(), strict=False):
        for way in sorted(ways, key=lambda way: way.steps[-1]):
            x, y = place(space, key, way), scale.at(way.scores[-1])
            if way.member == best:
                panel.plot(x, y, "*", color=BEST, ms=15, mec="white", mew=0.8, zorder=1000)
            elif way.is_lost:
                panel.plot(x, y, "x", color=GREY, ms=5, mew=0.9)
            else:
                panel.plot(x, y, "o", color=_by_reach(way, reached), ms=6, mec="white", mew=0.5)
        places, texts = ticks(space, key)
        panel.set_xticks(places, texts, fontsize=8, rotation=25 if max(map(len, texts)) > 7 else 0)
        panel.set(xlabel=name, xlim=(-0.05, 1.05), ylim=scale.limits(ways))
        panel.grid(alpha=0.25)
    for panel in panels[::columns]:
        panel.set_yticks(*scale.ticks_with_lost(ways), fontsize=8)
        panel.set_ylabel(scale.label, fontsize=9)
    figure.suptitle(title)
    kept = reached if len(reached) <= 6 else [reached[round(i * (len(reached) - 1) / 4)] for i in range(5)]
    handles = [
        matplotlib_figure.Figure().add_subplot().plot([], [], "o", color=shade(_share(steps, reached)), ms=6)[0]
        for steps in kept
    ]
    labels = [f"came to step {steps:,}" if i == 0 else f"{steps:,}" for i, steps in enumerate(kept)]
    if best is not None:
        star = matplotlib_figure.Figure().add_subplot().plot([], [], "*", color=BEST, ms=12)[0]
        handles, labels = [*handles, star], [*labels, f"the best, member {best}"]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8,
                  handletextpad=0.2, columnspacing=1.0)  # fmt: skip
    save(figure, path)
    return True


def chosen(found: Found) -> int | None:
    """The best finalist, if it is known."""
    return found.finalists[0].member if found.finalists else None


def shade(goodness: float) -> Any:
    """A colour for 0, pale, to 1, dark; so that on white what is best is seen first."""
    return cm.viridis(0.95 * (1 - goodness))


def legend_of_best(figure: Any, best: int | None, *words: str) -> None:
    """Below a picture, what its lines are."""
    axes = matplotlib_figure.Figure().add_subplot()
    handles = [axes.plot([], [], color=shade(x), lw=2)[0] for x in (0.0, 1.0)]
    labels = ["worst", "best scores" + "".join(f"; {word}" for word in words)]
    if best is not None:
        handles.append(axes.plot([], [], color=BEST, lw=2.6)[0])
        labels.append(f"the best, member {best}")
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)


def save(figure: Any, path: Path) -> None:
    """Write a picture whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())


def _axis(axes: Any, x: int, places: list[float], texts: list[str], right: bool = False) -> None:
    axes.plot([x, x], [0, 1], color="#444444", lw=1, zorder=2000)
    for y, text in zip(places, texts, strict=True):
        side = 1 if right else -1
        axes.plot([x, x + side * 0.02], [y, y], color="#444444", lw=1, zorder=2000)
        axes.text(
            x + side * 0.035, y, text, ha="left" if right else "right", va="center", fontsize=8, zorder=2001,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def _by_reach(way: Track, reached: list[int]) -> Any:
    return shade(_share(way.steps[-1], reached))


def _share(steps: int, reached: list[int]) -> float:
    """How far along, by the number of places where members came to an end."""
    return reached.index(steps) / (len(reached) - 1) if len(reached) > 1 else 0.6
