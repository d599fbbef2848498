"""The rule of `jax.lax.custom_root` (JAX 0.11 on): implicit differentiation at the root."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax import lax
from jax.tree_util import tree_leaves, tree_unflatten

from functional_dl.avals import zeros
from functional_dl.jaxprs import close, evaluate, open_jaxpr, trace
from functional_dl.rules.table import Augmented, Call, Spliced

__all__ = ["root", "root_map"]


def root(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """f(p, x) = 0.   p̄ = −∂/∂p ⟨λ, f(p, x)⟩   where   λ = (∂f/∂x)⁻ᵀ x̄.

    The user solves with ∂f/∂x, a map that is linear in its right-hand side; λ is what our reverse pass of that
    solution gives.  The operands are the constants of the solver, the guess, p, and the constants of the user's
    solution; p alone decides where the root is.
    """
    prim = call.params["_prim"]
    sizes = [len(tree_leaves(part)) for part in prim.in_avals]
    start, n = sizes[0] + sizes[1], sum(sizes[:3])
    unknowns = call.in_avals[sizes[0] : start]
    k = len(unknowns)
    guess_tree, p_tree, solve_tree = (prim.in_tree.children()[i] for i in (1, 2, 3))

    def residual(*values: Any) -> Sequence[Any]:
        p, x = tree_unflatten(p_tree, values[:-k]), tree_unflatten(guess_tree, values[-k:])
        return tree_leaves(prim.f(p, x))

    def solution(*values: Any) -> Sequence[Any]:
        consts = tree_unflatten(solve_tree, values[: sizes[3]])
        x = tree_unflatten(guess_tree, values[sizes[3] : sizes[3] + k])
        return tree_leaves(prim.tangent_solve(consts, x, tree_unflatten(guess_tree, values[sizes[3] + k :])))

    tangents = [a.to_tangent_aval() for a in unknowns]
    solve = differentiate(
        close(trace(solution, *call.in_avals[n:], *unknowns, *tangents)),
        (*[False] * (sizes[3] + k), *[True] * k),
        (True,) * k,
    )
    push = differentiate(
        close(trace(residual, *call.in_avals[start:n], *unknowns)),
        (*call.active[start:n], *[False] * k),
        (True,) * k,
    )

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        found: list[Any] = [None] * len(operands)
        if not any(call.seeded[:k]):
            return found
        x = ys[:k]
        x_bar = [zeros(a.to_ct_aval()) if ct is None else ct for ct, a in zip(cts[:k], unknowns, strict=True)]
        still = [zeros(a) for a in tangents]
        multipliers = _pulled(solve, [*operands[n:], *x, *still], x_bar)[sizes[3] + k :]
        against = [zeros(a) if m is None else lax.neg(m) for m, a in zip(multipliers, tangents, strict=True)]
        found[start:n] = _pulled(push, [*operands[start:n], *x], against)[: n - start]
        return found

    return Augmented(None, backward)


def _pulled(inner: Any, operands: Sequence[Any], cts: Sequence[Any]) -> list[Any]:
    """The reverse pass of an inner program at ``operands``."""
    ahead = evaluate(open_jaxpr(inner.forward), operands)
    outs = len(ahead) - len(inner.stored)
    given = inner.residuals(operands, ahead[:outs], ahead[outs:])
    slopes = evaluate(open_jaxpr(inner.backward), [*given, *[cts[i] for i in inner.seeds]])
    return inner.spread(slopes, len(operands))


def root_map(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """y = J v or Jᵀ v with J = ∂f/∂x at (p, x): the map that a user's ``tangent_solve`` is given.

    Jᵀ v is the reverse pass of f, and J v the reverse pass of that in its cotangent; what is differentiated is the
    program that computes them so.
    """
    prim = call.params["_prim"]
    p_tree, x_tree, _ = prim.in_tree.children()
    sizes = [len(tree_leaves(part)) for part in prim.in_avals]
    n, k = sum(sizes[:2]), sizes[1]
    points = call.in_avals[:n]

    def f(*values: Any) -> Sequence[Any]:
        return tree_leaves(prim.f(tree_unflatten(p_tree, values[:-k]), tree_unflatten(x_tree, values[-k:])))

    onward = close(trace(f, *points))
    ct_avals = [a.to_ct_aval() for a in onward.out_avals]
    pull = differentiate(onward, (*[False] * (n - k), *[True] * k), (True,) * len(ct_avals))

    def back(*values: Any) -> Sequence[Any]:
        found = _pulled(pull, values[:n], values[n:])[n - k :]
        return [zeros(a.to_ct_aval()) if ct is None else ct for ct, a in zip(found, points[n - k :], strict=True)]

    if prim.transposed:
        program = close(trace(back, *call.in_avals))
    else:
        backward = close(trace(back, *points, *ct_avals))
        push = differentiate(backward, (*[False] * n, *[True] * len(ct_avals)), (True,) * k)

        def along(*values: Any) -> Sequence[Any]:
            found = _pulled(push, [*values[:n], *[zeros(a) for a in ct_avals]], values[n:])[n:]
            return [zeros(a) if t is None else t for t, a in zip(found, ct_avals, strict=True)]

        program = close(trace(along, *call.in_avals))
    return differentiate(program, call.active, call.seeded).spliced()
