"""Time to trace and to lower our value_and_grad against jax.value_and_grad, and how many equations each leaves.

Run: ``python -m benchmarks.tracing [--repeats N]``.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

import functional_dl as fdl
from benchmarks.measure import environment, interleaved, ratio, write
from benchmarks.networks import NETWORKS, Problem
from functional_dl.jaxprs import count_equations


def measure(problem: Problem, repeats: int) -> dict[str, Any]:
    """One row: times in seconds, ratios ours / JAX's, equations with those of inner programs."""
    args = (problem.params, *problem.batch)

    def fresh(transform: Any) -> Any:
        # A new function each time: JAX remembers traces by the function's identity.
        return jax.jit(transform(lambda *a: problem.loss(*a)))

    ours, theirs = fdl.value_and_grad, jax.value_and_grad
    traces = interleaved({"ours": lambda: fresh(ours).trace(*args), "jax": lambda: fresh(theirs).trace(*args)}, repeats)
    lowers = interleaved({"ours": lambda: fresh(ours).lower(*args), "jax": lambda: fresh(theirs).lower(*args)}, repeats)
    forward = interleaved({"forward": lambda: jax.jit(lambda *a: problem.loss(*a)).trace(*args)}, repeats)
    return {
        "trace_ours": statistics.median(traces["ours"]),
        "trace_jax": statistics.median(traces["jax"]),
        "trace_forward": statistics.median(forward["forward"]),
        "trace_ratio": ratio(traces["ours"], traces["jax"]),
        "lower_ours": statistics.median(lowers["ours"]),
        "lower_jax": statistics.median(lowers["jax"]),
        "lower_ratio": ratio(lowers["ours"], lowers["jax"]),
        "equations_ours": count_equations(fresh(ours).trace(*args).jaxpr),
        "equations_jax": count_equations(fresh(theirs).trace(*args).jaxpr),
    }


def main() -> None:
    """Measure every network, print the table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    console, table = Console(width=130), Table(title=f"value_and_grad, ours against JAX {jax.__version__} (median, ms)")
    for column in ("network", "forward", "trace", "JAX", "ratio [quartiles]", "trace+lower", "JAX", "ratio [quartiles]",
                   "equations", "JAX"):  # fmt: skip
        table.add_column(column, justify="left" if column == "network" else "right")
    rows = []
    for name, make in NETWORKS.items():
        row = {"network": name, **measure(make(), repeats)}
        rows.append(row)
        table.add_row(
            name,
            f"{1e3 * row['trace_forward']:.1f}",
            f"{1e3 * row['trace_ours']:.1f}",
            f"{1e3 * row['trace_jax']:.1f}",
            "{:.2f} [{:.2f}, {:.2f}]".format(*row["trace_ratio"]),
            f"{1e3 * row['lower_ours']:.1f}",
            f"{1e3 * row['lower_jax']:.1f}",
            "{:.2f} [{:.2f}, {:.2f}]".format(*row["lower_ratio"]),
            str(row["equations_ours"]),
            str(row["equations_jax"]),
        )
    console.print(table)
    path = write("tracing", rows, f"python -m benchmarks.tracing --repeats {repeats}")
    console.print(f"{environment()}\nwritten to {path}")


if __name__ == "__main__":
    main()
