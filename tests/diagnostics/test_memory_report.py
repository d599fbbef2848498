"""A ledger made by hand, as tables and as a picture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from functional_dl.diagnostics import memory_report
from functional_dl.diagnostics.memory_report import picture, tables
from functional_dl.planner.ledger import Account, Kept, Ledger, Read, Repeated, Span

MIB = 2**20
DENSE = str(Path.cwd() / "mine/dense.py:12:8 (dense.<locals>.apply)")
CELL = "/far/away/from/here/cell.py:7 (step)"


def kept(line: str, shape: tuple[int, ...], iterations: int = 0, at_peak: bool = True, path: str = "") -> Kept:
    size = 4 * int(np.prod(shape))
    return Kept(line, "dot_general", shape, "float32", size, iterations, (Read("mul", CELL),), at_peak, path)


LEDGER = Ledger(
    memory="auto",
    plan=Account(3 * MIB, 4 * MIB, 3_000_000, 12_000_000),
    keep=Account(6 * MIB, 8 * MIB, 0, 9_000_000),
    kept=(kept(CELL, (100, 64, 32), iterations=100), kept(DENSE, (256, 1024)), kept(DENSE, (16, 16), at_peak=False)),
    inputs=(kept("", (64, 32), path="params['dense'][0]"),),
    repeated=(Repeated(CELL, "tanh", 200, 2_000_000), Repeated(CELL, "mul", 100, 1_000_000)),
    steps=6,
    forward_steps=3,
    peak_step=4,
    spans=(Span(CELL, 0, 4, MIB), Span(DENSE, 1, 3, 2 * MIB), Span(DENSE, 4, 5, MIB // 2)),
    live=(MIB, 3 * MIB, 3 * MIB, 2 * MIB, 4 * MIB, MIB // 2),
)


def rendered(ledger: Ledger, width: int = 120) -> list[str]:
    """The lines of all tables, runs of blanks as one."""
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        for table in tables(ledger):
            console.print(table)
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_the_totals_stand_beside_those_of_keep() -> None:
    lines = rendered(LEDGER)
    assert "peak of the intermediates 4.00 MiB 8.00 MiB 0.50" in lines
    assert "kept for the backward 3.00 MiB 6.00 MiB 0.50" in lines
    assert "repeated operations 3.00 Mflop 0 flop -" in lines
    assert "all operations 12.00 Mflop 9.00 Mflop 1.33" in lines
    assert any("memory = 2.00 MiB" in line for line in rendered(replace(LEDGER, memory=2 * MIB)))


def test_what_is_kept_by_line() -> None:
    lines = rendered(LEDGER)
    first = next(i for i, line in enumerate(lines) if "1.00 MiB" in line)
    assert lines[first] == "1.00 MiB 56.2% ◐ f32[256,1024], dot_general ×2 mine/dense.py:12"
    assert lines[first + 1] == "f32[16,16] → mul cell:7 ×2 (dense.apply)"  # the file as it is called from here
    assert lines[first + 2] == "800.00 KiB 43.8% ● f32[64,32] ×100 dot_general …/from/here/cell.py:7"
    assert lines[first + 3] == "→ mul (step)"  # of the same line


def test_what_is_repeated_and_which_inputs_are_read() -> None:
    lines = rendered(LEDGER)
    assert "3.00 Mflop 300 tanh ×200, mul ×100 …/from/here/cell.py:7" in lines
    assert "8.00 KiB f32[64,32] mul cell:7 params['dense'][0]" in lines


def test_long_lists_end_with_the_others() -> None:
    many = tuple(kept(f"a.py:{i} (f)", (256, 40 - i)) for i in range(30))
    lines = rendered(replace(LEDGER, kept=many, inputs=tuple(replace(x, path=f"x[{x.line}]") for x in many)))
    total, rest = sum(x.size for x in many), sum(x.size for x in many[25:])
    assert f"{rest / 1024:.2f} KiB {rest / total:.1%} ● 5 values 5 others" in lines
    assert any("20 values 20 others" in line for line in lines)


@pytest.mark.parametrize(
    ("shape", "iterations", "due"),
    [((), 0, "f32[]"), ((5, 7), 5, "f32[7] ×5"), ((4, 5, 7), 20, "f32[7] ×20"), ((7, 3), 5, "f32[7,3] in a loop")],
)
def test_shapes_of_one_iteration(shape: tuple[int, ...], iterations: int, due: str) -> None:
    assert any(due in line for line in rendered(replace(LEDGER, kept=(kept(CELL, shape, iterations),))))


@pytest.mark.parametrize("width", [100, 130])
def test_nothing_is_cut_off(width: int) -> None:
    assert all(word in "\n".join(rendered(LEDGER, width)) for word in ("f32[64,32] ×100", "cell.py:7", "[0]"))


def test_an_empty_ledger_has_its_totals_alone() -> None:
    none = Account(0, 0, 0, 0)
    empty = Ledger("keep", none, none, (), (), (), 0, 0, -1, (), ())
    assert "kept for the backward 0 B 0 B 1.00" in rendered(empty)
    assert len(tables(empty)) == 1
    assert not picture(empty, Path("unwritten.png"), "nothing")


def test_the_picture_is_a_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    assert picture(LEDGER, tmp_path / "memory.png", "by hand, $1")
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    monkeypatch.setattr(memory_report, "matplotlib_figure", None)
    assert not picture(LEDGER, tmp_path / "none.png", "without matplotlib")
    assert not (tmp_path / "none.png").exists()


def test_the_areas_add_up_to_what_is_alive() -> None:
    """Also at step 3, where 2 MiB of the 3 of the spans are alive: a value is written over one that dies there."""
    names, areas, inside = memory_report._areas(LEDGER)
    assert names == ["mine/dense.py:12 (dense.apply)", "…/from/here/cell.py:7 (step)"]
    np.testing.assert_allclose(sum(areas) + inside, LEDGER.live)
    np.testing.assert_allclose(inside, [0, 0, 0, 0, 2.5 * MIB, 0])
    lines = [f"a.py:{i} (f)" for i in range(12)]
    spread = replace(LEDGER, spans=tuple(Span(line, 0, 5, 1000 + i) for i, line in enumerate(lines)))
    names, areas, _ = memory_report._areas(spread)
    assert names == [*reversed(lines[4:]), "others"] and areas[-1][0] == 4006


def test_json_round_trip() -> None:
    found: dict[str, Any] = json.loads(LEDGER.to_json())
    assert found.pop("peak_bytes") == 4 * MIB
    for name, kind in {"plan": Account, "keep": Account}.items():
        found[name] = kind(**found[name])
    for name in ("kept", "inputs"):
        rows = [{**row, "shape": tuple(row["shape"])} for row in found[name]]
        found[name] = tuple(Kept(**{**row, "readers": tuple(Read(**r) for r in row["readers"])}) for row in rows)
    found["repeated"] = tuple(Repeated(**row) for row in found["repeated"])
    found["spans"], found["live"] = tuple(Span(**row) for row in found["spans"]), tuple(found["live"])
    assert Ledger(**found) == LEDGER
