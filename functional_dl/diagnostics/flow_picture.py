"""Backward passes side by side as a picture: what is measured of each layer, a line for each network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from functional_dl.diagnostics.diagnosis import USUAL
from functional_dl.diagnostics.flow import Flow
from functional_dl.diagnostics.flow_figures import Figures, figures

try:
    from matplotlib import figure as matplotlib_figure
except ImportError:  # the extra "plots" is not installed
    matplotlib_figure: Any = None  # type: ignore[no-redef]  # a module or nothing

__all__ = ["MOST", "picture"]

# Okabe & Ito's colours, which all kinds of colour vision tell apart; markers tell them apart in print.
_COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
MOST = len(_COLORS)  # flows in a picture
NAMED = 26  # layers named on an axis; of more, every so many
LINEAR = 30.0  # what differs by less than this is drawn on a linear scale
LABEL = 24  # characters of a layer's name, its end
SIGMOID = 0.25  # the steepest that a sigmoid is


Drawn = Mapping[str, Sequence[Figures]]  # the layers of each flow


def picture(flows: Mapping[str, Flow], path: Path, title: str) -> bool:
    """Draw, layer by layer, δ, activations, gradients, steps, and units that let nothing through.

    Layers are matched by name, so that networks of different depth can be compared.  Recurrent networks get a panel
    over time steps as well.

    Args:
      flows: what to draw, by the names that the legend has for them.
      path: where to write; the suffix says in which format.
      title: above the picture.

    Returns:
      Whether it was drawn: not without matplotlib, nor for flows without layers.

    Raises:
      ValueError: more flows than there are colours to tell them apart.
    """
    if len(flows) > MOST:
        raise ValueError(f"a picture of {len(flows)} networks; {MOST} can be told apart.")
    drawn: dict[str, list[Figures]] = {}
    for name, flow in flows.items():
        if found := [x for x in figures(flow) if x.place.kind == "layer"]:
            drawn[name] = found
    if matplotlib_figure is None or not drawn:
        return False
    order = _order([[x.name for x in found] for found in drawn.values()])
    panels = _panels(drawn)
    across = 3 if len(panels) > 4 else 2
    down = -(-len(panels) // across)
    labels = 0.075 * min(max(map(len, order)), LABEL) + 0.25 * -(
        -len(drawn) // _columns(drawn)
    )  # inches: of layers, of flows
    wide = 1.2 + 0.26 * min(max(len(order), 14), NAMED)
    size = (across * wide, down * (2.6 + labels) + 0.5)
    figure = matplotlib_figure.Figure(figsize=size, dpi=110, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        panel(axes, drawn, order)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(_plain(title), x=0.01, ha="left", fontsize=12)
    if len(drawn) > 1:
        handles = [grid[0].plot([], [], label=_plain(name), **_style(i))[0] for i, name in enumerate(drawn)]
        figure.legend(handles=handles, loc="outside lower center", ncols=_columns(drawn), frameon=False)
    figure.savefig(path)
    return True


def _columns(names: Mapping[str, Any]) -> int:
    """Of the legend."""
    longest = max(len(name) for name in names)
    return 1 if longest > 70 else 2 if longest > 35 else 3


def _panels(drawn: Drawn) -> list[Any]:
    """The functions that draw a panel each, of those that there is something to draw in."""
    every = [x for found in drawn.values() for x in found]
    panels: list[Any] = [_deltas, _activations, _gradients]
    if any(x.kernel and x.kernel.ratio for x in every):
        panels.append(_steps)
    if any(x.slope is not None for x in every):
        panels.append(_units)
    if any(x.over_time is not None and len(x.over_time) > 1 for x in every):
        panels.append(_times)
    return panels


def _deltas(axes: Any, drawn: Drawn, order: Mapping[str, int]) -> None:
    for i, found in enumerate(drawn.values()):
        _line(axes, found, order, [x.delta for x in found], i)
    _layer_axis(axes, order, "δ = ∂L/∂a, ‖δ‖/√units", logarithmic=True)
    # From the topmost sigmoid down, where a flow has a row of them: no weights below one leave more than this.
    for found in drawn.values():
        sigmoids = [x for x in found if x.place.activation in ("sigmoid", "logistic") and x.delta > 0]
        if len(sigmoids) > 2:
            xs = [order[x.name] for x in sigmoids]
            falling = sigmoids[-1].delta * SIGMOID ** np.arange(len(xs) - 1, -1, -1.0)
            axes.plot(xs, falling, color="#555555", ls="--", lw=1.2, zorder=1)
            middle = len(xs) // 2
            axes.annotate("0.25 per layer", (xs[middle], falling[middle]), xytext=(-6, 5), textcoords="offset points",
                          ha="right", fontsize=8, color="#555555")  # fmt: skip
            return


def _activations(axes: Any, drawn: Drawn, order: Mapping[str, int]) -> None:
    for i, found in enumerate(drawn.values()):
        _line(axes, found, order, [x.activation for x in found], i)
    _layer_axis(axes, order, "activation Φ(a), root mean square", logarithmic=True)


def _gradients(axes: Any, drawn: Drawn, order: Mapping[str, int]) -> None:
    for i, found in enumerate(drawn.values()):
        _line(axes, found, order, [x.kernel.gradient if x.kernel else None for x in found], i)
    _layer_axis(axes, order, "gradient of the weights, ‖∂L/∂w‖", logarithmic=True)


def _steps(axes: Any, drawn: Drawn, order: Mapping[str, int]) -> None:
    for i, found in enumerate(drawn.values()):
        _line(axes, found, order, [x.kernel.ratio if x.kernel else None for x in found], i)
    axes.axhline(USUAL, color="#555555", ls="--", lw=1.2, zorder=1)
    axes.annotate("customary", (0, USUAL), xycoords=("axes fraction", "data"), xytext=(4, 2),
                  textcoords="offset points", va="bottom", fontsize=8, color="#555555")  # fmt: skip
    _layer_axis(axes, order, "size of a step, ‖Δw‖/‖w‖", logarithmic=True)


def _units(axes: Any, drawn: Drawn, order: Mapping[str, int]) -> None:
    for i, found in enumerate(drawn.values()):
        measured = [x for x in found if x.slope is not None]
        _line(axes, measured, order, [100 * (x.saturated_share or 0) for x in measured], i)
        _line(axes, measured, order, [100 * (x.dead_share or 0) for x in measured], i, hollow=True)
    _layer_axis(axes, order, "units saturated (filled) and dead (hollow), %", logarithmic=False)
    axes.set(ylim=(-4, 104))


def _times(axes: Any, drawn: Drawn, order: Mapping[str, int]) -> None:
    """δ over time of each recurrent layer; those of one flow have one colour."""
    shown = ("-", "--", "-.", ":")
    for i, found in enumerate(drawn.values()):
        looped = [(x.place, x.over_time) for x in found if x.over_time is not None and len(x.over_time) > 1]
        for j, (place, deltas) in enumerate(looped):
            # Names once: all flows have their layers in the same kinds of line.
            own = {**_style(i), "ls": shown[j % len(shown)], "ms": 3, "label": _short(place.name) if i == 0 else None}
            steps = np.arange(len(deltas))[:: -1 if place.reverse else 1]
            axes.plot(steps, _positive(deltas), **own)
    if any(not line.get_label().startswith("_") for line in axes.lines[1:]):
        axes.legend(fontsize=7, handlelength=3.5, framealpha=0.7)
    axes.set_title("δ over time", loc="left", fontsize=10)
    axes.set(yscale="log", xlabel="time step")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _line(
    axes: Any, found: Sequence[Figures], order: Mapping[str, int], values: Sequence[float | None], i: int,
    hollow: bool = False,
) -> None:  # fmt: skip
    """A flow's values over its layers; what is not known or no number leaves a gap."""
    ys = np.asarray([np.nan if y is None else y for y in values], np.float64)
    own = {**_style(i), **({"mfc": "none", "ls": ":"} if hollow else {})}
    axes.plot([order[x.name] for x in found], ys, **own)


