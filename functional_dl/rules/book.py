"""The rules of one differentiation: the table, with what a user puts in its place for one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from functional_dl.rules.foreign import foreign
from functional_dl.rules.registration import keyword_params
from functional_dl.rules.table import Rule, RuleError, lookup

__all__ = ["STANDARD", "Rulebook", "called_name", "function_name"]

_CALLS = ("jit", "custom_jvp_call", "custom_vjp_call", "composite")


def function_name(debug_info: Any) -> str:
    """The name of a function, from what JAX notes of it."""
    return str(debug_info.func_src_info).split(" ", 1)[0]


def called_name(name: str, params: Mapping[str, Any]) -> str:
    """The name of the function that an equation of the call primitive ``name`` calls."""
    if "name" in params:
        return str(params["name"])
    return function_name(params["call_jaxpr"].jaxpr.debug_info)


class Rulebook:
    """Where the engine looks rules up.

    Args:
      overrides: rules for this differentiation alone, by the name of a primitive (``"round"``, ``"max"``) or, for a
        primitive that calls a function, by both names (``"custom_jvp_call:relu"``, ``"jit:norm"``).  A rule is
        ``rule(ct, y, *operands, **params) -> cotangents``, as for `functional_dl.defvjp`; one for a call gets no
        params; ``None`` states that no gradient goes through.

    Raises:
      RuleError: an override is neither a function nor ``None``, or its name names no primitive that can be called.
    """

    def __init__(self, overrides: Mapping[str, Callable[..., Any] | None] | None = None) -> None:
        self._overrides: dict[str, Rule] = {}
        for name, rule in (overrides or {}).items():
            if not isinstance(name, str):
                name = getattr(name, "name", name)  # a Primitive serves as well as its name
            if not isinstance(name, str) or not (rule is None or callable(rule)):
                raise RuleError(
                    f"rules= takes functions (or None) by the names of primitives; it got {rule!r} for {name!r}."
                )
            primitive, colon, function = name.partition(":")
            if colon and primitive not in _CALLS:
                raise RuleError(
                    f"rules= got {name!r}: a function's name may follow only {', '.join(_CALLS)}; {primitive} has none."
                )
            self._overrides[name] = self._entry(name, rule, called=bool(function))
        self._named = {name.partition(":")[0] for name in self._overrides if ":" in name}

    @staticmethod
    def _entry(name: str, rule: Callable[..., Any] | None, called: bool) -> Rule:
        if rule is None:
            return Rule(name, "zero", reason="asked for by the user")
        if called:
            return Rule(name, "vjp", lambda ct, y, *xs, **_: rule(*_single(ct, y), *xs), None, cacheable=False)
        return Rule(name, "vjp", rule, keyword_params(rule), cacheable=False)

    def override(self, primitive: str, function: Callable[[], str]) -> Rule | None:
        """The user's rule for a call of ``function()`` by the call primitive ``primitive``, if there is one."""
        found = self._overrides.get(primitive)
        if found is None and primitive in self._named:
            found = self._overrides.get(f"{primitive}:{function()}")
        return found

    def find(self, primitive: Any, params: Mapping[str, Any]) -> Rule:
        """The rule for an equation; that for foreign primitives where the table has none."""
        name = primitive.name
        if self._overrides:
            found = self.override(name, lambda: called_name(name, params))
            if found is not None:
                return found
        return lookup(name) or Rule(name, "structural", foreign, None, cacheable=True)


def _single(ct: Any, y: Any) -> tuple[Any, Any]:
    """A call with one output gives its rule that output, not a list of it."""
    return (ct[0], y[0]) if isinstance(y, (list, tuple)) and len(y) == 1 else (ct, y)


STANDARD = Rulebook()
