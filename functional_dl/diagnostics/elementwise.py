"""Functions of one number inside a program: which equations act entry by entry, and how steep such functions are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functional_dl.autodiff.pullback import vjp
from functional_dl.jaxprs import Graph, Literal, evaluate, open_jaxpr, trace
from functional_dl.rules.book import called_name

__all__ = ["inner_program", "is_elementwise", "slopes", "steepness", "title", "uniform"]

# What acts entry by entry, and an activation is not called after.
_PLAIN = frozenset({
    "abs", "add", "add_any", "and", "clamp", "convert_element_type", "copy", "copy_p", "div", "eq", "ge", "gt",
    "integer_pow", "is_finite", "le", "lt", "mul", "name", "ne", "neg", "not", "or", "reduce_precision",
    "select_n", "square", "sub", "xor",
})  # fmt: skip
_ELEMENTWISE = _PLAIN | {
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "cos", "cosh", "digamma", "erf",
    "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "lgamma", "log", "log1p", "logistic", "max", "min",
    "nextafter", "pow", "rem", "round", "rsqrt", "sign", "sin", "sinh", "sqrt", "tan", "tanh",
}  # fmt: skip
# What only changes the shape: of a value that is the same everywhere it says nothing.
_SHAPES = frozenset({"broadcast_in_dim", "reshape", "squeeze"})
_CALLS = ("jit", "closed_call", "custom_jvp_call")
# Well-known formulas that JAX has no function for in the program, by the operations they are made of.
_FORMULAS = [({"erf"}, "gelu"), ({"erfc"}, "gelu"), ({"integer_pow", "tanh"}, "gelu"), ({"logistic"}, "silu")]
_GRID = 12.0  # from −12 to 12: beyond it sigmoids are flat to the last digit of float32
_POINTS = 4801


def inner_program(eqn: Any) -> Any:
    """The program that a call of a function calls, or ``None``."""
    if eqn.primitive.name not in _CALLS:
        return None
    return eqn.params["jaxpr"] if "jaxpr" in eqn.params else eqn.params["call_jaxpr"]


def is_elementwise(eqn: Any) -> bool:
    """Whether each entry of the one output depends on the entries of the operands at its own place alone."""
    if eqn.effects or len(eqn.outvars) != 1:
        return False
    if eqn.primitive.name in _ELEMENTWISE:
        return True
    if eqn.primitive.name in _SHAPES:
        return eqn.invars[0].aval.size == 1 and eqn.invars[0].aval.shape == ()
    program = inner_program(eqn)
    return program is not None and _body_is_elementwise(program)


@lru_cache(maxsize=4096)
def _body_is_elementwise(program: Any) -> bool:
    graph = open_jaxpr(program)
    return not graph.constvars and all(is_elementwise(eqn) for eqn in graph.eqns)


def uniform(eqns: Iterable[Any], constants: Iterable[tuple[Any, Any]]) -> set[Any]:
    """The variables that hold one known number in all their entries."""
    known = {v for v, x in constants if not isinstance(x, jax.core.Tracer) and np.size(x) == 1}
    for eqn in eqns:
        acts = eqn.primitive.name in _SHAPES or is_elementwise(eqn)
        if acts and all(type(v) is Literal or v in known for v in eqn.invars):
            known.update(eqn.outvars)
    return known


def title(eqns: Sequence[Any]) -> str:
    """What the function made of ``eqns`` is called."""
    kinds = {eqn.primitive.name for eqn in eqns}
    gated = any(eqn.primitive.name == "mul" and all(type(v) is not Literal for v in eqn.invars) for eqn in eqns)
    for parts, name in _FORMULAS:
        if gated and parts <= kinds and kinds.isdisjoint(_CALLS):
            return name
    names = [called_name(eqn.primitive.name, eqn.params) if inner_program(eqn) is not None else eqn.primitive.name
             for eqn in eqns]  # fmt: skip
    telling = [name for name in dict.fromkeys(names) if name not in _PLAIN and not name.startswith("_")]
    return telling[-1] if telling else names[-1]


def _at_a_number(graph: Graph, args: Sequence[Any]) -> list[Any]:
    """``graph``, all of whose equations act entry by entry, on numbers."""
    env: dict[Any, Any] = {v: np.reshape(x, ()) for v, x in zip(graph.constvars, graph.consts, strict=True)}
    env.update(zip(graph.inputs, args, strict=True))
    for eqn in graph.eqns:
        values = [v.val if type(v) is Literal else env[v] for v in eqn.invars]
        program = inner_program(eqn)
        if eqn.primitive.name in _SHAPES:
            env[eqn.outvars[0]] = values[0]
        elif program is not None:
            env[eqn.outvars[0]] = _at_a_number(open_jaxpr(program), values)[0]
        else:
            env[eqn.outvars[0]] = eqn.primitive.bind(*values, **eqn.params)
    return [v.val if type(v) is Literal else env[v] for v in graph.outputs]


def steepness(graph: Graph) -> tuple[float | None, bool]:
    """How steep an elementwise function of one variable gets: sup |Φ'|, on a grid from −12 to 12.

    Returns:
      The supremum, ``None`` where it keeps growing beyond the grid (as of a square) or is nowhere finite; and whether
      the slope is the same everywhere, so that the function is no activation.
    """
    aval = graph.inputs[0].aval
    number = trace(lambda x: _at_a_number(graph, [x]), jax.ShapeDtypeStruct((), aval.dtype))
    return _steepness(str(_shown(number)), _Program(number), np.dtype(aval.dtype).name)


def _shown(graph: Graph) -> str:
    """A program of numbers in full, so that equal ones are equal strings."""
    names: dict[Any, str] = {}

    def name(v: Any) -> str:
        return repr(v.val) if type(v) is Literal else names.setdefault(v, f"v{len(names)}")

    lines = [" ".join(map(name, graph.inputs))]
    for eqn in graph.eqns:
        lines.append(f"{eqn.primitive.name} {eqn.params} {[name(v) for v in eqn.invars]} {name(eqn.outvars[0])}")
    lines += [f"{name(v)} = {x!r}" for v, x in zip(graph.constvars, graph.consts, strict=True)]
    return "\n".join([*lines, " ".join(map(name, graph.outputs))])


def slopes(phi: Graph, z: Any) -> Any:
    """Φ'(z), entry by entry: the pullback of ones, since each output depends on its own entry alone."""
    _, pullback = vjp(lambda z: evaluate(phi, [z])[0], z)
    return pullback(jnp.ones_like(z))[0]


class _Program:
    """A program that does not count as a key."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Program)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=1024)
def _steepness(key: str, program: _Program, dtype: str) -> tuple[float | None, bool]:
    del key
    slope = partial(slopes, program.graph)
    with jax.ensure_compile_time_eval():
        points = np.linspace(-_GRID, _GRID, _POINTS)
        found = np.abs(np.asarray(jax.vmap(slope)(np.stack([points, 2 * points]).ravel().astype(dtype)), np.float64))
    near, far = (np.where(np.isfinite(part), part, np.nan) for part in (found[:_POINTS], found[_POINTS:]))
    if np.all(np.isnan(near)):
        return None, False
    top, beyond = np.nanmax(near), np.nanmax(np.concatenate([near, far]))
    # Linear up to rounding: a scale, a shift, a change of precision.
    flat = top > 0 and not np.isnan(near).any() and float(np.nanmax(near) - np.nanmin(near)) <= 1e-6 * float(top)
    return (None if beyond > 1.25 * top or top == 0 else float(top)), bool(flat)
