"""`defvjp`: a derivative rule for a primitive of the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from functional_dl.rules.table import Rule, RuleError, enter_user_rule, lookup

__all__ = ["defvjp"]


def defvjp(primitive: Any, rule: Callable[..., Any] | None = None) -> Any:
    """Enter a VJP rule for a primitive that functional_dl does not know, for all differentiations from now on.

    To put another rule in the place of one that is there, for one differentiation, see the argument ``rules`` of
    `functional_dl.grad`.

    Args:
      primitive: a `jax.extend.core.Primitive`, or its name.
      rule: ``rule(ct, y, *operands, **params)`` returns one cotangent per operand, each with the operand's shape and
        dtype, ``None`` where an operand takes none.  ``ct`` is the cotangent of the output and ``y`` the output; for
        a primitive with several outputs both are lists, with ``None`` for cotangents that do not arrive.  Rules are
        made of JAX operations, and are differentiated in turn for higher orders.  A rule that names its params as
        keyword-only arguments is safe against params it does not know.  Without ``rule``, a decorator.

    Returns:
      ``rule``.

    Raises:
      RuleError: the primitive has a rule of functional_dl's own, or ``rule`` is no function.

    Example:
      >>> import jax, jax.numpy as jnp, functional_dl as fdl
      >>> from jax.extend.core import Primitive
      >>> double_p = Primitive("example_double")
      >>> _ = double_p.def_impl(lambda x: 2 * x)
      >>> _ = double_p.def_abstract_eval(lambda x: x)
      >>> @fdl.defvjp(double_p)
      ... def double(ct, y, x):
      ...     return (2 * ct,)
      >>> print(fdl.grad(lambda x: double_p.bind(x) ** 2)(3.0))
      24.0
    """
    if rule is None:
        return lambda rule: defvjp(primitive, rule)
    name = getattr(primitive, "name", primitive)
    if not isinstance(name, str):
        raise RuleError(f"defvjp takes a Primitive or its name; it got {primitive!r}.")
    if not callable(rule):
        raise RuleError(f"defvjp takes a function as the rule of '{name}'; it got {rule!r}.")
    own = lookup(name)
    if own is not None and not own.user:
        raise RuleError(
            f"functional_dl has a rule for '{name}' ({own.kind}). To use another one for one differentiation, pass "
            f"rules={{{name!r}: rule}} to grad, value_and_grad or vjp."
        )
    enter_user_rule(Rule(name, "vjp", rule, keyword_params(rule), user=True))
    return rule


def keyword_params(rule: Callable[..., Any]) -> frozenset[str] | None:
    """The params that a rule names; ``None`` if it takes any."""
    kinds = inspect.signature(rule).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in kinds):
        return None
    return frozenset(p.name for p in kinds if p.kind is p.KEYWORD_ONLY)
