"""Every primitive that JAX's public functions reach has a rule, a stated zero or a stated reason."""

from __future__ import annotations

import csv
from pathlib import Path

import jax
import pytest

from functional_dl import rules

# JAX's 217 primitives outside Pallas, as seen on 0.10.2, with a column for each later version.
ROWS = list(csv.DictReader((Path(__file__).parent / "primitives.csv").read_text(encoding="utf-8").splitlines()))
TABLE = rules.entries()
# Primitives whose name is not that of the table: JAX spells them differently from version to version.
LATER = {
    (0, 11): ["log2", "one_minus_square"],
    (0, 12): ["polynomial", "call_hi_primitive"],
}


def here(row: dict[str, str]) -> bool:
    """Whether the JAX installed has the primitive."""
    version = jax.__version_info__
    if version >= (0, 12):
        return row["also_in_0.12.0.1"] == "True"
    return version < (0, 11) or row["also_in_0.11.2"] == "True"


def test_the_table_is_whole() -> None:
    assert len(ROWS) == 217 and len({row["primitive"] for row in ROWS}) == 217


@pytest.mark.parametrize("row", [r for r in ROWS if here(r)], ids=lambda r: r["primitive"])
def test_primitive(row: dict[str, str]) -> None:
    rule = TABLE.get(row["primitive"])
    assert rule is not None, f"{row['primitive']} ({row['group']}; {row['reached_from_public_api_by']}) has no entry"
    if rule.kind in ("zero", "refused"):
        assert len(rule.reason.split()) > 1, f"{rule.name}: a {rule.kind} entry says why"
        # What JAX differentiates, we do not refuse.  (Callbacks have a JVP in JAX that raises; refs are turned into
        # values before rules are asked: tests/autodiff/test_refs.py.)
        raising = ("callbacks/ffi/debug", "refs/state")
        assert rule.kind == "zero" or row["derivative_in_jax"] in ("none", "zero") or row["group"] in raising, rule
    else:
        assert rule.fun is not None and rule.fun.__doc__, f"{rule.name}: a rule's docstring is its mathematics"


def test_primitives_of_newer_versions() -> None:
    due = {name for version, names in LATER.items() if jax.__version_info__ >= version for name in names}
    assert due <= TABLE.keys()
