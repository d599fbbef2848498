"""A flow as tables, as JSON and as a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from functional_dl.diagnostics import Flow, Measures, flow_picture
from functional_dl.diagnostics.flow_picture import MOST, picture
from functional_dl.diagnostics.flow_report import tables, to_json
from tests.diagnostics.flows import chain, flow_of, layer, loop


def printed(flow: Flow, width: int = 150) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    for table in tables(flow):
        console.print(table)
    return console.export_text()


def row(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return line.split()


def test_a_row_for_each_layer() -> None:
    text = printed(chain([0.02, 0.1, 0.5], steepest={1: [0, 1, 1, 1]}))
    # value 2 over √(8 · 4) entries; δ; its ratio to the row below; the gradient; the step; nothing saturated; one dead.
    assert row(text, "l0") == ["l0", "0.354", "relu", "0.177", "0.02", "0.2", "3", "1.00e-03", "-", "-", "net.py:7"]
    assert row(text, "l1") == ["l1", "0.354", "relu", "0.177", "0.1", "0.2", "3", "1.00e-03", "-", "25%", "net.py:7"]
    assert row(text, "l2") == ["l2", "0.354", "0.354", "0.5", "3", "1.00e-03", "net.py:7"]


def test_what_was_not_measured_has_no_column() -> None:
    flow = flow_of([layer("a")], [Measures(1.0, 1.0, 1.0)])
    bare = Flow.of(1.0, None, {}, flow.places, flow.measures, {})
    assert "dead" not in printed(flow) and "‖Δw‖" in printed(flow)
    assert "‖Δw‖" not in printed(bare) and row(printed(bare), "a")[0] == "a"


def test_a_loop_is_one_row() -> None:
    flow = flow_of(*zip(loop("cell", [0.001, 0.01, 0.1]), strict=True))
    text = printed(flow)
    assert row(text, "cell")[:2] == ["cell", "×3"] and "×0.1" in row(text, "cell")
    assert "1.00e-03" in text and "→ 0.1" in text and "first → last" in text
    assert len([line for line in text.splitlines() if "cell" in line]) == 1


def test_scanned_layers_are_one_row() -> None:
    rows = [loop("q", [1.0, 2.0, 4.0], stacked=True), loop("r", [1.0, 1.0, 1.0], stacked=True)]
    text = printed(flow_of(*zip(*rows, strict=True)))
    assert "×0.5" in row(text, "q") and "×1" in row(text, "r")


def test_names_are_no_markup_and_long_ones_are_broken() -> None:
    text = printed(flow_of([layer("a[bold]/" + "x" * 20 + "/" + "y" * 20)], [Measures(1.0, 1.0, 1.0)]))
    assert "a[bold]/" in text and all(len(line) <= 150 for line in text.splitlines())
    assert any(line.strip().startswith("y" * 20) for line in text.splitlines())


def test_json_has_all_figures() -> None:
    flow = chain([0.01, np.nan, 0.5], steepest={0: [0, 1, 0, 1]})
    found = json.loads(to_json({"as it is": flow, "other": chain([1.0, 1.0])}))
    assert list(found) == ["as it is", "other"] and found["other"]["findings"][0]["kind"] == "healthy"
    first = found["as it is"]
    assert first["layers"][0]["dead"] == [0, 2] and first["layers"][0]["delta"] == pytest.approx(0.01)
    assert first["layers"][1]["delta"] is None and first["layers"][0]["kernel"] == "l0/kernel"
    assert first["findings"][0]["kind"] == "nonfinite" and first["loss"] == 1.5


# Pictures.


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Draw, and give the figure as well."""
    matplotlib_figure = pytest.importorskip("matplotlib.figure")
    made: list[Any] = []

    class Kept(matplotlib_figure.Figure):  # type: ignore[misc,name-defined]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(flow_picture.matplotlib_figure, "Figure", Kept)

    def draw(flows: dict[str, Flow]) -> Any:
        assert picture(flows, tmp_path / "flow.png", "a net: $x$")
        assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
        return made[-1]

    return draw


def panel(figure: Any, title: str) -> Any:
    (axes,) = [axes for axes in figure.axes if axes.get_title("left").startswith(title)]
    return axes


def test_flows_of_different_depth_are_lined_up_by_name(drawn: Any) -> None:
    figure = drawn({"as it is": chain([1e-6, 1e-4, 1e-2, 1.0]), "short": chain([0.5, 0.5])})
    axes = panel(figure, "δ =")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["l0", "l1", "l2", "l3"]
    long, short = axes.lines[:2]
    np.testing.assert_allclose(long.get_ydata(), [1e-6, 1e-4, 1e-2, 1.0])
    assert list(short.get_xdata()) == [0, 1] and axes.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["as it is", "short"]


def test_what_only_one_network_has_stands_where_it_has_it(drawn: Any) -> None:
    own = flow_of([layer(name) for name in ("l0", "own", "l1")], [Measures(1.0, 1.0, 1.0)] * 3)
    axes = panel(drawn({"as it is": chain([1.0] * 4), "other": own}), "δ =")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["l0", "own", "l1", "l2", "l3"]
    assert [list(line.get_xdata()) for line in axes.lines[:2]] == [[0, 2, 3, 4], [0, 1, 2]]


def test_the_line_of_a_sigmoid(drawn: Any) -> None:
    axes = panel(drawn({"as it is": chain([1e-6, 1e-4, 1e-2, 1.0], activation="sigmoid")}), "δ =")
    np.testing.assert_allclose(axes.lines[1].get_ydata(), 1e-2 * np.array([1 / 16, 1 / 4, 1]))
    assert len(panel(drawn({"as it is": chain([1e-6, 1e-4, 1e-2, 1.0])}), "δ =").lines) == 1


def test_dead_units_steps_and_times_have_panels(drawn: Any) -> None:
    figure = drawn({"as it is": chain([1.0, 1.0], steepest={0: [0, 1, 1, 1]})})
    assert [list(line.get_ydata()) for line in panel(figure, "units").lines] == [[0], [25]]
    assert panel(figure, "size of a step").lines[0].get_ydata() == pytest.approx([1e-3, 1e-3])
    assert not [axes for axes in figure.axes if "over time" in axes.get_title("left")]
    recurrent = drawn({"as it is": flow_of(*zip(loop("cell", [0.001, 0.0, 0.1]), strict=True))})
    drawn_over_time = panel(recurrent, "δ over time").lines[0].get_ydata()
    np.testing.assert_allclose(drawn_over_time, [0.001, np.nan, 0.1], rtol=1e-6)


def test_broken_flows_are_drawn_with_gaps(drawn: Any) -> None:
    drawn({"as it is": chain([np.nan, np.inf, 0.0]), "other": chain([np.nan] * 3)})


def test_what_cannot_be_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not picture({"empty": flow_of([], [])}, tmp_path / "x.png", "nothing")
    with pytest.raises(ValueError, match="can be told apart"):
        picture({str(i): chain([1.0]) for i in range(MOST + 1)}, tmp_path / "x.png", "too many")
    monkeypatch.setattr(flow_picture, "matplotlib_figure", None)
    assert not picture({"as it is": chain([1.0])}, tmp_path / "x.png", "no matplotlib")
    assert not list(tmp_path.iterdir())
