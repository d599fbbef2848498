"""The table of derivative rules: what the engine looks up for every equation it meets.

There are four kinds of entry, each keyed by ``eqn.primitive.name``:

* a **VJP rule** (`vjp`) is the calculus of one primitive and nothing else;
* a **structural rule** (`structural`) belongs to a primitive that carries programs of its own (``scan``, ``jit``,
  ``custom_vjp_call``, …).  It is handed the function that differentiates an inner program, so that rules never
  import the engine;
* a **stated zero** (`zero`) is a primitive whose outputs do not depend differentiably on its operands;
* a **stated reason** (`refuse`) is a primitive that no gradient can go through: it may stand where none has to.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from functional_dl.jaxprs import Graph

__all__ = [
    "Augmented", "Call", "Rule", "RuleError", "Spliced", "enter_user_rule", "entries", "generation", "lookup", "refuse",
    "structural", "vjp", "zero",
]  # fmt: skip


class RuleError(TypeError):
    """A primitive without a rule, or a rule that does not fit what JAX gave it."""


class Call(NamedTuple):
    """The equation that a structural rule differentiates, as far as a rule may know it.

    Attributes:
      primitive: the JAX primitive, to bind again.
      params: its parameters.
      in_avals: abstract values of the operands.
      out_avals: abstract values of the outputs.
      active: one flag per operand: whether a cotangent is wanted for it.
      seeded: one flag per output: whether a cotangent arrives there.
    """

    primitive: Any
    params: dict[str, Any]
    in_avals: Sequence[Any]
    out_avals: Sequence[Any]
    active: tuple[bool, ...]
    seeded: tuple[bool, ...]


@dataclass(frozen=True)
class Augmented:
    """What a structural rule answers: a forward that also returns residuals, and the backward that reads them.

    Attributes:
      forward: ``forward(*operands) -> (outputs, residuals)``, two sequences; ``None`` when the equation itself
        serves (then ``residuals`` is empty).
      backward: ``backward(cts, ys, residuals, *operands) -> cotangents``, one per operand (``None`` for none).
        ``cts`` holds ``None`` for outputs where no cotangent arrives.  Whatever it reads of ``ys``,
        ``residuals`` and ``operands`` is kept; whatever it does not read is not.
      origins: per residual, the halves of an inner program and its place among their residuals, for the ledger; may
        be left out.
    """

    forward: Callable[..., tuple[Sequence[Any], Sequence[Any]]] | None
    backward: Callable[..., Sequence[Any]]
    origins: Sequence[tuple[Any, int]] = ()


@dataclass(frozen=True)
class Spliced:
    """The same as graphs, for a structural rule that has them already and need not have them traced again.

    Attributes:
      forward: operands → outputs + residuals.
      backward: residuals + cotangents of the seeded outputs → cotangents of the operands in ``targets``.
      targets: the operands that receive a cotangent.
      halves: the inner program whose halves these are, for the ledger.
    """

    forward: Graph
    backward: Graph
    targets: tuple[int, ...]
    halves: Any = None


@dataclass(frozen=True)
class Rule:
    """One entry of the table.

    Attributes:
      name: the primitive's name.
      kind: ``"vjp"``, ``"structural"``, ``"zero"`` or ``"refused"``.
      fun: the rule (``None`` for a stated zero or reason).
      params: the names of the parameters the rule knows; ``None`` if it takes any.
      cacheable: whether equal equations may share one trace of the rule.
      reason: for a stated zero or a refusal, why.
      user: whether a user entered it.
    """

    name: str
    kind: str
    fun: Callable[..., Any] | None = None
    params: frozenset[str] | None = None
    cacheable: bool = True
    reason: str = ""
    user: bool = False


_TABLE: dict[str, Rule] = {}
_generation = 0


def _enter(rule: Rule) -> None:
    if rule.name in _TABLE:
        raise RuleError(f"There is already a rule for primitive '{rule.name}' ({_TABLE[rule.name].kind}).")
    _TABLE[rule.name] = rule


def enter_user_rule(rule: Rule) -> None:
    """Enter a user's rule, in the place of an earlier one of the user's."""
    global _generation
    _TABLE[rule.name] = rule
    _generation += 1


def generation() -> int:
    """A number that changes when what has been derived from the table may be out of date."""
    return _generation


def vjp(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a VJP rule for the primitives ``names``.

    The rule is called as ``rule(ct, y, *operands, **params)`` and returns one cotangent per operand, ``None``
    where an operand takes none (integers, indices).  For primitives with several outputs ``ct`` and ``y`` are
    lists, and ``ct[i]`` is ``None`` where no cotangent arrives.  Cotangents that nobody asked for are dropped,
    and with them every forward value that only they would have read, so a rule simply states them all.

    Every parameter of the primitive is a keyword-only argument of the rule, by name: a parameter that JAX adds
    must be an error, never a silently wrong gradient.  A parameter that only some JAX versions have gets a
    default.
    """

    def enter(fun: Callable[..., Any]) -> Callable[..., Any]:
        kinds = inspect.signature(fun).parameters.values()
        if any(p.kind is p.VAR_KEYWORD for p in kinds):
            raise RuleError(f"The rule {fun.__name__} takes **params; name every parameter.")
        params = frozenset(p.name for p in kinds if p.kind is p.KEYWORD_ONLY)
        for name in names:
            _enter(Rule(name, "vjp", fun, params))
        return fun

    return enter


def structural(*names: str, cacheable: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a structural rule: ``rule(call: Call, differentiate) -> Augmented | Spliced``.

    ``differentiate(closed_jaxpr, active, seeded)`` is the engine's own reverse mode for inner programs; see
    `functional_dl.autodiff.backward.halves`.  ``cacheable=False`` is for rules that call a user's Python
    functions, which may close over values that differ from call to call.
    """

    def enter(fun: Callable[..., Any]) -> Callable[..., Any]:
        for name in names:
            _enter(Rule(name, "structural", fun, None, cacheable))
        return fun

    return enter


def zero(reason: str, *names: str) -> None:
    """State that the outputs of ``names`` do not depend differentiably on their operands, and why."""
    for name in names:
        _enter(Rule(name, "zero", reason=reason))


def refuse(reason: str, *names: str) -> None:
    """State why no gradient goes through ``names``; one that arrives there is an error that gives the reason."""
    for name in names:
        _enter(Rule(name, "refused", reason=reason))


def lookup(name: str) -> Rule | None:
    """The entry for the primitive ``name``, or ``None``."""
    return _TABLE.get(name)


def entries() -> dict[str, Rule]:
    """A copy of the whole table."""
    return dict(_TABLE)
