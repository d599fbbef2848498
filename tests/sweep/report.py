"""docs/coverage.md: what the sweep differentiates, what it leaves out and why, and where it goes on after JAX."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import jax

from tests.sweep.entries import Entry
from tests.sweep.surface import MODULES, TABLES, public_functions

__all__ = ["PATH", "render"]

PATH = Path(__file__).parents[2] / "docs" / "coverage.md"
Counts = list[int]
STATS = "jax.scipy.stats"
DISCRETE = "returns integers or booleans only (which is checked)"
HEAD = """# What the sweep covers

Written by `python -m tests.sweep`; `tests/sweep` checks that it is up to date. The sweep walks JAX's public modules and
differentiates every function in them that takes floating arrays: values, types, gradients and second derivatives
(reverse over reverse) equal `jax.vjp`'s, and central differences where JAX raises. A test fails on a public name that
is neither swept nor left out with a reason, so that a new JAX's new functions are seen.

## How many

Public functions / differentiated at first order / at second order, per version of JAX. A function that is swept may
be called in several ways: {calls} calls in all.

"""


def render(old: str, enter: bool = True) -> str:
    """The document, with the counts of the JAX at hand and those that ``old`` holds of other versions.

    Args:
      old: the document as it was.
      enter: whether a version that it does not have yet is entered.
    """
    counts = _counts_in(old)
    if enter or jax.__version__ in counts:
        counts[jax.__version__] = _counts()
    entries = [e for table in TABLES.values() for e in table.entries]
    left_out = [
        (reason, table.module, name)
        for table in TABLES.values()
        for name, reason in [*[(e.name, DISCRETE) for e in table.discrete], *table.excluded.items()]
    ]
    return "\n".join(
        [
            HEAD.format(calls=len(entries)) + _count_table(counts),
            "## Where `jax.grad` raises and ours goes on\n",
            "From the order in parentheses on some version of JAX raises; there central differences are the oracle.\n",
            _by_reason((e.why, e.module, f"{_call(e)} ({e.refused})") for e in entries if e.refused < 3),
            "## Where ours differs from `jax.grad`\n",
            "Central differences are the oracle here too.\n",
            _by_reason((e.why, e.module, f"{_call(e)} ({e.astray})") for e in entries if e.astray < 3),
            "## At first order only, or less closely\n",
            _by_reason((e.why, e.module, _call(e)) for e in entries if e.why and e.refused == e.astray == 3),
            "## Left out\n",
            "Classes are not walked, but for those that are swept. The others, by reason:\n",
            _by_reason(left_out),
        ]
    )


def _call(entry: Entry) -> str:
    return f"{entry.name}-{entry.label}" if entry.label else entry.name


def _by_reason(triples: Iterable[tuple[str, str, str]]) -> str:
    """A list with one item per reason, and in it the names for which it holds, by module."""
    groups: dict[str, dict[str, dict[str, None]]] = {}
    for reason, module, name in triples:
        groups.setdefault(reason, {}).setdefault(module, {})[name] = None
    lines = []
    for reason, modules in groups.items():
        lines.append(f"* {reason}")
        lines += [f"  * `{module}`: {', '.join(names)}" for module, names in modules.items()]
    return "\n".join(lines) + "\n"


def _counts() -> dict[str, Counts]:
    """Names that are public, differentiated, and twice so, by module; those of all distributions together."""
    found: dict[str, Counts] = {}
    for module in MODULES:
        table = TABLES.get(module)
        present = [e for e in table.entries if e.present] if table else []
        names = [public_functions(module), *[{e.name for e in present if e.order >= order} for order in (1, 2)]]
        row = module if not module.startswith(STATS) else f"{STATS}.*"
        if names[0]:
            found[row] = [len(n) + before for n, before in zip(names, found.get(row, [0, 0, 0]), strict=True)]
    return found


def _count_table(counts: dict[str, dict[str, Counts]]) -> str:
    versions = sorted(counts, key=lambda v: [int(n) for n in v.split(".")])
    rows = [["module", *versions], ["---", *["---:"] * len(versions)]]
    rows += [[row, *[_cell(counts[v].get(row, [])) for v in versions]] for row in counts[versions[-1]]]
    rows.append(["together", *[_cell([sum(n) for n in zip(*counts[v].values(), strict=True)]) for v in versions]])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _cell(numbers: Counts) -> str:
    return " / ".join(map(str, numbers))


def _counts_in(text: str) -> dict[str, dict[str, Counts]]:
    """The counts that a rendered document holds, by version and module."""
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\|.*\|$", text, re.MULTILINE)]
    counts: dict[str, dict[str, Counts]] = {version: {} for version in (rows[0][1:] if rows else [])}
    for row in rows[2:-1]:
        for version, cell in zip(counts, row[1:], strict=True):
            counts[version][row[0]] = [int(n) for n in cell.split(" / ")]
    return counts
