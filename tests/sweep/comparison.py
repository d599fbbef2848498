"""One entry under test: our first and second derivatives against JAX's, or against differences where JAX has none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import functional_dl as fdl
from tests.rules.contract import JAX_REFUSES, assert_equal, complex_normal, normal
from tests.sweep.entries import Entry
from tests.sweep.evaluation import evaluate

__all__ = ["compare"]


def compare(entry: Entry) -> None:
    """Values, types, gradients and second derivatives of ``entry`` equal JAX's as far as JAX goes.

    From the order on at which JAX raises, or is known to be wrong, central differences are the oracle.
    """
    args = tuple(jax.numpy.asarray(x) for x in entry.args)
    last = min(entry.order, entry.astray - 1, _refusal(entry, args) - 1 if entry.refused <= entry.order else 2)
    if last > 0:
        _against_jax(dataclasses.replace(entry, order=last), args)
    for order in range(last + 1, entry.order + 1):
        _against_differences(dataclasses.replace(entry, order=order), args)


def _against_jax(entry: Entry, args: tuple[Any, ...]) -> None:
    cts = _cotangents(entry, args)
    types: dict[Any, Any] = {}

    def both(*operands: Any) -> Any:
        return [_slopes(vjp, entry, types, *operands) for vjp in (fdl.vjp, jax.vjp)]

    flat = _run(both, (*cts, args)) if entry.traced else jax.tree.leaves(both(*cts, args))
    assert types[fdl.vjp] == types[jax.vjp], f"{entry}: types of the outputs"
    half, n, k = len(flat) // 2, len(cts[0]), len(args)
    for first, end, what in ((0, n, "value"), (n, n + k, "first order"), (n + k, half, "second order")):
        assert_equal(flat[first:end], flat[half + first : half + end], f"{entry}: {what}", entry.tolerance)


def _against_differences(entry: Entry, args: tuple[Any, ...]) -> None:
    """Our derivative of the function (order 1) or of our own pullback of it (order 2) along a random direction."""
    given, others = _cotangents(entry, args)
    n, k = len(given), len(args)
    if entry.order == 1:
        point, cts, function = args, given, lambda *xs: _floats(entry.fun(*xs))
        slopes = _run(lambda *operands: _slopes(fdl.vjp, entry, {}, *operands), (given, others, args))[n:]
    else:
        point, cts = (given, *args), others
        function = lambda ct, *xs: _slopes(fdl.vjp, dataclasses.replace(entry, order=1), {}, ct, None, xs)
        slopes = _run(lambda *operands: _slopes(fdl.vjp, entry, {}, *operands), (given, others, args))[n + k :]
    program = jax.make_jaxpr(function)(*point)
    for seed in (1, 2):
        direction = [np.asarray(d) for d in jax.tree.leaves(_random_like(point, seed))]

        def quotient(h: float, direction: list[Any] = direction) -> float:
            ends = [
                evaluate(program, [x + step * d for x, d in zip(jax.tree.leaves(point), direction, strict=True)])
                for step in (h, -h)
            ]
            change = [np.asarray(a) - np.asarray(b) for a, b in zip(*ends, strict=True)]
            return sum(_products(jax.tree.leaves(cts), change)) / (2 * h)

        terms = _products(slopes, direction)
        due, found = (4 * quotient(5e-4) - quotient(1e-3)) / 3, sum(terms)
        assert abs(due - found) <= 1e-6 * max(1e-3, *map(abs, terms)), f"{entry}: {found}, by differences {due}"


def _products(cts: Sequence[Any], tangents: Sequence[Any]) -> list[float]:
    """What each pair contributes to a directional derivative: JAX's convention for complex numbers, unconjugated."""
    return [float(np.sum(np.real(np.asarray(a) * b))) for a, b in zip(cts, tangents, strict=True)]


def _run(fun: Callable[..., Any], operands: Any) -> list[Any]:
    return evaluate(jax.make_jaxpr(fun)(*operands), jax.tree.leaves(operands))


def _is_float(x: Any) -> bool:
    return bool(jax.dtypes.issubdtype(x.dtype, np.inexact))


def _floats(tree: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(tree) if _is_float(x)]


def _random_like(tree: Any, seed: int) -> Any:
    """Random numbers of the shapes and types of ``tree``, another seed for each leaf."""
    leaves, structure = jax.tree.flatten(tree)
    draws = []
    for i, x in enumerate(leaves):
        draw = complex_normal if np.issubdtype(x.dtype, np.complexfloating) else normal
        draws.append(jax.numpy.asarray(draw(*x.shape, seed=seed + 10 * i), x.dtype))
    return jax.tree.unflatten(structure, draws)


def _cotangents(entry: Entry, args: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """For the floating outputs; and for those and the gradients, when they are differentiated again."""
    out = jax.eval_shape(entry.fun, *args) if entry.traced else entry.fun(*args)
    given = _random_like(_floats(out), seed=5)
    return given, (_random_like(given, seed=6), _random_like(args, seed=7))


def _slopes(vjp: Any, entry: Entry, types: Any, given: list[Any], others: Any, args: tuple[Any, ...]) -> Any:
    """Values, gradients for the cotangents ``given``, and the derivative of both contracted with ``others``."""

    def pulled(cts: list[Any], *xs: Any) -> Any:
        out, back = vjp(entry.fun, *xs)
        types[vjp] = jax.tree.map(jax.typeof, out)
        leaves, tree = jax.tree.flatten(out)
        it = iter(cts)
        full = [next(it) if _is_float(x) else np.zeros(x.shape, jax.dtypes.float0) for x in leaves]
        return _floats(leaves), back(jax.tree.unflatten(tree, full))

    if entry.order == 1:
        return pulled(given, *args)
    (values, gradients), second = vjp(pulled, given, *args)
    return values, gradients, second(others)


def _refusal(entry: Entry, args: tuple[Any, ...]) -> int:
    """The lowest order at which the JAX at hand raises; 3 where it does not."""
    for order in (1, 2):
        lower = dataclasses.replace(entry, order=order)
        try:
            _run(lambda *xs, lower=lower: _slopes(jax.vjp, lower, {}, *xs), (*_cotangents(entry, args), args))
        except JAX_REFUSES:
            assert order >= entry.refused, f"{entry}: JAX raises at order {order} already"
            return order
    return 3
