"""The ledger says what is kept and repeated, where it was made and who reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import functional_dl as fdl

WIDTH, BATCH, DEPTH = 32, 64, 5
X = jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.float32)
PARAMS = {
    "blocks": [{"w": jax.ShapeDtypeStruct((WIDTH, WIDTH), jnp.float32)} for _ in range(2)],
    "loop": jax.ShapeDtypeStruct((DEPTH, WIDTH, WIDTH), jnp.float32),
}
SQUARE = 4 * BATCH * WIDTH


def loss(params: Any, x: Any) -> Any:
    for block in params["blocks"]:
        x = jnp.tanh(x @ block["w"])  # unrolled

    def step(x: Any, w: Any) -> Any:
        h = x @ w  # in the loop
        return jnp.sin(jnp.exp(h) * h), None

    return jnp.sum(lax.scan(step, x, params["loop"])[0] ** 2)


def line(comment: str) -> str:
    """How the ledger names the line of this file that ends with ``comment``."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    number = next(i for i, text in enumerate(lines, 1) if text.endswith(f"# {comment}"))
    return f"{Path(__file__).name}:{number} "


@pytest.fixture
def book() -> fdl.Ledger:
    return fdl.ledger(loss, PARAMS, X)


def test_what_is_kept(book: fdl.Ledger) -> None:
    (stacked,) = [value for value in book.kept if value.primitive == "dot_general" and value.iterations]
    assert stacked.shape == (DEPTH, BATCH, WIDTH) and stacked.size == DEPTH * SQUARE and stacked.dtype == "float32"
    assert line("in the loop") in stacked.line and stacked.iterations == DEPTH and stacked.at_peak
    assert {"exp", "mul"} <= {read.primitive for read in stacked.readers}
    unrolled = [value for value in book.kept if line("unrolled") in value.line]
    assert [value.iterations for value in unrolled] == [0] * len(unrolled) and unrolled
    assert [value.size for value in book.kept] == sorted((value.size for value in book.kept), reverse=True)
    assert sum(size for _, size, _ in book.by_line()) == book.plan.kept_bytes == sum(v.size for v in book.kept)


def test_inputs_have_their_paths(book: fdl.Ledger) -> None:
    paths = {value.path for value in book.inputs}
    assert {"x", "params['blocks'][1]['w']", "params['loop']"} <= paths
    assert all(value.readers for value in book.inputs)


def test_what_is_repeated(book: fdl.Ledger) -> None:
    """Cheap operations, as often as the loop goes round; under ``least`` contractions as well."""
    times = {(r.primitive, line("in the loop") in r.line): r.times for r in book.repeated}
    assert times["exp", False] == DEPTH
    assert book.keep.repeated_flops == 0 and book.plan.flops == book.keep.flops + book.plan.repeated_flops
    least = fdl.ledger(loss, PARAMS, X, memory="least")
    products = sum(r.flops for r in least.repeated if r.primitive == "dot_general")
    assert products > 0 and least.peak_bytes < book.peak_bytes and least.plan.repeated_flops > book.plan.repeated_flops


def test_the_schedule(book: fdl.Ledger) -> None:
    assert len(book.live) == book.steps and max(book.live) == book.live[book.peak_step] == book.peak_bytes
    assert 0 < book.forward_steps < book.steps
    assert all(0 <= span.begin <= span.end < book.steps and span.size > 0 for span in book.spans)
    assert book.plan.peak_bytes < book.keep.peak_bytes and book.plan.kept_bytes < book.keep.kept_bytes


def test_a_budget_is_what_the_ledger_shows(book: fdl.Ledger) -> None:
    budget = int(0.75 * book.peak_bytes)
    found = fdl.ledger(loss, PARAMS, X, memory=budget)
    assert found.memory == budget and found.peak_bytes <= budget
    with pytest.raises(fdl.BudgetError):
        fdl.ledger(loss, PARAMS, X, memory=100)


def test_for_programs_and_people(book: fdl.Ledger) -> None:
    read = json.loads(book.to_json())
    assert read["peak_bytes"] == book.peak_bytes and len(read["kept"]) == len(book.kept)
    assert "memory='auto': peak" in str(book) and "test_ledger.py" in str(book)


def test_arguments() -> None:
    """Auxiliary output, several arguments, static ones, and arrays as well as their types."""
    with_aux = lambda w, x, scale: (jnp.sum(jnp.tanh(x @ w) * scale), {"rows": x})
    square = jnp.ones((WIDTH, WIDTH), jnp.float32)
    found = fdl.ledger(with_aux, square, X, 2.0, argnums=(0, -2), has_aux=True)
    assert [value.path for value in found.inputs if value.path == "w"] and found.plan.kept_bytes == SQUARE
    named = fdl.ledger(lambda w, kind: jnp.sum(getattr(jnp, kind)(w @ w)), square, "tanh")
    assert named.plan.kept_bytes == 4 * WIDTH * WIDTH
