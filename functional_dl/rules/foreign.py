"""The rule of primitives from elsewhere: their JVP, registered in JAX by their library, sent backward by our rules."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax

from functional_dl.jaxprs import describe
from functional_dl.rules.linear import transposed
from functional_dl.rules.table import Call, RuleError, Spliced

__all__ = ["foreign"]

_SAID: set[str] = set()
_UNDER_WAY = threading.local()


def foreign(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """ẏ = J(x) ẋ as the primitive's own library states it in forward mode.   x̄ = J(x)ᵀ ȳ.

    The JVP is traced at fixed primals; it is linear in the tangents, so its reverse pass with respect to them, by
    our own rules, is its transpose.  Nothing of JAX's reverse mode is used.  Said once per primitive.
    """
    primitive, params = call.primitive, call.params
    types = ", ".join(describe(a) for a in call.in_avals)
    remedy = f"Give it one with functional_dl.defvjp({primitive.name!r}, rule), or stop the gradient before it."

    def bind(*operands: Any) -> Any:
        return primitive.bind(*operands, **primitive.get_bind_params(params))

    def jvp(*values: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        n = len(call.in_avals)
        fixed, tangents = values[:n], values[n:]
        moved = [i for i, a in enumerate(call.active) if a]

        def along(*xs: Any) -> Any:
            full = list(fixed)
            for i, x in zip(moved, xs, strict=True):
                full[i] = x
            return bind(*full)

        ys, slopes = jax.jvp(along, [fixed[i] for i in moved], list(tangents))
        return (ys, slopes) if primitive.multiple_results else ([ys], [slopes])

    under_way = _UNDER_WAY.__dict__.setdefault("primitives", [])
    if primitive in under_way:
        raise RuleError(
            f"No derivative rule for primitive '{primitive.name}' ({types}): it is linear, so its JVP is made of "
            f"itself and says nothing of its transpose. {remedy}"
        )
    under_way.append(primitive)
    try:
        found = transposed(call, differentiate, jvp)
    except NotImplementedError as error:
        raise RuleError(
            f"No derivative rule for primitive '{primitive.name}' ({types}), and JAX has no JVP of it to transpose. "
            + remedy
        ) from error
    finally:
        under_way.remove(primitive)
    if primitive.name not in _SAID:
        _SAID.add(primitive.name)
        warnings.warn(
            f"functional_dl has no rule for primitive '{primitive.name}'; its JVP, as registered in JAX, is traced "
            f"and transposed instead. {remedy}",
            stacklevel=2,
        )
    return found
