"""Hand-written derivative rules, one per lax primitive; importing this package fills the table."""

from functional_dl.rules.table import Augmented, Call, Rule, RuleError, entries, lookup, structural, vjp, zero

__all__ = ["Augmented", "Call", "Rule", "RuleError", "entries", "lookup", "structural", "vjp", "zero"]
