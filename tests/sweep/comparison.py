"""One entry under test: our first and second derivatives against JAX's, on one trace of both."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

import functional_dl as fdl
from tests.rules.contract import JAX_REFUSES, Case, assert_derivatives, assert_equal, complex_normal, normal
from tests.sweep.entries import Entry
from tests.sweep.evaluation import evaluate

__all__ = ["compare"]


def compare(entry: Entry) -> None:
    """Values, types, gradients and second derivatives of ``entry`` equal JAX's, or differences where JAX refuses."""
    args = tuple(jax.numpy.asarray(x) for x in entry.args)
    if entry.refused < 3 and (order := _refusal(entry, args)) < 3:
        assert order >= entry.refused, f"{entry}: JAX raises at order {order} already"
        assert_derivatives(Case(entry.name, entry.fun, args, entry.label, refused=order))
        return
    cts = _cotangents(entry, args)
    types: dict[Any, Any] = {}

    def both(*operands: Any) -> Any:
        return [_slopes(vjp, entry, types, *operands) for vjp in (fdl.vjp, jax.vjp)]

    if entry.traced:
        closed = jax.make_jaxpr(both)(*cts, args)
        flat = evaluate(closed, jax.tree.leaves((cts, args)))
    else:
        flat = jax.tree.leaves(both(*cts, args))
    assert types[fdl.vjp] == types[jax.vjp], f"{entry}: types of the outputs"
    half, n, k = len(flat) // 2, len(cts[0]), len(args)
    for first, last, what in ((0, n, "value"), (n, n + k, "first order"), (n + k, half, "second order")):
        assert_equal(flat[first:last], flat[half + first : half + last], f"{entry}: {what}", entry.tolerance)


def _is_float(x: Any) -> bool:
    return bool(np.issubdtype(x.dtype, np.inexact))


def _random_like(tree: Any, seed: int) -> Any:
    """Random numbers of the shapes and types of ``tree``, another seed for each leaf."""
    leaves, structure = jax.tree.flatten(tree)
    draws = []
    for i, x in enumerate(leaves):
        draw = complex_normal if np.issubdtype(x.dtype, np.complexfloating) else normal
        draws.append(jax.numpy.asarray(draw(*x.shape, seed=seed + 10 * i), x.dtype))
    return jax.tree.unflatten(structure, draws)


def _cotangents(entry: Entry, args: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """For the floating outputs; for the values, gradients and gradients of what they are contracted with."""
    out = jax.eval_shape(entry.fun, *args) if entry.traced else entry.fun(*args)
    given = _random_like([x for x in jax.tree.leaves(out) if _is_float(x)], seed=5)
    return given, (_random_like(given, seed=6), _random_like(args, seed=7))


def _slopes(vjp: Any, entry: Entry, types: Any, given: list[Any], others: Any, args: tuple[Any, ...]) -> Any:
    """Values, gradients for the cotangents ``given``, and the derivative of both contracted with ``others``."""

    def pulled(cts: list[Any], *xs: Any) -> Any:
        out, back = vjp(entry.fun, *xs)
        types[vjp] = jax.tree.map(jax.typeof, out)
        leaves, tree = jax.tree.flatten(out)
        it = iter(cts)
        full = [next(it) if _is_float(x) else np.zeros(x.shape, jax.dtypes.float0) for x in leaves]
        return [x for x in leaves if _is_float(x)], back(jax.tree.unflatten(tree, full))

    if entry.order == 1:
        return pulled(given, *args)
    (values, gradients), second = vjp(pulled, given, *args)
    return values, gradients, second(others)


def _refusal(entry: Entry, args: tuple[Any, ...]) -> int:
    """The lowest order at which the JAX at hand raises; 3 where it does not."""
    for order in (1, 2):
        lower = dataclasses.replace(entry, order=order)
        try:
            jax.make_jaxpr(lambda *operands, lower=lower: _slopes(jax.vjp, lower, {}, *operands))(
                *_cotangents(entry, args), args
            )
        except JAX_REFUSES:
            return order
    return 3
