"""Hand-written derivative rules, one per lax primitive; importing this package fills the table."""

from functional_dl.rules import (
    arithmetic,
    calls,
    contractions,
    control_flow,
    convolutions,
    cumulative,
    elementwise,
    indexing,
    nondifferentiable,
    reductions,
    shapes,
    sorting,
    windows,
)
from functional_dl.rules.table import (
    Augmented,
    Call,
    Rule,
    RuleError,
    Spliced,
    entries,
    lookup,
    structural,
    vjp,
    zero,
)

__all__ = [
    "Augmented", "Call", "Rule", "RuleError", "Spliced", "arithmetic", "calls", "contractions", "control_flow",
    "convolutions", "cumulative", "elementwise", "entries", "indexing", "lookup", "nondifferentiable", "reductions",
    "shapes", "sorting", "structural", "vjp", "windows", "zero",
]  # fmt: skip
