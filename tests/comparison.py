"""Our first and second derivatives of a function against JAX's, or against differences where JAX has none.

Programs are traced (so that ours are the engine's joint graphs), and run by `tests.evaluation`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import functional_dl as fdl
from tests.evaluation import evaluate, primitives_in
from tests.oracles import JAX_REFUSES, assert_equal, complex_normal, normal

__all__ = ["Subject", "against_differences", "against_jax", "refusal"]


@dataclass(frozen=True)
class Subject:
    """What is differentiated.

    Attributes:
      name: for messages.
      fun: a function of floating arrays.
      args: where; all are differentiated.
      order: to which order.
      tolerance: relative, of the comparison with JAX.
      traced: false to run it outside `jax.jit`.
    """

    name: str
    fun: Callable[..., Any]
    args: tuple[Any, ...]
    order: int = 2
    tolerance: float = 1e-9
    traced: bool = True


def against_jax(subject: Subject) -> None:
    """Values, types and derivatives up to ``subject.order`` are JAX's."""
    cts = _cotangents(subject)
    types: dict[Any, Any] = {}

    def both(*operands: Any) -> Any:
        return [_slopes(vjp, subject, types, *operands) for vjp in (fdl.vjp, jax.vjp)]

    flat = _run(both, (*cts, subject.args)) if subject.traced else jax.tree.leaves(both(*cts, subject.args))
    assert types[fdl.vjp] == types[jax.vjp], f"{subject.name}: types of the outputs"
    half, n, k = len(flat) // 2, len(cts[0]), len(subject.args)
    for first, end, what in ((0, n, "value"), (n, n + k, "first order"), (n + k, half, "second order")):
        assert_equal(flat[first:end], flat[half + first : half + end], f"{subject.name}: {what}", subject.tolerance)


def against_differences(subject: Subject, tolerance: float = 1e-6) -> None:
    """Our derivative of the function (order 1) or of our own pullback of it (order 2) along random directions."""
    given, others = _cotangents(subject)
    found_all = _run(lambda *operands: _slopes(fdl.vjp, subject, {}, *operands), (given, others, subject.args))
    if subject.order == 1:
        point, cts, function = subject.args, given, lambda *xs: _floats(subject.fun(*xs))
        slopes = found_all[len(given) :]
    else:
        point, cts = (given, *subject.args), others
        function = lambda ct, *xs: _slopes(fdl.vjp, dataclasses.replace(subject, order=1), {}, ct, None, xs)
        slopes = found_all[len(given) + len(subject.args) :]
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
        assert abs(due - found) <= tolerance * max(1e-3, *map(abs, terms)), (
            f"{subject.name}: {found}, by differences {due}"
        )


def _products(cts: Sequence[Any], tangents: Sequence[Any]) -> list[float]:
    """What each pair contributes to a directional derivative: JAX's convention for complex numbers, unconjugated."""
    return [float(np.sum(np.real(np.asarray(a) * b))) for a, b in zip(cts, tangents, strict=True)]


def _run(fun: Callable[..., Any], operands: Any) -> list[Any]:
    closed, leaves = jax.make_jaxpr(fun)(*operands), jax.tree.leaves(operands)
    # A mesh that exists only in a jit can only be resharded in one.
    whole = "reshard" in primitives_in(closed)
    return jax.jit(jax.extend.core.jaxpr_as_fun(closed))(*leaves) if whole else evaluate(closed, leaves)


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


def _cotangents(subject: Subject) -> tuple[list[Any], Any]:
    """For the floating outputs; and for those and the gradients, when they are differentiated again."""
    out = jax.eval_shape(subject.fun, *subject.args) if subject.traced else subject.fun(*subject.args)
    given = _random_like(_floats(out), seed=5)
    return given, (_random_like(given, seed=6), _random_like(subject.args, seed=7))


def _slopes(vjp: Any, subject: Subject, types: Any, given: list[Any], others: Any, args: tuple[Any, ...]) -> Any:
    """Values, gradients for the cotangents ``given``, and the derivative of both contracted with ``others``."""

    def pulled(cts: list[Any], *xs: Any) -> Any:
        out, back = vjp(subject.fun, *xs)
        types[vjp] = jax.tree.map(jax.typeof, out)
        leaves, tree = jax.tree.flatten(out)
        it = iter(cts)
        full = [next(it) if _is_float(x) else np.zeros(x.shape, jax.dtypes.float0) for x in leaves]
        return _floats(leaves), back(jax.tree.unflatten(tree, full))

    if subject.order == 1:
        return pulled(given, *args)
    (values, gradients), second = vjp(pulled, given, *args)
    return values, gradients, second(others)


def refusal(subject: Subject, due: int) -> int:
    """The lowest order at which the JAX at hand raises; 3 where it does not.  Before the order ``due`` it may not."""
    for order in (1, 2):
        lower = dataclasses.replace(subject, order=order)
        try:
            _run(lambda *xs, lower=lower: _slopes(jax.vjp, lower, {}, *xs), (*_cotangents(subject), subject.args))
        except JAX_REFUSES:
            assert order >= due, f"{subject.name}: JAX raises at order {order} already"
            return order
    return 3