def _style(i: int) -> dict[str, Any]:
    wide = i == 0  # lines may lie on each other, and all others are to be compared with the first
    return {"color": _COLORS[i], "marker": _MARKERS[i], "ms": 6.5 if wide else 4.5, "lw": 2.8 if wide else 1.5}


def _layer_axis(axes: Any, order: Mapping[str, int], title: str, logarithmic: bool) -> None:
    every = -(-len(order) // NAMED)
    names = list(order)[::every]
    axes.set_xticks([order[name] for name in names], [_short(name) for name in names], rotation=90, fontsize=7.5)
    axes.set_xlim(-0.6, len(order) - 0.4)
    axes.set_title(title, loc="left", fontsize=10)
    if logarithmic:
        shown = np.concatenate([_positive(line.get_ydata()) for line in axes.lines])
        shown = shown[~np.isnan(shown)]
        if shown.size and shown.max() > LINEAR * shown.min():
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
            axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _short(name: str) -> str:
    """The last two parts of a path, or so much of them as there is room for."""
    if len(name) > LABEL:
        name = "…/" + "/".join(name.split("/")[-2:])
    return _plain(name if len(name) <= LABEL else f"…{name[1 - LABEL :]}")


def _positive(values: Any) -> Any:
    """Numbers with a logarithm; the others are gaps."""
    numbers = np.asarray(values, np.float64)
    return np.where(np.isfinite(numbers) & (numbers > 0), numbers, np.nan)


def _order(chains: Sequence[list[str]]) -> dict[str, int]:
    """The place of each layer on the axis: those of the longest network, and after each what only others have."""
    longest = max(chains, key=len)
    order = [*longest]
    for chain in chains:
        after = -1
        for name in chain:
            if name in order:
                after = order.index(name)
            else:
                after += 1
                order.insert(after, name)
    return {name: i for i, name in enumerate(order)}


def _plain(text: str) -> str:
    return text.replace("$", r"\$").lstrip("_")  # $ is mathematics, and a legend leaves out what begins with _
