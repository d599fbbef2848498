"""The rule of ``custom_linear_solve``: implicit differentiation at the solution of a linear system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax import lax

from functional_dl.jaxprs import describe, evaluate, open_jaxpr
from functional_dl.rules.table import Augmented, Call, RuleError, structural

__all__: list[str] = []


@structural("custom_linear_solve")
def custom_linear_solve(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """A(p) x = b.   b̄ = A(p)⁻ᵀ x̄,   p̄ = −∂/∂p ⟨b̄, A(p) x⟩ at constant b̄ and x.

    The operands are the constants of four programs (matvec, vecmat, solve, transpose_solve) and then b; the outputs
    are x and then what the solver says about itself, which takes no cotangent.  b̄ comes from the same primitive with
    the programs of A and those of Aᵀ exchanged, so that this rule is its second derivative too.  Only the constants
    of matvec have cotangents: the others say how the system is solved, not which one.
    """
    lengths, programs = call.params["const_lengths"], call.params["jaxprs"]
    matvec, vecmat, solve, transpose_solve = programs
    if transpose_solve is None:
        raise RuleError(
            "transpose_solve required for backwards mode automatic differentiation of custom_linear_solve "
            f"(b is {', '.join(describe(a) for a in call.in_avals[sum(lengths) :])}): pass transpose_solve=, or "
            "symmetric=True if the matrix is symmetric."
        )
    flip = type(programs)
    transposed = {
        "const_lengths": type(lengths)(lengths[1], lengths[0], lengths[3], lengths[2]),
        "jaxprs": flip(vecmat, matvec, transpose_solve, solve),
    }
    b = len(call.in_avals) - sum(lengths)
    arriving = call.seeded[:b]
    coefficients = call.active[: lengths[0]]
    inner = differentiate(matvec, (*coefficients, *[False] * b), (True,) * b) if any(coefficients) else None

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        found: list[Any] = [None] * len(operands)
        if not any(arriving):
            return found
        consts, rest = [], list(operands)
        for n in lengths:
            consts.append(rest[:n])
            rest = rest[n:]
        x_bar = [lax.full_like(x, 0) if ct is None else ct for ct, x in zip(cts, rest, strict=False)]
        again = [*consts[1], *consts[0], *consts[3], *consts[2], *x_bar]
        b_bar = call.primitive.bind(*again, **transposed)[:b]
        found[sum(lengths) :] = b_bar
        if inner is not None:
            ahead = evaluate(open_jaxpr(inner.forward), [*consts[0], *ys[:b]])
            given = inner.residuals([*consts[0], *ys[:b]], ahead[:b], ahead[b:])
            seeds = [lax.neg(b_bar[i]) for i in inner.seeds]
            slopes = inner.spread(evaluate(open_jaxpr(inner.backward), [*given, *seeds]), lengths[0] + b)
            found[: lengths[0]] = slopes[: lengths[0]]
        return found

    return Augmented(None, backward)
