"""The transforms of scalar functions: `value_and_grad` and `grad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
from jax.tree_util import tree_flatten, tree_structure, tree_unflatten

from functional_dl.autodiff.arguments import check_input, check_output, split_arguments
from functional_dl.autodiff.backward import joint
from functional_dl.autodiff.pullback import filled
from functional_dl.autodiff.tracing import trace_function
from functional_dl.jaxprs import Graph, Literal, describe, evaluate, prune

__all__ = ["grad", "value_and_grad"]


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """A function that returns the value of ``fun`` and its gradient; the counterpart of `jax.value_and_grad`.

    Args:
      fun: a function with a scalar output.
      argnums: the positional argument(s) to differentiate with respect to.
      has_aux: whether ``fun`` returns ``(output, aux)``.
      holomorphic: whether ``fun`` is promised to be holomorphic.
      allow_int: whether integer inputs are allowed; their gradient has dtype float0.

    Returns:
      A function of the same arguments that returns ``(value, gradient)``, or ``((value, aux), gradient)``; the
      gradient is a tuple if ``argnums`` is a sequence.

    Raises:
      TypeError: inputs or output of the wrong dtype, or a non-scalar output.

    Example:
      >>> import functional_dl as fdl
      >>> value, slope = fdl.value_and_grad(lambda x: x ** 2)(3.0)
      >>> print(value, slope)
      9.0 6.0
    """
    who = "value_and_grad"

    @wraps(fun)
    def evaluated(*args: Any, **kwargs: Any) -> Any:
        return _value_and_grad(who, fun, argnums, has_aux, holomorphic, allow_int, args, kwargs)

    return evaluated


def _value_and_grad(
    who: str,
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    want_value: bool = True,
) -> Any:
    chosen_fun, chosen = split_arguments(who, fun, argnums, args, kwargs)
    leaves, in_tree = tree_flatten(tuple(chosen))
    for x in leaves:
        check_input(who, holomorphic, allow_int, x)
    traced = trace_function(chosen_fun, chosen, has_aux)
    graph, n = traced.graph, traced.out_count
    out_avals = [v.aval for v in graph.outputs[:n]]
    if n != 1 or traced.out_tree != tree_structure(0) or out_avals[0].shape != ():
        what = describe(out_avals[0]) if traced.out_tree == tree_structure(0) else str(traced.out_tree)
        raise TypeError(
            f"Gradient only defined for scalar-output functions. Output of {chosen_fun.__name__} was {what}. "
            "Reduce it to a scalar, or use vjp or jacrev."
        )
    check_output(who, holomorphic, out_avals[0])
    program = joint(graph, [True] * len(leaves), [i < n for i in range(len(graph.outputs))])

    # One graph: values, auxiliary outputs and gradients, with the cotangent of the output set to one.
    aval = out_avals[0].to_tangent_aval()
    one = Literal(1.0 if aval.weak_type else np.ones((), aval.dtype), aval)
    gradients = [g for g in program.gradients if g is not None]
    if not want_value:
        program.outputs[0] = one  # nobody reads the value: what only it needs is dropped
    outputs = [*program.outputs, *gradients]
    whole = _bind_seed(program, one, outputs)
    values = evaluate(whole, leaves)
    m = len(program.outputs)
    found = [g is not None for g in program.gradients]
    slopes = tree_unflatten(in_tree, filled(iter(values[m:]), found, graph.in_avals))
    slope = slopes[0] if isinstance(argnums, int) else slopes
    value = tree_unflatten(traced.out_tree, values[:n])
    return ((value, traced.aux(values[n:m])), slope) if has_aux else (value, slope)


def _bind_seed(program: Any, one: Any, outputs: list[Any]) -> Graph:
    """The joint graph as a program of its inputs alone: the scalar output's cotangent is the literal one."""
    seed = program.cotangents[0]

    def bound(v: Any) -> Any:
        return one if v is seed else v

    eqns = [
        e if all(v is not seed for v in e.invars) else e.replace(invars=[bound(v) for v in e.invars])
        for e in program.backward
    ]
    ends = [bound(v) for v in outputs]
    return Graph(program.inputs, ends, prune([*program.forward, *eqns], ends), program.constvars, program.consts)


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """A function that returns the gradient of ``fun``; the counterpart of `jax.grad`.

    Arguments and errors are those of `value_and_grad`.

    Returns:
      A function that returns the gradient, or ``(gradient, aux)``.

    Example:
      >>> import functional_dl as fdl
      >>> print(fdl.grad(fdl.grad(lambda x: x ** 3))(2.0))
      12.0
    """

    @wraps(fun)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, slope = _value_and_grad("grad", fun, argnums, has_aux, holomorphic, allow_int, args, kwargs, False)
        return (slope, value[1]) if has_aux else slope

    return gradient
