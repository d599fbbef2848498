"""A scalar computation graph as a picture: layers from left to right, local derivatives on the edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from functional_dl.autodiff.path_sums import sweep
from functional_dl.autodiff.scalar_graph import ScalarGraph

try:
    from matplotlib import figure as matplotlib_figure
except ImportError:  # the extra "plots" is not installed
    matplotlib_figure: Any = None  # type: ignore[no-redef]  # a module or nothing

__all__ = ["picture"]

_INPUT, _OUTPUT, _INNER, _OFF = "#cfe2f7", "#fbdcb0", "#ffffff", "#ececec"
_LINE, _SLOPE, _SUM, _PALE = "#8a9199", "#1f5fa8", "#b00020", "#a8a8a8"
ACROSS, DOWN = 2.3, 0.95  # inches from layer to layer, and from node to node
WIDE, HIGH = 0.48, 0.66  # of a box, as shares of those


def picture(graph: ScalarGraph, path: Path, title: str) -> bool:
    """Draw a scalar graph: in each node its name and value and below S(i, o), on each edge z(i, j).

    Args:
      graph: what to draw, such as ``fdl.pathwise(…).graph``; o is its first output.
      path: where to write; the suffix says in which format.
      title: above the picture.

    Returns:
      Whether it was drawn: not without matplotlib, nor for a graph without nodes or output.
    """
    if matplotlib_figure is None or not graph.outputs:
        return False
    target = graph.outputs[0]
    slopes, leading = sweep(graph, target).slopes, graph.ancestors(target)
    places, ways, height = _places(graph)
    depth = max(node.layer for node in graph.nodes)
    size = (max(ACROSS * (depth + 0.8), 6.5), DOWN * height + 1.0)
    figure = matplotlib_figure.Figure(figsize=size, dpi=130)
    axes = figure.add_axes((0, 0.5 / size[1], 1, 1 - 1.0 / size[1]))
    for (i, j), way in ways.items():
        _edge(axes, way, _number(graph.successors[i][j]), j in leading, list(graph.successors[i]).index(j))
    for i, node in enumerate(graph.nodes):
        color = _OUTPUT if i == target else _INPUT if i in graph.inputs else _INNER if i in leading else _OFF
        x, y = places[i]
        axes.fill(
            [x - WIDE / 2, x + WIDE / 2, x + WIDE / 2, x - WIDE / 2],
            [y - HIGH / 2, y - HIGH / 2, y + HIGH / 2, y + HIGH / 2],
            facecolor=color, edgecolor="#222222" if i in leading else _PALE, linewidth=0.9, zorder=3,
        )  # fmt: skip
        value, total = f"y = {_number(node.value)}", f"S = {_number(slopes[i])}"
        for row, text, ink, weight in [
            (1, _text(node.name or str(i)), "#222222", "bold"),
            (0, value, "#222222", "normal"),
            (-1, total, _SUM, "normal"),
        ]:
            axes.text(
                x, y + row * HIGH / 3.3, text, ha="center", va="center", fontweight=weight,
                fontsize=min(8, 110 / len(text)), color=ink if i in leading else _PALE, zorder=4,
            )  # fmt: skip
    axes.set(xlim=(-0.4, max(depth, size[0] / ACROSS - 0.8) + 0.4), ylim=(-height / 2, height / 2))
    axes.set_axis_off()
    left = 0.4 * (1 - WIDE) * ACROSS / size[0]
    figure.text(left, 1 - 0.15 / size[1], _text(title), ha="left", va="top", fontsize=11)
    figure.text(
        left, 0.15 / size[1], "S(i, o) = Σ z(i, j) S(j, o), from S(o, o) = 1;  on an edge: z(i, j) = ∂y(j)/∂y(i)",
        ha="left", va="bottom", fontsize=8, color="#444444",
    )  # fmt: skip
    figure.savefig(path)
    return True


def _places(
    graph: ScalarGraph,
) -> tuple[list[tuple[float, float]], dict[tuple[int, int], list[tuple[float, float]]], int]:
    """Where the nodes stand, the points that each edge goes through, and how many stand in the fullest layer.

    After Sugiyama, Tagawa & Toda (1981): an edge holds a place in each layer that it passes, and each layer is ordered
    by where what leads to it stands, which avoids crossings.
    """
    layer_of = [node.layer for node in graph.nodes]
    before: list[list[int]] = [[] for _ in graph.nodes]
    ways: dict[tuple[int, int], list[int]] = {}
    for i, successors in enumerate(graph.successors):
        for j in successors:
            way = [i]
            for layer in range(layer_of[i] + 1, layer_of[j]):
                before.append([way[-1]])
                way.append(len(layer_of))
                layer_of.append(layer)
            before[j].append(way[-1])
            ways[i, j] = [*way, j]
    layers: list[list[int]] = [[] for _ in range(1 + max(layer_of))]
    for i, layer in enumerate(layer_of):
        layers[layer].append(i)
    y = [0.0] * len(layer_of)
    for row in layers:
        row.sort(key=lambda i: -float(np.mean([y[k] for k in before[i]] or [0.0])))
        for rank, i in enumerate(row):
            y[i] = (len(row) - 1) / 2 - rank
    points = [(float(layer), height) for layer, height in zip(layer_of, y, strict=True)]
    return points[: len(graph.nodes)], {e: [points[i] for i in way] for e, way in ways.items()}, max(map(len, layers))


def _edge(axes: Any, way: list[tuple[float, float]], label: str, leads: bool, rank: int) -> None:
    """An arrow from the right side of a box to the left side of another, straight through the layers between them."""
    half = WIDE / 2
    points = [(way[0][0] + half, way[0][1])]
    for x, y in way[1:-1]:
        points += [(x - half, y), (x + half, y)]
    points.append((way[-1][0] - half, way[-1][1]))
    color = _LINE if leads else "#d5d5d5"
    xs, ys = zip(*points[:-1], strict=True)
    axes.plot(xs, ys, color=color, lw=1.0, zorder=1, solid_joinstyle="round")
    axes.annotate(
        "", points[-1], points[-2], zorder=1,
        arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.0, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip
    share = 0.3 + 0.12 * (rank % 3)  # near the tail, where the fewest edges cross
    (x, y), (u, v) = points[:2]
    axes.text(
        x + share * (u - x), y + share * (v - y), label, ha="center", va="center", fontsize=7.5,
        color=_SLOPE if leads else _PALE, zorder=2,
        bbox={"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none"},
    )  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−").replace("e+0", "e").replace("e+", "e")


def _text(text: str) -> str:
    return text.replace("$", r"\$")  # $ is mathematics
