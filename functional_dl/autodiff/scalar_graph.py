"""Scalar computation graphs: a node for every number, an edge for every local derivative; by hand or from a jaxpr."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import tree_flatten

from functional_dl.autodiff.arguments import as_array, check_array
from functional_dl.autodiff.tracing import Flat
from functional_dl.autodiff.transforms import jacrev
from functional_dl.jaxprs import Graph, Literal, bind, describe, is_float, is_ref, open_jaxpr, prune, trace
from functional_dl.loops import scan_layout
from functional_dl.sources import source_line

__all__ = ["Node", "ScalarGraph", "scalar_graph"]

# Calls that are looked into, and the parameter that holds their program.  Calls of custom rules are not: a rule of the
# user's own is one step, whatever its function is made of.
_INLINED = {"jit": "jaxpr", "closed_call": "call_jaxpr", "remat2": "jaxpr"}


class Node(NamedTuple):
    """A number y(i) of a computation: its value, a name, and its layer, later than those it is computed from."""

    value: float
    name: str
    layer: int


@dataclass(eq=False)
class ScalarGraph:
    """A directed acyclic graph of numbers; a node comes after all that it is computed from.

    Attributes:
      nodes: the numbers y(i).
      successors: per node i, the set A(i) of the nodes computed from it, with z(i, j) = ∂y(j)/∂y(i).  Null edges,
        those with z(i, j) = 0, are left out; what a function reads twice is one edge with the sum.
      inputs, outputs: nodes, in order.

    Example:
      The chain rule over two hidden units, f(g₁(w), g₂(w)) with g₁ = 3w, g₂ = w², f = g₁ g₂.

      >>> graph = ScalarGraph()
      >>> w = graph.input(2.0, "w")
      >>> g1, g2 = graph.node(6.0, {w: 3.0}, "g1"), graph.product(w, w, name="g2")
      >>> f = graph.product(g1, g2, name="f")
      >>> graph.successors[w], graph.successors[g1], graph.successors[g2]
      ({1: 3.0, 2: 4.0}, {3: 4.0}, {3: 6.0})
    """

    nodes: list[Node] = field(default_factory=list)
    successors: list[dict[int, float]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def input(self, value: float, name: str = "") -> int:
        """A new input; returns the node."""
        self.inputs.append(self.node(value, {}, name))
        return self.inputs[-1]

    def node(self, value: float, slopes: Mapping[int, float], name: str = "", layer: int = 0) -> int:
        """A new number computed from others; returns the node j.

        Args:
          value: y(j).
          slopes: z(i, j) = ∂y(j)/∂y(i) by i, the nodes that it is computed from.
          name, layer: for pictures; it stands in a later layer anyway if need be.

        Raises:
          ValueError: it is computed from what is not in the graph.
        """
        new = len(self.nodes)
        if strangers := [i for i in slopes if not 0 <= i < new]:
            raise ValueError(f"node {name or new} is computed from {strangers}; the graph has nodes 0 to {new - 1}.")
        layer = max([layer, *[self.nodes[i].layer + 1 for i in slopes]])
        self.nodes.append(Node(float(value), name, layer))
        self.successors.append({})
        for i, z in slopes.items():
            if z != 0:
                self.successors[i][new] = float(z)
        return new

    def product(self, *factors: int, name: str = "") -> int:
        """A product unit y(j) = Π y(i); z(i, j) is the product of the other factors."""
        values = [self.nodes[i].value for i in factors]
        slopes = dict.fromkeys(factors, 0.0)
        for k, i in enumerate(factors):
            slopes[i] += math.prod(values[:k]) * math.prod(values[k + 1 :])
        return self.node(math.prod(values), slopes, name)

    def ancestors(self, target: int) -> set[int]:
        """The nodes from which a non-null path leads to ``target``, itself among them."""
        found = {target}
        for i in range(target - 1, -1, -1):
            if not found.isdisjoint(self.successors[i]):
                found.add(i)
        return found


def scalar_graph(fun: Callable[..., Any], *args: Any, most_nodes: int = 2000) -> ScalarGraph:
    """The scalar graph of a function at a point: a node for every entry of what each of its equations computes.

    The local derivatives of an equation come from our own rule for its primitive.  Compiled calls and checkpoints are
    looked into, of a ``cond`` the branch that runs, a ``scan`` is unrolled; a call of a custom rule is one step, with
    what the rule says for the cotangent 1.  What depends on no floating argument is a constant and has no node.

    Args:
      fun: a function of real arrays that returns arrays.
      *args: pytrees of numbers and arrays of any shapes; the floating ones' entries are the inputs, in order.
      most_nodes: the size at which to give up.

    Returns:
      The graph; its outputs are the entries of the function's outputs, in order.

    Raises:
      TypeError: an argument is no array, or is traced (the derivatives are those at a point); or the function
        computes with complex numbers.
      ValueError: there are more than ``most_nodes`` numbers; or an equation cannot be taken apart: a ``while`` loop,
        an operation on a ref.

    Example:
      >>> import jax.numpy as jnp
      >>> graph = scalar_graph(lambda w, x: jnp.maximum(w @ x, 0), jnp.eye(2), jnp.array([2.0, -3.0]))
      >>> [node.name for node in graph.nodes[:6]]
      ['x0[0,0]', 'x0[0,1]', 'x0[1,0]', 'x0[1,1]', 'x1[0]', 'x1[1]']
      >>> [(graph.nodes[j].name, z) for j, z in graph.successors[1].items()]  # ∂(w @ x)[0] / ∂w[0,1]
      [('dot_general[0]', -3.0)]
      >>> [(graph.nodes[j].name, graph.nodes[j].value) for j in graph.outputs]
      [('max[0]', 2.0), ('max[1]', 0.0)]
    """
    leaves, tree = tree_flatten(args)
    for x in leaves:
        check_array("scalar_graph", x)
    flat = Flat(fun, tree, False)
    program = trace(flat, *leaves)
    if any(isinstance(x, jax.core.Tracer) for x in [*leaves, *program.consts]):
        raise TypeError(
            "scalar_graph got traced values; a scalar graph holds the numbers of one point. "
            "Call it outside of jit, vmap and grad."
        )
    unrolled = _Unrolled(ScalarGraph(), most_nodes, getattr(fun, "__name__", "the function"))
    names = [f"x{k}" if len(args) > 1 else "x" for k, arg in enumerate(args) for _ in jax.tree.leaves(arg)]
    inputs = [unrolled.input(as_array(x), name) for x, name in zip(leaves, names, strict=True)]
    for y in unrolled.run(program, inputs):
        values = np.ravel(y.array)
        unrolled.graph.outputs += [
            unrolled.graph.node(value, {}, "constant") if i < 0 else int(i)
            for i, value in zip(y.nodes.ravel(), values, strict=True)
        ]
    return unrolled.graph


class _Value(NamedTuple):
    """What a variable holds: an array, and for each of its entries the node, -1 for a constant."""

    array: Any
    nodes: np.ndarray

    @property
    def is_active(self) -> bool:
        return bool(np.any(self.nodes >= 0))


def _constant(array: Any) -> _Value:
    return _Value(array, np.full(np.shape(array), -1))


@dataclass(eq=False)
class _Unrolled:
    """A program run on numbers, which writes down what it does with each of them."""

    graph: ScalarGraph
    most_nodes: int
    name: str

    def input(self, x: Any, name: str) -> _Value:
        if not is_float(jax.typeof(x)):
            return _constant(x)
        if jax.numpy.iscomplexobj(x):
            raise TypeError(f"{self.name} got {describe(jax.typeof(x))}; a scalar graph is one of real numbers.")
        self._grow(x.size, f"its argument {name} alone holds {describe(jax.typeof(x))}")
        numbers = zip(_names(name, x.shape), np.ravel(x), strict=True)
        return _Value(x, np.reshape([self.graph.input(value, each) for each, value in numbers], x.shape).astype(int))

    def run(self, program: Graph, args: Iterable[_Value]) -> list[_Value]:
        values = dict(zip(program.inputs, args, strict=True))
        values.update((v, _constant(x)) for v, x in zip(program.constvars, program.consts, strict=True))

        def read(v: Any) -> _Value:
            return _constant(v.val) if type(v) is Literal else values[v]

        for eqn in prune(program.eqns, program.outputs):
            outs = self.step(eqn, [read(v) for v in eqn.invars])
            values.update(zip(eqn.outvars, outs, strict=True))
        return [read(v) for v in program.outputs]

    def step(self, eqn: Any, operands: Sequence[_Value]) -> list[_Value]:
        """The outputs of an equation; its local derivatives become edges."""
        kind = eqn.primitive.name
        active = [k for k, x in enumerate(operands) if x.is_active]
        if active and any(is_ref(v.aval) for v in [*eqn.invars, *eqn.outvars]):
            self._refuse(eqn, "an operation on a ref, whose contents change")
        if not active or not any(is_float(v.aval) for v in eqn.outvars):
            return [_constant(y) for y in _outputs(eqn, [x.array for x in operands])]
        if kind in _INLINED:
            return self.run(open_jaxpr(eqn.params[_INLINED[kind]]), operands)
        if kind == "cond":
            return self.run(open_jaxpr(eqn.params["branches"][int(operands[0].array)]), operands[1:])
        if kind == "scan":
            return self.scan(eqn, operands)
        if kind == "while":
            self._refuse(eqn, "a while loop, which is not unrolled; fori_loop with constant bounds is a scan, which is")
        return self.apply(eqn, operands, active)

    def scan(self, eqn: Any, operands: Sequence[_Value]) -> list[_Value]:
        """c_{t+1}, y_t = f(w, c_t, x_t), one turn after the other."""
        w, c = scan_layout(eqn.params)
        body, length = open_jaxpr(eqn.params["jaxpr"]), eqn.params["length"]
        consts, carry, xs = operands[:w], list(operands[w : w + c]), operands[w + c :]
        # Their nodes are written below; entries of no turn stay constants.
        outs = [_constant(y) for y in _outputs(eqn, [x.array for x in operands])]
        for t in reversed(range(length)) if eqn.params["reverse"] else range(length):
            found = self.run(body, [*consts, *carry, *[_Value(x.array[t], x.nodes[t]) for x in xs]])
            carry = found[:c]
            for out, y in zip(outs[c:], found[c:], strict=True):
                out.nodes[t] = y.nodes
        return [*carry, *outs[c:]]

    def apply(self, eqn: Any, operands: Sequence[_Value], active: Sequence[int]) -> list[_Value]:
        """The outputs of one primitive, their entries new nodes, with the Jacobian that its rule gives."""
        arrays = [x.array for x in operands]
        floating = [k for k, v in enumerate(eqn.outvars) if is_float(v.aval)]
        types = [eqn.outvars[k].aval for k in floating]
        for aval in [*types, *[eqn.invars[k].aval for k in active]]:
            if np.issubdtype(aval.dtype, np.complexfloating):
                raise TypeError(f"{self._place(eqn)} computes {describe(aval)}; a scalar graph is one of real numbers.")
        self._grow(sum(aval.size for aval in types), f"{self._place(eqn)} makes {', '.join(map(describe, types))}")

        def differentiable(*chosen: Any) -> list[Any]:
            given = list(arrays)
            for k, x in zip(active, chosen, strict=True):
                given[k] = x
            outs = _outputs(eqn, given)
            return [outs[k] for k in floating]

        outs = [_constant(y) for y in _outputs(eqn, arrays)]
        jacobian = jacrev(differentiable, tuple(range(len(active))))(*[arrays[k] for k in active])
        sources = [operands[i].nodes.ravel() for i in active]
        layer = 1 + max(self.graph.nodes[i].layer for nodes in sources for i in nodes if i >= 0)
        for k, blocks in zip(floating, jacobian, strict=True):
            out = outs[k]
            rows = [np.reshape(block, (out.nodes.size, -1)) for block in blocks]
            names = _names(_title(eqn), out.nodes.shape)
            made = []
            for r, (name, value) in enumerate(zip(names, np.ravel(out.array), strict=True)):
                slopes: dict[int, float] = {}
                for nodes, row in zip(sources, rows, strict=True):
                    for i, z in zip(nodes, row[r], strict=True):
                        if i >= 0 and z != 0:
                            slopes[int(i)] = slopes.get(int(i), 0.0) + float(z)
                made.append(self.graph.node(value, slopes, name, layer))
            out.nodes[...] = np.reshape(made, out.nodes.shape)
        return outs

    def _grow(self, count: int, why: str) -> None:
        if len(self.graph.nodes) + count > self.most_nodes:
            raise ValueError(
                f"The scalar graph of {self.name} has more than most_nodes={self.most_nodes} numbers: {why}. "
                "It is made for small functions: give smaller arguments, or raise most_nodes."
            )

    def _refuse(self, eqn: Any, what: str) -> None:
        raise ValueError(
            f"{self._place(eqn)} cannot be taken apart into numbers: it is {what}. "
            "Differentiate it with functional_dl.grad, or write it with scan."
        )

    def _place(self, eqn: Any) -> str:
        line = source_line(eqn)
        return f"{eqn.primitive.name} in {self.name}{f' at {line}' if line else ''}"


def _outputs(eqn: Any, arrays: Sequence[Any]) -> list[Any]:
    out = bind(eqn, arrays)
    return list(out) if eqn.primitive.multiple_results else [out]


def _title(eqn: Any) -> str:
    inner = eqn.params.get("call_jaxpr")  # of a custom rule: the program of the function that it belongs to
    return eqn.primitive.name if inner is None else getattr(inner, "jaxpr", inner).debug_info.func_name


def _names(name: str, shape: tuple[int, ...]) -> list[str]:
    return [f"{name}[{','.join(map(str, place))}]" if shape else name for place in np.ndindex(shape)]
