"""Compiled step time, temporary bytes and flops of our value_and_grad against jax.value_and_grad.

Run: ``python -m benchmarks.step [--repeats N]``.
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


def measure(problem: Problem, repeats: int) -> dict[str, Any]:
    """One row: seconds per step, the ratio, and the compiler's own count of temporary bytes and flops."""
    args = (problem.params, *problem.batch)
    compiled = {
        name: jax.jit(transform(problem.loss)).lower(*args).compile()
        for name, transform in (("ours", fdl.value_and_grad), ("jax", jax.value_and_grad))
    }

    def step(name: str) -> Any:
        return lambda: jax.block_until_ready(compiled[name](*args))

    times = interleaved({name: step(name) for name in compiled}, repeats, warm_up=3)
    row: dict[str, Any] = {"ratio": ratio(times["ours"], times["jax"])}
    for name, program in compiled.items():
        row[f"step_{name}"] = statistics.median(times[name])
        row[f"temp_bytes_{name}"] = program.memory_analysis().temp_size_in_bytes
        row[f"flops_{name}"] = program.cost_analysis().get("flops")
    return row


def main() -> None:
    """Measure every network, print the table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    repeats = parser.parse_args().repeats
    console, table = Console(width=130), Table(title=f"one compiled value_and_grad, ours against JAX {jax.__version__}")
    for column in ("network", "ours, ms", "JAX, ms", "ratio [quartiles]", "temp, MB", "JAX", "Gflop", "JAX"):
        table.add_column(column, justify="left" if column == "network" else "right")
    rows = []
    for name, make in NETWORKS.items():
        row = {"network": name, **measure(make(), repeats)}
        rows.append(row)
        table.add_row(
            name,
            f"{1e3 * row['step_ours']:.2f}",
            f"{1e3 * row['step_jax']:.2f}",
            "{:.2f} [{:.2f}, {:.2f}]".format(*row["ratio"]),
            f"{row['temp_bytes_ours'] / 1e6:.2f}",
            f"{row['temp_bytes_jax'] / 1e6:.2f}",
            f"{row['flops_ours'] / 1e9:.3f}",
            f"{row['flops_jax'] / 1e9:.3f}",
        )
    console.print(table)
    path = write("step", rows, f"python -m benchmarks.step --repeats {repeats}")
    console.print(f"{environment()}\nwritten to {path}")


if __name__ == "__main__":
    main()
