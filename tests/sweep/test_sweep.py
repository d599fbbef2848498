"""The sweep itself, and that nothing public is missing from it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest

import functional_dl as fdl
from tests.sweep.comparison import compare
from tests.sweep.entries import Entry
from tests.sweep.report import PATH, render
from tests.sweep.surface import MODULES, TABLES, public_functions

ENTRIES = [entry for table in TABLES.values() for entry in table.entries if entry.present]
DISCRETE = [entry for table in TABLES.values() for entry in table.discrete if entry.present]


@pytest.fixture(autouse=True)
def lenient() -> Iterator[None]:
    """JAX's own functions promote ranks and warn of deprecations."""
    with jax.numpy_rank_promotion("allow"), jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# The default run takes the second order of every fourth function: the rules have theirs in tests/rules.
ONCE = [dataclasses.replace(entry, order=min(entry.order, 1)) if i % 4 else entry for i, entry in enumerate(ENTRIES)]
TWICE = [entry for i, entry in enumerate(ENTRIES) if i % 4 and entry.order > 1]


@pytest.mark.parametrize("entry", ONCE, ids=str)
def test_function(entry: Entry) -> None:
    compare(entry)


@pytest.mark.thorough
@pytest.mark.parametrize("entry", TWICE, ids=str)
def test_function_at_second_order(entry: Entry) -> None:
    compare(entry)


@pytest.mark.parametrize("name", ["jax.numpy.tanh", "jax.scipy.special.gammainc", "jax.lax.zeta"])
def test_a_wrong_pullback_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by a hundred thousandth, at an order where JAX is the oracle and at one where differences are."""

    def wrong(fun: Callable[..., Any], *args: Any) -> Any:
        out, back = right(fun, *args)
        return out, lambda ct: jax.tree.map(lambda x: x * (1 + 1e-5), back(ct))

    right = fdl.vjp
    entry = next(e for e in ENTRIES if str(e) == name)
    compare(entry)
    monkeypatch.setattr(fdl, "vjp", wrong)
    with pytest.raises(AssertionError):
        compare(entry)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_is_swept_or_left_out_with_a_reason(module: str) -> None:
    functions, table = public_functions(module), TABLES.get(module)
    swept = {entry.name for entry in table.entries + table.discrete} if table else set()
    left_out = set(table.excluded) if table else set()
    assert set(functions) - swept - left_out == set(), f"{module}: neither in tests/sweep's tables nor excluded there"
    assert swept & left_out == set(), f"{module}: swept and excluded"


def test_what_is_called_discrete_has_no_floating_output() -> None:
    for entry in DISCRETE:
        for out in jax.tree.leaves(jax.eval_shape(entry.fun, *entry.args)):
            assert not jax.dtypes.issubdtype(out.dtype, np.inexact), f"{entry} returns {out}"


def test_the_document_is_up_to_date() -> None:
    text = PATH.read_text(encoding="utf-8")
    assert render(text, enter=False) == text, "run python -m tests.sweep with every version of JAX that is installed"
