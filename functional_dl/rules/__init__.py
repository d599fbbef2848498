"""Hand-written derivative rules, one per lax primitive; importing this package fills the table."""

from functional_dl.rules import (  # noqa: F401  (each fills its part of the table)
    arithmetic,
    calls,
    collectives,
    contractions,
    control_flow,
    convolutions,
    cumulative,
    custom_rules,
    eigen,
    elementwise,
    factorizations,
    fft,
    hessenberg,
    hi_primitives,
    indexing,
    linear_solve,
    monoids,
    nondifferentiable,
    ragged,
    reductions,
    reflectors,
    refs,
    remat,
    scan,
    scatters,
    schur,
    shapes,
    shard_map,
    shardings,
    singular_values,
    solves,
    sorting,
    special,
    windows,
)
from functional_dl.rules.book import STANDARD, Rulebook
from functional_dl.rules.registration import defvjp
from functional_dl.rules.table import (
    Augmented,
    Call,
    Rule,
    RuleError,
    Spliced,
    entries,
    generation,
    lookup,
    refuse,
    structural,
    vjp,
    zero,
)

__all__ = [
    "STANDARD", "Augmented", "Call", "Rule", "RuleError", "Rulebook", "Spliced", "defvjp", "entries",
    "generation", "lookup", "refuse", "structural", "vjp", "zero",
]  # fmt: skip
