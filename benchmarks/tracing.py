"""Time to trace and to lower our value_and_grad against jax.value_and_grad, and how many equations each leaves.

Then the time of a call of ``grad`` of a small function outside jit, a thousand calls each.

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
from benchmarks.networks import NETWORKS, SMALL, Problem
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


def measure_calls(fun: Any, args: tuple[Any, ...], calls: int = 1000, rounds: int = 20) -> dict[str, Any]:
    """One row: seconds of one eager call of the gradient, from ``rounds`` interleaved rounds of ``calls`` in all."""
    args = tuple(jax.numpy.asarray(x) for x in args)

    def repeated(transform: Any) -> Any:
        gradient = transform(fun)

        def run() -> None:
            for _ in range(calls // rounds):
                out = gradient(*args)
            jax.block_until_ready(out)

        return run

    times = interleaved({"ours": repeated(fdl.grad), "jax": repeated(jax.grad)}, rounds)
    per_call = {name: statistics.median(t) / (calls // rounds) for name, t in times.items()}
    return {"call_ours": per_call["ours"], "call_jax": per_call["jax"], "ratio": ratio(times["ours"], times["jax"])}


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

    table = Table(title=f"grad of a small function outside jit, JAX {jax.__version__} (median of 1000 calls, ms)")
    for column in ("function", "ours", "JAX", "ratio [quartiles]"):
        table.add_column(column, justify="left" if column == "function" else "right")
    for name, (fun, example) in SMALL.items():
        row = {"function": name, **measure_calls(fun, example)}
        rows.append(row)
        table.add_row(
            name,
            f"{1e3 * row['call_ours']:.2f}",
            f"{1e3 * row['call_jax']:.2f}",
            "{:.2f} [{:.2f}, {:.2f}]".format(*row["ratio"]),
        )
    console.print(table)
    path = write("tracing", rows, f"python -m benchmarks.tracing --repeats {repeats}")
    console.print(f"{environment()}\nwritten to {path}")


if __name__ == "__main__":
    main()
