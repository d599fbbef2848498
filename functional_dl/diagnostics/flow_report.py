"""A Flow as a table for the terminal and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from functional_dl.diagnostics.diagnosis import diagnose
from functional_dl.diagnostics.flow import Flow, Place
from functional_dl.diagnostics.flow_figures import SATURATED, Figures, Kernel, figures
from functional_dl.diagnostics.plain_tables import add_row, plain_table, short_line

__all__ = ["tables", "to_json"]

NAME = 30  # characters of a layer's name in one line
_CAPTION = (
    "a, Φ(a): root mean square of the entries;  δ: ‖∂L/∂a‖/√units;  /next: δ over that of the row below\n"
    "‖∂L/∂w‖: of the layer's kernel"
)
_STEPS = ", as is ‖Δw‖/‖w‖, a step's size"
_UNITS = (
    f"\nsaturated: units whose slope is under {SATURATED:.0%} of the steepest on average;  "
    "dead: units whose slope is 0 on all data"
)
_LOOPS = "\nfirst → last: of a loop's iterations;  ×0.9 a step: the geometric mean going back through it"


def tables(flow: Flow) -> list[Table]:
    """One row for each layer and named place, in the order of the forward pass; a loop's iterations are one row.

    The width suits 130 columns and more.
    """
    found = figures(flow)
    units, updates = any(x.slope is not None for x in found), any(x.kernel and x.kernel.ratio for x in found)
    columns = [
        ("layer", "whole"), ("a", "right"), ("Φ", "left"), ("Φ(a)", "right"), ("δ", "right"), ("/next", "right"),
        ("‖∂L/∂w‖", "right"), *([("‖Δw‖/‖w‖", "right")] if updates else []),
        *([("saturated", "right"), ("dead", "right")] if units else []), ("line", "whole"),
    ]  # fmt: skip
    looped = any(x.place.times is not None for x in found)
    caption = _CAPTION + _STEPS * updates + _UNITS * units + _LOOPS * looped
    table = plain_table(f"the backward pass, layer by layer; loss {float(flow.loss):.4g}", *columns, caption=caption)
    rows = _by_place(found)
    for i, (place, own) in enumerate(rows):
        above = rows[i + 1][1][0] if i + 1 < len(rows) else None
        kernels = [x.kernel for x in own if x.kernel is not None]
        cells = [
            _name(place), _span([x.value for x in own]), _activation(place), _span([x.activation for x in own]),
            _span(_deltas(own)), _ratio(own, above), _span([k.gradient for k in kernels]),
        ]  # fmt: skip
        if updates:
            cells.append(_number(kernels[0].ratio) if kernels and kernels[0].ratio is not None else "")
        if units:
            cells += [_share(x.saturated_share for x in own), _share(x.dead_share for x in own)]
        add_row(table, *cells, _line(place.line), style=None if place.parameters else "dim")
    return [table]


def _by_place(found: Sequence[Figures]) -> list[tuple[Place, list[Figures]]]:
    rows: dict[str, tuple[Place, list[Figures]]] = {}
    for x in found:
        rows.setdefault(x.place.name, (x.place, []))[1].append(x)
    return list(rows.values())


def _name(place: Place) -> str:
    """The name and how often a loop makes it; broken after a slash where it is long."""
    lines = [""]
    for part in re.findall("[^/]*/?", place.name):
        if lines[-1] and len(lines[-1] + part) > NAME:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines) + ("" if place.times is None else f" ×{place.times}")


def _activation(place: Place) -> str:
    """Each name once, of gates of one cell."""
    return ", ".join(dict.fromkeys(place.activation.split(", ")))


def _deltas(own: Sequence[Figures]) -> list[float]:
    """δ of each iteration, of whatever kind the loop is."""
    first = own[0].over_time
    return [x.delta for x in own] if first is None else [float(delta) for delta in first]


def _ratio(own: Sequence[Figures], above: Figures | None) -> str:
    deltas = _deltas(own)
    if len(deltas) > 1:
        change = deltas[0] / deltas[-1] if deltas[-1] else np.nan
        return f"×{change ** (1 / (len(deltas) - 1)):.2g}\na step"
    return f"{own[0].delta / above.delta:.2g}" if above is not None and above.delta else ""


def _span(values: Sequence[float]) -> str:
    """The one value, or the first and the last."""
    if not values:
        return ""
    return _number(values[0]) if len(values) == 1 else f"{_number(values[0])}\n→ {_number(values[-1])}"


def _number(value: float) -> str:
    return f"{value:.2e}" if value and not 1e-2 <= abs(value) < 1e4 else f"{value:.3g}"


def _line(line: str) -> str:
    """The file with its folder, and the line; the layer's name says more than the function's."""
    return "/".join(short_line(line).partition(" (")[0].split("/")[-2:])


def _share(shares: Iterable[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return f"{np.mean(known):.0%}" if known and any(known) else "-" if known else ""


def to_json(flows: Mapping[str, Flow]) -> str:
    """All figures and findings of each flow, for programs to read; what is not finite is ``null``."""
    content = {
        name: {
            "loss": float(flow.loss),
            "findings": [asdict(finding) for finding in diagnose(flow)],
            "layers": [_layer(x) for x in figures(flow)],
        }
        for name, flow in flows.items()
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _layer(x: Figures) -> dict[str, Any]:
    kernel = x.kernel or Kernel("", np.nan, np.nan, None)
    return {
        "name": x.name, "kind": x.place.kind, "line": x.place.line, "activation": x.place.activation,
        "shape": x.place.shape, "parameters": x.place.parameters,
        "value_rms": x.value, "activation_rms": x.activation, "delta": x.delta,
        "delta_over_time": None if x.over_time is None else x.over_time.tolist(),
        "kernel": kernel.path or None, "gradient_norm": kernel.gradient, "update_ratio": kernel.ratio,
        "saturated_share": x.saturated_share, "dead": x.dead,
    }  # fmt: skip


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(x) for key, x in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(x) for x in content]
    return None if isinstance(content, float) and not np.isfinite(content) else content
