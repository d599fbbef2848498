"""What measuring the flow of a gradient costs: a compiled training step, plain, with norms, and with units as well.

Each step differentiates by our own reverse mode and lets Adam update; the measuring ones return the norms besides.
Run: ``python -m benchmarks.diagnosis [--repeats N] [--only NAME …]``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import functional_dl as fdl
import functional_dl.nn as nn
from benchmarks.measure import environment, interleaved, ratio, write
from benchmarks.networks import Problem, cnn, mlp
from functional_dl import optim
from functional_dl.diagnostics import gradient_flow


def _classifier(network: Any, *shape: int, classes: int = 10) -> Problem:
    rng = np.random.default_rng(0)
    x, labels = jnp.asarray(rng.normal(size=shape), jnp.float32), jnp.asarray(rng.integers(0, classes, shape[0]))

    def loss(params: Any, x: Any, labels: Any) -> Any:
        return nn.losses.cross_entropy(network.apply(params, x), labels)

    return Problem(loss, network.init(jax.random.key(0)), (x, labels))


def _digits() -> Problem:
    return _classifier(nn.ARCHITECTURES["mlp"](64, 10, hidden=[128, 64]), 128, 64)


def _recurrent() -> Problem:
    return _classifier(nn.ARCHITECTURES["rnn"](32, 10, width=128, cell="lstm"), 64, 64, 32)


def _transformer() -> Problem:
    network = nn.ARCHITECTURES["transformer"](96, 64, width=128, heads=4, depth=6, scanned=True)
    rng = np.random.default_rng(0)
    ids = jnp.asarray(rng.integers(0, 96, (4, 64)))

    def loss(params: Any, ids: Any, labels: Any) -> Any:
        return nn.losses.cross_entropy(network.apply(params, ids), labels)

    return Problem(loss, network.init(jax.random.key(0)), (ids, jnp.roll(ids, -1, axis=1)))


NETWORKS: dict[str, Callable[[], Problem]] = {
    "MLP 64-128-64-10": _digits,
    "MLP, 4 × 512": mlp,
    "CNN": cnn,
    "LSTM, 64 steps": _recurrent,
    "transformer, 6 scanned": _transformer,
}


def _steps(problem: Problem, optimizer: Any) -> dict[str, Callable[..., Any]]:
    slope = fdl.value_and_grad(problem.loss)

    def plain(state: Any, batch: Any) -> Any:
        value, grads = slope(optimizer.eval_params(state), *batch)
        return optimizer.update(state, grads), value

    def measured(units: bool, updates: bool) -> Callable[..., Any]:
        given = {"optimizer": optimizer} if updates else {}

        def step(state: Any, batch: Any) -> Any:
            more = {**given, "state": state} if updates else {}
            flow = gradient_flow(problem.loss, optimizer.eval_params(state), batch, units=units, **more)
            return optimizer.update(state, flow.grads), (flow.loss, flow.norms, flow.slopes)

        return step

    return {
        "plain": plain, "norms": measured(False, False), "updates": measured(False, True),
        "units": measured(True, True),
    }  # fmt: skip


def measure(problem: Problem, repeats: int) -> dict[str, Any]:
    """One row: seconds per step, and the ratios to the plain one."""
    optimizer = optim.adam(1e-3)
    args = (optimizer.init(problem.params), problem.batch)
    compiled = {name: jax.jit(step).lower(*args).compile() for name, step in _steps(problem, optimizer).items()}

    def call(name: str) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(compiled[name](*args))

    times = interleaved({name: call(name) for name in compiled}, repeats, warm_up=5)
    row: dict[str, Any] = {"places": len(gradient_flow(problem.loss, problem.params, problem.batch).places)}
    for name, program in compiled.items():
        row[f"step_{name}"] = statistics.median(times[name])
        row[f"temp_bytes_{name}"] = program.memory_analysis().temp_size_in_bytes
        if name != "plain":
            row[f"ratio_{name}"] = ratio(times[name], times["plain"])
    return row


def main() -> None:
    """Measure every network, print the table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--only", nargs="*", choices=list(NETWORKS), default=None)
    chosen = parser.parse_args()
    console = Console(width=140)
    table = Table(title=f"one compiled training step, plain and measured, JAX {jax.__version__}")
    for column in ("network", "places", "plain, ms", "norms [quartiles]", "and of updates", "and units",
                   "temp, MB", "norms", "units"):  # fmt: skip
        table.add_column(column, justify="left" if column == "network" else "right")
    rows = []
    for name in chosen.only or NETWORKS:
        row = {"network": name, **measure(NETWORKS[name](), chosen.repeats)}
        rows.append(row)
        ratios = ["{:.2f} [{:.2f}, {:.2f}]".format(*row[f"ratio_{kind}"]) for kind in ("norms", "updates", "units")]
        temps = [f"{row[f'temp_bytes_{kind}'] / 1e6:.2f}" for kind in ("plain", "norms", "units")]
        table.add_row(name, str(row["places"]), f"{1e3 * row['step_plain']:.2f}", *ratios, *temps)
    console.print(table)
    if chosen.only is None:
        path = write("diagnosis", rows, f"python -m benchmarks.diagnosis --repeats {chosen.repeats}")
        console.print(f"written to {path}")
    console.print(f"{environment()}")


if __name__ == "__main__":
    main()
