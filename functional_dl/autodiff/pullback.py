"""`vjp` and the pullback it returns: the backward graph with the residuals it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import primal_dtype_to_tangent_dtype
from jax.tree_util import (
    register_pytree_node_class,
    tree_flatten,
    tree_flatten_with_path,
    tree_structure,
    tree_unflatten,
)

from functional_dl.autodiff.arguments import as_array, check_array
from functional_dl.autodiff.backward import split
from functional_dl.autodiff.budget import differentiated
from functional_dl.autodiff.halves import Differentiation
from functional_dl.autodiff.record import reverse
from functional_dl.autodiff.recording import record
from functional_dl.autodiff.tracing import Flat, trace_function
from functional_dl.avals import conform, manual_type, zeros
from functional_dl.jaxprs import Graph, Var, describe, evaluate, is_float

__all__ = ["Pullback", "Rules", "filled", "vjp"]

Rules = Mapping[str, Callable[..., Any] | None] | None


@register_pytree_node_class
class Pullback:
    """The linear map from output cotangents to input cotangents, as `vjp` returns it.

    A pytree whose leaves are the kept residuals, so that it can be returned from `jax.jit`, donated, sharded or
    looked at; what they are is in ``residuals``.
    """

    def __init__(self, residuals: Sequence[Any], program: _Program) -> None:
        self.residuals = list(residuals)
        self._program = program

    def tree_flatten(self) -> tuple[list[Any], Any]:
        """Residuals as leaves; the backward program is static."""
        return self.residuals, self._program

    @classmethod
    def tree_unflatten(cls, program: Any, residuals: Sequence[Any]) -> Pullback:
        """Rebuild from leaves."""
        return cls(residuals, program)

    def __call__(self, cotangent: Any) -> tuple[Any, ...]:
        """Cotangents of the primals, a tuple, for the cotangent of the output (same structure, shapes, dtypes)."""
        return self._program.pull(self.residuals, cotangent)

    def __repr__(self) -> str:
        kept = ", ".join(describe(jax.typeof(r)) for r in self.residuals)
        return f"Pullback(residuals=[{kept}])"


class _Program:
    """The static half of a `Pullback`: its backward graph and the types it was made for."""

    def __init__(
        self, backward: Graph, in_tree: Any, out_tree: Any, in_avals: list, out_avals: list, found: list
    ) -> None:
        self.backward = backward
        self.in_tree, self.out_tree = in_tree, out_tree
        self.in_avals, self.out_avals, self.found = in_avals, out_avals, found

    def pull(self, residuals: Sequence[Any], cotangent: Any) -> tuple[Any, ...]:
        tree = tree_structure(cotangent)
        if tree != self.out_tree:
            raise ValueError(
                f"The cotangent given to a pullback has structure {tree}; the function's output has {self.out_tree}."
            )
        seeds = []
        for (path, ct), aval in zip(tree_flatten_with_path(cotangent)[0], self.out_avals, strict=True):
            came, due = jax.typeof(ct), aval.to_ct_aval()
            where = f"output{jax.tree_util.keystr(path)}"
            if came.shape != due.shape:
                raise ValueError(
                    f"The cotangent given for {where} is {describe(came)}; that output is {describe(aval)}, "
                    "and a cotangent has the shape of its output."
                )
            if came.dtype != due.dtype:
                raise TypeError(
                    f"The cotangent given for {where} is {describe(came)}; that output is {describe(aval)}, "
                    f"whose cotangents have dtype {due.dtype}. Convert it with .astype."
                )
            if due.dtype == jax.dtypes.float0:
                continue
            ct = conform(ct, due)
            if manual_type(jax.typeof(ct)) != manual_type(due):
                raise ValueError(
                    f"The cotangent given for {where} is {describe(came)}; that output is {describe(aval)}, and a "
                    "cotangent varies along the manual axes that its output varies along. Sum it over the others."
                )
            seeds.append(ct)
        gradients = iter(evaluate(self.backward, [*residuals, *seeds]))
        return tree_unflatten(self.in_tree, filled(gradients, self.found, self.in_avals))


def filled(gradients: Any, found: Sequence[bool], avals: Sequence[Any]) -> list[Any]:
    """A gradient per input: what was computed, zeros where nothing depends on it, float0 for integers."""
    out = []
    for exists, aval in zip(found, avals, strict=True):
        if exists:
            out.append(next(gradients))
        elif jax.dtypes.issubdtype(aval.dtype, np.inexact):
            out.append(zeros(aval.to_ct_aval()))
        else:
            out.append(np.zeros(aval.shape, primal_dtype_to_tangent_dtype(aval.dtype)))
    return out


def vjp(
    fun: Callable[..., Any],
    *primals: Any,
    has_aux: bool = False,
    rules: Rules = None,
    memory: str | int = "auto",
) -> Any:
    """Value of ``fun`` and its pullback, by our own reverse mode; the counterpart of `jax.vjp`.

    Args:
      fun: a function of arrays or pytrees of arrays.
      *primals: where to differentiate it.
      has_aux: whether ``fun`` returns ``(output, aux)``, of which only the output is differentiated.
      rules: derivative rules for this differentiation alone, in place of the table's; see `functional_dl.rules.book`.
      memory: what is kept of the forward for the backward: ``"auto"``, the fewest bytes from which the rest can be
        made again without repeating an expensive operation; ``"keep"``, all that the rules read; ``"least"``, what
        gives the lowest peak that can be reached; or the bytes that intermediates may take at the peak, for which the
        fewest operations are repeated.  With the last two the function is traced, also outside `jax.jit`.

    Returns:
      ``(output, pullback)``, or ``(output, pullback, aux)``.  ``pullback(ct)`` takes a cotangent like the output and
      returns a tuple of cotangents, one per primal; it is a `Pullback`, a pytree of the kept residuals.

    Raises:
      RuleError: a primitive on the way has no derivative rule.

    Example:
      >>> import jax.numpy as jnp, functional_dl as fdl
      >>> y, pullback = fdl.vjp(jnp.sin, jnp.float32(0.0))
      >>> print(pullback(jnp.float32(2.0))[0])
      2.0
    """
    leaves, in_tree = tree_flatten(primals)
    for x in leaves:
        check_array("vjp", x)
    differentiate = Differentiation.by(rules, memory)
    flat = Flat(fun, in_tree, has_aux)
    if differentiate.is_staged:
        graph = trace_function(flat, leaves, differentiate)
        n = flat.out_count
        in_avals, out_avals = graph.in_avals, graph.out_avals[:n]
        seeded = [i < n for i in range(len(graph.outputs))]
        program = differentiated(graph, [True] * len(leaves), seeded, differentiate)
        found = [g is not None for g in program.gradients]
        forward, backward, residuals = split(program)
        values = evaluate(forward, leaves)
        arrays, kept = values[: len(graph.outputs)], values[len(graph.outputs) :]
        seeds = backward.inputs[len(residuals) :]
        # Constants that the backward reads become residuals too: they may be tracers of an enclosing transform.
        variables, kept = [*backward.constvars, *residuals], [*backward.consts, *kept]
    else:
        leaves = [as_array(x) for x in leaves]
        arrays, places, tape = record(flat, leaves, differentiate)
        n = flat.out_count
        in_avals, out_avals = [jax.typeof(x) for x in leaves], [jax.typeof(y) for y in arrays[:n]]
        cts = [Var(a.to_ct_aval()) if is_float(a) else None for a in out_avals]
        backward, found = reverse(tape, places[:n], cts)
        seeds = [ct for ct in cts if ct is not None]
        variables, kept = backward.constvars, backward.consts
    lifted = Graph([*variables, *seeds], backward.outputs, backward.eqns)
    pullback = Pullback(kept, _Program(lifted, in_tree, flat.out_tree, in_avals, out_avals, found))
    out = tree_unflatten(flat.out_tree, arrays[:n])
    return (out, pullback, flat.aux(arrays[n:])) if has_aux else (out, pullback)
