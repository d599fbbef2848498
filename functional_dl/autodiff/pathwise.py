"""The pathwise aggregation lemma against dynamic programming: one derivative, at exponential and at linear cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import tree_flatten, tree_leaves, tree_structure, tree_unflatten, treedef_is_leaf

from functional_dl.autodiff.arguments import check_input, check_output, split_arguments
from functional_dl.autodiff.path_sums import aggregate, count, product_units, sweep
from functional_dl.autodiff.scalar_graph import ScalarGraph, scalar_graph
from functional_dl.avals import describe

__all__ = ["Depth", "Pathwise", "PathwiseTable", "pathwise", "pathwise_table"]


@dataclass(frozen=True, eq=False)
class Pathwise:
    """The derivative of a function by both roads; printed, the two beside each other.

    Attributes:
      derivative: ∂o/∂x summed path by path, float64 NumPy arrays in the structure of the argument(s).
      swept: the same by the sweep.
      paths: how many non-null paths lead from all entries of the argument(s) to the output.
      path_multiplications: what the paths took.
      sweep_multiplications: what the sweep took.
      graph: the scalar graph.
    """

    derivative: Any
    swept: Any
    paths: int
    path_multiplications: int
    sweep_multiplications: int
    graph: ScalarGraph

    def __str__(self) -> str:
        edges = sum(map(len, self.graph.successors))
        apart = max(
            (
                float(np.max(np.abs(a - b), initial=0.0))
                for a, b in zip(tree_leaves(self.derivative), tree_leaves(self.swept), strict=True)
            ),
            default=0.0,
        )
        rows = [
            ["", "paths", "multiplications"],
            ["path by path", f"{self.paths:,}", f"{self.path_multiplications:,}"],
            ["one sweep", "", f"{self.sweep_multiplications:,}"],
        ]
        head = f"inputs: {len(self.graph.inputs)}, nodes: {len(self.graph.nodes)}, edges: {edges}"
        return "\n".join([head, _aligned(rows), f"derivatives at most {apart:.1e} apart"])


def pathwise(
    fun: Callable[..., Any],
    *args: Any,
    argnums: int | Sequence[int] = 0,
    most_nodes: int = 2000,
    most_paths: int = 2**18,
) -> Pathwise:
    """Differentiate a small function path by path and by dynamic programming, and count what both take.

    Why backpropagation is needed: the paths grow exponentially with depth (`pathwise_table`), the sweep with the
    number of edges.  The scalar graph is that of `functional_dl.autodiff.scalar_graph.scalar_graph`; draw it with
    `functional_dl.diagnostics.path_picture.picture`.

    Args:
      fun: a function with a real scalar output.
      *args: its arguments.
      argnums: the positional argument(s) to differentiate with respect to: pytrees of real floating arrays of any
        shapes; the others are constants.
      most_nodes: the size of graph at which to give up.
      most_paths: the number of paths at which to give up.

    Returns:
      A `Pathwise`; its derivatives have the structure of the argument, a tuple if ``argnums`` is a sequence.

    Raises:
      TypeError: arguments or output of the wrong dtype, a non-scalar output, traced values.
      ValueError: too many nodes or paths, or an equation that cannot be taken apart.

    Source: Aggarwal, Neural Networks and Deep Learning, sections 3.2.1 (Lemma 3.2.1) and 3.2.2.

    Example:
      >>> import jax.numpy as jnp, functional_dl as fdl
      >>> found = fdl.pathwise(lambda x: x[0] ** 2 * x[1] + jnp.maximum(x[0] * x[1], 0), jnp.array([2.0, -1.0]))
      >>> print(found.derivative)
      [-4.  4.]
      >>> print(found)
      inputs: 2, nodes: 15, edges: 15
                    paths  multiplications
      path by path      2                7
         one sweep                       7
      derivatives at most 0.0e+00 apart
    """
    chosen_fun, chosen = split_arguments("pathwise", fun, argnums, args, {})
    leaves, tree = tree_flatten(tuple(chosen))
    for x in leaves:
        check_input("pathwise", False, False, x)
    graph = scalar_graph(_scalar(chosen_fun), *chosen, most_nodes=most_nodes)
    output = graph.outputs[0]
    due = sum(count(graph, i, output)[0] for i in graph.inputs)
    if due > most_paths:
        raise ValueError(
            f"pathwise found {due:,} paths from the arguments of {chosen_fun.__name__} to its output and follows at "
            f"most most_paths={most_paths:,}. Give smaller arguments, raise most_paths, or take functional_dl.grad, "
            "which sweeps."
        )
    found = [aggregate(graph, i, output) for i in graph.inputs]
    swept = sweep(graph, output)

    def gathered(slopes: Iterable[float]) -> Any:
        numbers = iter(slopes)
        arrays = [np.array([next(numbers) for _ in range(np.size(x))]).reshape(np.shape(x)) for x in leaves]
        result = tree_unflatten(tree, arrays)
        return result[0] if isinstance(argnums, int) else result

    return Pathwise(
        gathered(each.derivative for each in found),
        gathered(swept.slopes[i] for i in graph.inputs),
        sum(each.paths for each in found),
        sum(each.multiplications for each in found),
        swept.multiplications,
        graph,
    )


def _scalar(fun: Callable[..., Any]) -> Callable[..., Any]:
    """``fun``, refused if its output is not a real floating scalar."""

    @wraps(fun)
    def checked(*args: Any) -> Any:
        out = fun(*args)
        if not treedef_is_leaf(tree_structure(out)) or np.shape(out) != ():
            came = describe(jax.typeof(out)) if treedef_is_leaf(tree_structure(out)) else str(tree_structure(out))
            raise TypeError(
                f"pathwise follows paths to one number; the output of {fun.__name__} was {came}. Reduce it to a scalar."
            )
        check_output("pathwise", False, jax.typeof(out))
        return out

    return checked


class Depth(NamedTuple):
    """A row of a `PathwiseTable`: product units of one depth.

    Attributes:
      depth: the number of layers.
      paths, path_multiplications: what the paths take.
      derivative: the sum over the paths; ``None`` where there are too many, and their numbers were only counted.
      sweep_multiplications, swept: what the sweep took, and its derivative.
    """

    depth: int
    paths: int
    path_multiplications: int
    derivative: float | None
    sweep_multiplications: int
    swept: float


@dataclass(frozen=True)
class PathwiseTable:
    """Paths against sweep by depth; printed, a table."""

    width: int
    x: float
    rows: tuple[Depth, ...]

    def __str__(self) -> str:
        table = [["depth", "paths", "multiplications", "sweep's", "ratio", "derivative by paths", "by the sweep"]]
        for row in self.rows:
            ratio = row.path_multiplications / max(row.sweep_multiplications, 1)
            by_paths = "(counted only)" if row.derivative is None else f"{row.derivative:.10g}"
            numbers = [f"{row.depth}", f"{row.paths:,}", f"{row.path_multiplications:,}"]
            table.append([*numbers, f"{row.sweep_multiplications:,}", f"{ratio:,.1f}", by_paths, f"{row.swept:.10g}"])
        unit = "unit" if self.width == 1 else "units"
        return f"layers of {self.width} product {unit}, at x = {self.x:g}\n{_aligned(table)}"


def pathwise_table(
    depths: Iterable[int] = range(1, 21), width: int = 2, x: float = 1.0, most_paths: int = 2**14
) -> PathwiseTable:
    """Paths against sweep for `product_units` of each depth: width^depth against linear.

    Args:
      depths: numbers of layers.
      width: units in each layer.
      x: where the derivative is taken; other than near 1, o = x^(width^depth) soon leaves the range of floats.
      most_paths: as long as there are at most this many they are really followed; beyond, counted by recurrence.

    Returns:
      A `PathwiseTable`: ``rows`` of `Depth`; print it.

    Raises:
      ValueError: a depth or the width below 1.

    Source: Aggarwal, Neural Networks and Deep Learning, sections 3.2.1 and 3.2.2.

    Example:
      >>> import functional_dl as fdl
      >>> print(fdl.pathwise_table(depths=[1, 5, 10, 20]))
      layers of 2 product units, at x = 1
      depth      paths  multiplications  sweep's      ratio  derivative by paths  by the sweep
          1          2                2        2        1.0                    2             2
          5         32              160       18        8.9                   32            32
         10      1,024           10,240       38      269.5                 1024          1024
         20  1,048,576       20,971,520       78  268,865.6       (counted only)       1048576
    """
    rows = []
    for depth in depths:
        graph = product_units(x, depth, width)
        source, target = graph.inputs[0], graph.outputs[0]
        number, multiplications = count(graph, source, target)
        derivative = None
        if number <= most_paths:
            derivative, number, multiplications = aggregate(graph, source, target)
        swept = sweep(graph, target)
        rows.append(Depth(depth, number, multiplications, derivative, swept.multiplications, swept.slopes[source]))
    return PathwiseTable(width, x, tuple(rows))


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, columns aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
