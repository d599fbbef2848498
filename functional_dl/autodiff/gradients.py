"""The transforms of scalar functions: `value_and_grad` and `grad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import jax
from jax.tree_util import tree_flatten, tree_structure, tree_unflatten

from functional_dl.autodiff.arguments import as_array, check_input, check_output, split_arguments
from functional_dl.autodiff.backward import Joint, lean
from functional_dl.autodiff.budget import differentiated
from functional_dl.autodiff.halves import Differentiation
from functional_dl.autodiff.pullback import Rules, filled
from functional_dl.autodiff.record import reverse
from functional_dl.autodiff.recording import record
from functional_dl.autodiff.tracing import Flat, trace_function
from functional_dl.avals import full, is_varying
from functional_dl.jaxprs import Graph, Literal, Var, describe, evaluate, prune

__all__ = ["grad", "value_and_grad"]


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    rules: Rules = None,
    memory: str | int = "auto",
) -> Callable[..., Any]:
    """A function that returns the value of ``fun`` and its gradient; the counterpart of `jax.value_and_grad`.

    Args:
      fun: a function with a scalar output.
      argnums: the positional argument(s) to differentiate with respect to.
      has_aux: whether ``fun`` returns ``(output, aux)``.
      holomorphic: whether ``fun`` is promised to be holomorphic.
      allow_int: whether integer inputs are allowed; their gradient has dtype float0.
      rules: derivative rules for this differentiation alone, in place of the table's; see `functional_dl.rules.book`.
      memory: what is kept of the forward for the backward: ``"auto"``, the fewest bytes from which the rest can be
        made again without repeating an expensive operation; ``"keep"``, all that the rules read; ``"least"``, what
        gives the lowest peak that can be reached; or the bytes that intermediates may take at the peak, for which the
        fewest operations are repeated.  With the last two the function is traced, also outside `jax.jit`.

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
    how = (argnums, has_aux, holomorphic, allow_int, Differentiation.by(rules, memory))

    @wraps(fun)
    def evaluated(*args: Any, **kwargs: Any) -> Any:
        return _value_and_grad("value_and_grad", fun, *how, args, kwargs)

    return evaluated


def _value_and_grad(
    who: str,
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    differentiate: Differentiation,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    want_value: bool = True,
) -> Any:
    chosen_fun, chosen = split_arguments(who, fun, argnums, args, kwargs)
    leaves, in_tree = tree_flatten(tuple(chosen))
    for x in leaves:
        check_input(who, holomorphic, allow_int, x)
    flat = Flat(chosen_fun, in_tree, has_aux)

    def seed(avals: Sequence[Any], constants: dict[Any, Any]) -> Any:
        """The cotangent of the output, one, once the output is known to be a real scalar: a literal, or a constant."""
        tree = flat.out_tree
        if len(avals) != 1 or tree != tree_structure(0) or avals[0].shape != ():
            what = describe(avals[0]) if tree == tree_structure(0) else str(tree)
            raise TypeError(
                f"Gradient only defined for scalar-output functions. Output of {chosen_fun.__name__} was {what}. "
                "Reduce it to a scalar, or use vjp or jacrev."
            )
        check_output(who, holomorphic, avals[0])
        aval = avals[0].to_ct_aval()
        if not is_varying(aval):
            return Literal(1.0 if aval.weak_type else aval.dtype.type(1), aval)
        one = Var(aval)  # inside a shard_map a literal would be one value for all devices
        constants[one] = full(aval, 1)
        return one

    if differentiate.is_staged:
        graph = trace_function(flat, leaves, differentiate)
        n, in_avals = flat.out_count, graph.in_avals
        constants: dict[Any, Any] = {}
        one = seed(graph.out_avals[:n], constants)
        seeded = [i < n for i in range(len(graph.outputs))]
        program = differentiated(graph, [True] * len(leaves), seeded, differentiate)
        found = [g is not None for g in program.gradients]
        if not want_value:
            program.outputs[0] = one  # nobody reads the value: what only it needs is dropped
        program.constvars += constants.keys()
        program.consts += constants.values()
        m = len(program.outputs)
        values = evaluate(_bind_seed(program, one), leaves)
        outs, slopes = values[:m], values[m:]
    else:
        leaves = [as_array(x) for x in leaves]
        in_avals = [jax.typeof(x) for x in leaves]
        outs, variables, kept = record(flat, leaves, differentiate)
        n = flat.out_count
        one = seed([jax.typeof(y) for y in outs[:n]], kept.values)
        backward, found = reverse(kept, variables[:n], [one])
        del kept
        slopes = evaluate(backward, [])
    gradient = tree_unflatten(in_tree, filled(iter(slopes), found, in_avals))
    gradient = gradient[0] if isinstance(argnums, int) else gradient
    value = tree_unflatten(flat.out_tree, outs[:n])
    return ((value, flat.aux(outs[n:])), gradient) if has_aux else (value, gradient)


def _bind_seed(program: Joint, one: Any) -> Graph:
    """The joint graph as a program of its inputs alone: the scalar output's cotangent is the literal one."""
    seed = program.cotangents[0]

    def bound(v: Any) -> Any:
        return one if v is seed else v

    eqns = [
        e if all(v is not seed for v in e.invars) else e.replace(invars=[bound(v) for v in e.invars])
        for e in program.backward
    ]
    ends = [*program.outputs, *[bound(g) for g in program.gradients if g is not None]]
    eqns = prune(eqns, ends)
    forward = lean(program, [*ends, *[v for eqn in eqns for v in eqn.invars]])
    return Graph(program.inputs, ends, [*forward, *eqns], program.constvars, program.consts)


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    rules: Rules = None,
    memory: str | int = "auto",
) -> Callable[..., Any]:
    """A function that returns the gradient of ``fun``; the counterpart of `jax.grad`.

    Arguments and errors are those of `value_and_grad`.

    Returns:
      A function that returns the gradient, or ``(gradient, aux)``.

    Example:
      >>> import functional_dl as fdl
      >>> print(fdl.grad(fdl.grad(lambda x: x ** 3))(2.0))
      12.0

      A straight-through estimator (Bengio, Léonard & Courville 2013): rounding, differentiated as the identity.

      >>> import jax.numpy as jnp
      >>> through = {"round": lambda ct, y, x, **params: (ct,)}
      >>> print(fdl.grad(lambda x: jnp.round(x) ** 2, rules=through)(2.6))
      6.0
    """
    how = (argnums, has_aux, holomorphic, allow_int, Differentiation.by(rules, memory))

    @wraps(fun)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, slope = _value_and_grad("grad", fun, *how, args, kwargs, False)
        return (slope, value[1]) if has_aux else slope

    return gradient
