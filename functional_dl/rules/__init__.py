"""Hand-written derivative rules, one per lax primitive; importing this package fills the table."""

from functional_dl.rules import (  # noqa: F401  (each fills its part of the table)
    arithmetic,
    calls,
    collectives,
    contractions,
    control_flow,
    convolutions,
    cumulative,
    elementwise,
    indexing,
    linear_solve,
    nondifferentiable,
    reductions,
    shapes,
    shard_map,
    shardings,
    sorting,
    special,
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
    refuse,
    structural,
    vjp,
    zero,
)

__all__ = [
    "Augmented", "Call", "Rule", "RuleError", "Spliced", "entries", "lookup", "refuse", "structural", "vjp", "zero",
]  # fmt: skip
