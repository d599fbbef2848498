"""A derivative as a sum over paths and as a sweep: the pathwise aggregation lemma and dynamic programming, counted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from functional_dl.autodiff.scalar_graph import ScalarGraph

__all__ = ["Aggregate", "Swept", "aggregate", "count", "paths", "product_units", "sweep"]


class Aggregate(NamedTuple):
    """A sum over paths: the derivative ∂o/∂w, the number of paths, and the multiplications that it took."""

    derivative: float
    paths: int
    multiplications: int


class Swept(NamedTuple):
    """A sweep: S(i, o) by node (0 where no path leads to o), and the multiplications that all of them took."""

    slopes: list[float]
    multiplications: int


def paths(graph: ScalarGraph, source: int, target: int) -> Iterator[tuple[float, ...]]:
    """The non-null paths from ``source`` to ``target``, each as the local derivatives z(i, j) along it."""
    leading = graph.ancestors(target)
    open_paths: list[tuple[int, tuple[float, ...]]] = [(source, ())] if source in leading else []
    while open_paths:
        i, along = open_paths.pop()
        if i == target:
            yield along
            continue
        open_paths += [(j, (*along, z)) for j, z in graph.successors[i].items() if j in leading]


def aggregate(graph: ScalarGraph, source: int, target: int) -> Aggregate:
    """∂o/∂w = Σ over the non-null paths from w to o of Π z(i, j): the pathwise aggregation lemma, taken at its word.

    Exponential on purpose: each path is multiplied out by itself, k − 1 multiplications for k edges.

    Args:
      graph: a scalar graph.
      source, target: the nodes w and o.

    Source: Aggarwal, Neural Networks and Deep Learning, Lemma 3.2.1.

    Example:
      >>> graph = product_units(1.0)
      >>> aggregate(graph, graph.inputs[0], graph.outputs[0])
      Aggregate(derivative=32.0, paths=32, multiplications=160)
    """
    derivative, number, multiplications = 0.0, 0, 0
    for along in paths(graph, source, target):
        derivative += math.prod(along)
        number += 1
        multiplications += max(len(along) - 1, 0)
    return Aggregate(derivative, number, multiplications)


def count(graph: ScalarGraph, source: int, target: int) -> tuple[int, int]:
    """The paths and multiplications that `aggregate` would take, without taking them.

    N(o) = 1, N(i) = Σ_{j∈A(i)} N(j) paths with E(o) = 0, E(i) = Σ_{j∈A(i)} E(j) + N(j) edges in all of them.

    Example:
      >>> graph = product_units(1.0, depth=20)
      >>> count(graph, graph.inputs[0], graph.outputs[0])
      (1048576, 20971520)
    """
    number, edges = [0] * (target + 1), [0] * (target + 1)
    number[target] = 1
    for i in range(target - 1, source - 1, -1):
        onward = [j for j in graph.successors[i] if j <= target]
        number[i] = sum(number[j] for j in onward)
        edges[i] = sum(edges[j] + number[j] for j in onward)
    if source >= target:
        return int(source == target), 0
    return number[source], edges[source] - number[source]


def sweep(graph: ScalarGraph, target: int) -> Swept:
    """S(o, o) = 1, S(i, o) = Σ_{j∈A(i)} z(i, j) S(j, o), from o backwards: the same sums by dynamic programming.

    One sweep gives ∂o/∂y(i) for every node.  It takes a multiplication for each edge on a path to o, but none for
    those into o itself, where S(o, o) = 1.

    Source: Aggarwal, Neural Networks and Deep Learning, section 3.2.2.

    Example:
      >>> graph = product_units(1.0)
      >>> swept = sweep(graph, graph.outputs[0])
      >>> swept.slopes[graph.inputs[0]], swept.multiplications
      (32.0, 18)
    """
    leading = graph.ancestors(target)
    slopes, multiplications = [0.0] * len(graph.nodes), 0
    slopes[target] = 1.0
    for i in range(target - 1, -1, -1):
        for j, z in graph.successors[i].items():
            if j in leading:
                slopes[i] += z * slopes[j] if j != target else z
                multiplications += j != target
    return Swept(slopes, multiplications)


def product_units(x: float, depth: int = 5, width: int = 2) -> ScalarGraph:
    """Layers of product units: o = x^(width^depth), with width^depth paths from x to o.

    The first layer's units are x; each further one, and o, is the product of all units of the layer before it.  With 5
    layers of 2, o = x³² over 2⁵ paths, and each adds x³¹ to ∂o/∂x = 32 x³¹.

    Raises:
      ValueError: no layers, or no units.

    Source: Aggarwal, Neural Networks and Deep Learning, section 3.2.1.

    Example:
      >>> graph = product_units(2.0)
      >>> graph.nodes[graph.outputs[0]].value == 2.0**32
      True
    """
    if depth < 1 or width < 1:
        raise ValueError(f"product_units got depth {depth} and width {width}; both are at least 1.")
    graph = ScalarGraph()
    units = [graph.input(x, "x")]
    for layer in range(1, depth + 1):
        units = [graph.product(*units, name=f"h{layer},{k}") for k in range(1, width + 1)]
    graph.outputs.append(graph.product(*units, name="o"))
    return graph
