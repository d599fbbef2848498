"""The learning curve of a run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

try:
    from matplotlib import figure as matplotlib_figure
except ImportError:  # the extra "plots" is not installed
    matplotlib_figure: Any = None  # type: ignore[no-redef]  # a module or nothing

__all__ = ["learning_curve"]


def learning_curve(lines: list[dict[str, Any]], title: str, path: Path, reference: tuple[str, float] | None) -> bool:
    """Draw training and test loss, and accuracy where there is one, against the step.

    Args:
      lines: a run's metrics.
      title: above the picture.
      path: where to write the PNG.
      reference: a loss to draw across, with its name.

    Returns:
      Whether it was drawn: not without matplotlib, nor before the first evaluation.
    """
    evaluations = [line for line in lines if "test" in line]
    if matplotlib_figure is None or not evaluations:
        return False
    figure = matplotlib_figure.Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    losses = figure.add_subplot()
    batches = [line for line in lines if "test" not in line]
    losses.plot([x["step"] for x in batches], [x["loss"] for x in batches], color="#c8d3e0", lw=1, label="batch loss")
    steps = [x["step"] for x in evaluations]
    losses.plot(steps, [x["train"]["loss"] for x in evaluations], color="#1f5fa8", marker=".", label="training loss")
    losses.plot(steps, [x["test"]["loss"] for x in evaluations], color="#c4501b", marker=".", label="test loss")
    if reference is not None:
        losses.axhline(reference[1], color="#777777", ls="--", lw=1, label=reference[0])
    losses.set(xlabel="step", ylabel="loss", yscale="log", title=title)
    losses.grid(alpha=0.3, which="both")
    handles, labels = losses.get_legend_handles_labels()
    if "accuracy" in evaluations[-1]["test"]:
        shares = losses.twinx()
        found = [100 * x["test"]["accuracy"] for x in evaluations]
        (drawn,) = shares.plot(steps, found, color="#2b8a3e", lw=1.2, ls=":", label="test accuracy")
        shares.set(ylabel="accuracy, %", ylim=(0, 102))
        handles, labels = [*handles, drawn], [*labels, "test accuracy"]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path)
    return True
