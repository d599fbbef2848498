"""Rules of functions that come with a rule of the user's own: `jax.custom_jvp` and `jax.custom_vjp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from functional_dl.jaxprs import describe, is_ref
from functional_dl.rules.custom_vjp import instantiated, run_backward, run_forward
from functional_dl.rules.linear import transposed
from functional_dl.rules.table import Augmented, Call, RuleError, Spliced, structural

__all__ = ["absent_tangent"]


@structural("custom_jvp_call", cacheable=False)
def custom_jvp_call(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """y = f(x) with the user's own ẏ = J(x) ẋ.   x̄ = J(x)ᵀ ȳ."""
    _, rule = call.primitive.get_bind_params(call.params)["subfuns"]
    n, m = len(call.in_avals), len(call.out_avals)
    symbolic = call.params["symbolic_zeros"]

    def jvp(*values: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        moving = iter(values[n:])
        operands = zip(call.active, call.in_avals, strict=True)
        tangents = [next(moving) if a else absent_tangent(t, symbolic) for a, t in operands]
        outs = rule.call_wrapped(*values[:n], *tangents)
        slopes = [
            instantiated(None, a) if isinstance(t, (SymbolicZero, ad.Zero)) else t
            for t, a in zip(outs[m:], call.out_avals, strict=True)
        ]
        return outs[:m], slopes

    return transposed(call, differentiate, jvp)


def absent_tangent(aval: Any, symbolic: bool) -> Any:
    """The tangent that a custom JVP rule is given for an operand that does not vary: zeros, symbolic if it asks so."""
    return SymbolicZero(aval.to_tangent_aval()) if symbolic else instantiated(None, aval)


@structural("custom_vjp_call", cacheable=False)
def custom_vjp_call(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y, r = fwd(x);   x̄ = bwd(r, ȳ), both the user's own.

    With ``symbolic_zeros`` they are told which operands are differentiated and which cotangents arrive.  The leading
    operands are what the function closed over; fwd and bwd have no say about those.
    """
    _, fwd, bwd = call.primitive.get_bind_params(call.params)["subfuns"]
    consts, symbolic = call.params["num_consts"], call.params["symbolic_zeros"]
    if True in call.active[:consts]:
        closed = call.in_avals[call.active.index(True)]
        raise RuleError(
            f"A custom_vjp function closes over a value ({describe(closed)}) that is being differentiated; its rule "
            "only says how to differentiate its arguments. Pass the value as an argument, or stop its gradient."
        )

    refs: dict[int, int] = {}  # residuals that are refs among the operands: a program cannot return those

    def forward(*operands: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        outs, residuals = run_forward(fwd, call.params["out_trees"], operands, call.active, consts)
        for k, x in enumerate(residuals):
            if is_ref(jax.typeof(x)):
                refs[k] = next(i for i, operand in enumerate(operands) if operand is x)
        return outs, [x for k, x in enumerate(residuals) if k not in refs]

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        own = iter(residuals)
        kept = [operands[refs[k]] if k in refs else next(own) for k in range(len(residuals) + len(refs))]
        found = run_backward(bwd, kept, cts, call.out_avals, call.in_avals[consts:], symbolic)
        return [*[None] * consts, *found]

    return Augmented(forward, backward)
