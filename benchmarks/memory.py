"""Temporary bytes against step time of one compiled value_and_grad: ours by plan, jax.checkpoint by hand-picked policy.

Run: ``python -m benchmarks.memory [--networks NAME ...] [--repeats N] [--small]``. The result file is written after
every network; rows that it has of networks not named are kept. ``--small`` writes a file of its own.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import functional_dl as fdl
from benchmarks.measure import environment, interleaved, ratio, write
from benchmarks.memory_networks import NETWORKS, SMALL, MemoryProblem, Wrap
from benchmarks.memory_report import PLAIN, Row, aims, picture, report_aims

MODES = ("keep", "auto", "least")
POLICIES: dict[str, Callable[..., Any] | None] = {
    "checkpoint": None,
    "dots": jax.checkpoint_policies.dots_saveable,
    "dots, no batch": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
BUDGETS = 5  # those of the policies among them
# Tracing is short beside compiling and noisy, so it is repeated by itself.
TRACE_ROUNDS = 5


class Contender(NamedTuple):
    """A compiled step ``step(params, *batch)`` with what is known of it before it is timed.

    ``fresh`` returns the function anew, for tracing: JAX remembers traces by the function's identity. It is None where
    tracing alone cannot be had.
    """

    step: Callable[..., Any]
    row: Row
    fresh: Callable[[], Callable[..., Any]] | None = None


def identity(f: Callable[..., Any]) -> Callable[..., Any]:
    """The wrap of ours and of plain jax.grad."""
    return f


def tolerance() -> float:
    """How far gradients may differ, over their norm: matrix products of accelerators round to fewer than 24 bits."""
    return 1e-3 if jax.default_backend() == "cpu" else 1e-2


def flops(compiled: Any) -> float | None:
    """The compiler's count, which takes a loop's body once; None where it has none."""
    analysis = compiled.cost_analysis()
    return analysis.get("flops") if isinstance(analysis, dict) else None


def compile_step(name: str, kind: str, fresh: Callable[[], Callable[..., Any]], args: tuple[Any, ...]) -> Contender:
    """Compile the function that ``fresh`` returns."""
    lowered = jax.jit(fresh()).lower(*args)
    start = time.perf_counter()
    compiled = lowered.compile()
    row = {
        "contender": name,
        "kind": kind,
        "temp_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "compile_s": time.perf_counter() - start,
        "flops": flops(compiled),
    }
    return Contender(compiled, row, fresh)


def fit_step(loss: Callable[..., Any], args: tuple[Any, ...], name: str, peak_bytes: int) -> Contender:
    """Compile ours within a budget; the compile time is that of the whole fit."""
    start = time.perf_counter()
    fitted = fdl.fit_memory(loss, *args, peak_bytes=peak_bytes)
    passed = time.perf_counter() - start
    row = {
        "contender": name,
        "kind": "budget",
        "budget_bytes": peak_bytes,
        "memory": fitted.memory,
        "temp_bytes": fitted.temp_bytes,
        # The word of the fit is not taken for it.
        "kept": fitted.within and fitted.temp_bytes <= peak_bytes,
        "attempts": len(fitted.attempts),
        "compile_s": passed,
        "flops": flops(fitted.compiled),
    }
    return Contender(fitted.compiled, row)


def budgets(least: int, auto: int, policies: Iterable[int]) -> list[int]:
    """What the policies take, so that they can be met at equal bytes, and geometric means from the least up to auto.

    Those below the least that we can do are left out: they cannot be kept.
    """
    given = sorted({size for size in policies if size >= least})
    between = np.geomspace(max(least, 1), auto, BUDGETS - len(given) + 2)[1:-1] if auto > least else []
    return sorted([*given, *[round(x) for x in between]])


def ours(problem: MemoryProblem, policies: Iterable[int]) -> Iterable[Contender]:
    """Ours in every mode of memory, and within budgets."""
    args = (problem.params, *problem.batch)
    found: dict[str, int] = {}
    for mode in MODES:

        def fresh(mode: str = mode) -> Callable[..., Any]:
            return fdl.value_and_grad(problem.make_loss(identity), memory=mode)

        contender = compile_step(f"ours, {mode}", "ours", fresh, args)
        found[mode] = contender.row["temp_bytes"]
        yield predicted(contender, problem, mode)
    for number, size in enumerate(budgets(found["least"], found["auto"], policies), start=1):
        contender = fit_step(problem.make_loss(identity), args, f"ours, budget {number}", size)
        yield predicted(contender, problem, contender.row["memory"])


def predicted(contender: Contender, problem: MemoryProblem, memory: str | int) -> Contender:
    """The contender with the peak that the ledger foretells."""
    book = fdl.ledger(problem.make_loss(identity), problem.params, *problem.batch, memory=memory)
    contender.row["predicted_bytes"] = book.peak_bytes
    return contender


def theirs(problem: MemoryProblem) -> Iterable[Contender]:
    """jax.value_and_grad, plain and with each policy on every repeated block."""
    args = (problem.params, *problem.batch)
    wraps: dict[str, Wrap] = {PLAIN: identity}
    for name, policy in POLICIES.items():
        # In the body of a scan nothing can be merged across the two loops, so no barrier is needed.
        wraps[name] = functools.partial(jax.checkpoint, policy=policy, prevent_cse=not problem.scanned)
    for name, wrap in wraps.items():

        def fresh(wrap: Wrap = wrap) -> Callable[..., Any]:
            return jax.value_and_grad(problem.make_loss(wrap))

        yield compile_step(name, "plain" if name == PLAIN else "policy", fresh, args)


def flat(tree: Any) -> list[np.ndarray]:
    """The leaves in host memory, in float64."""
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]


def norm(leaves: list[np.ndarray]) -> float:
    """The Euclidean norm of all leaves together."""
    return math.sqrt(sum(float(np.sum(leaf**2)) for leaf in leaves))


def agree(contenders: list[Contender], args: tuple[Any, ...], network: str) -> None:
    """Record how far each value and gradient are from jax.grad's; raise where it is more than rounding."""
    reference: list[np.ndarray] = []
    for contender in sorted(contenders, key=lambda c: c.row["contender"] != PLAIN):
        value, *gradient = flat(contender.step(*args))
        reference = reference or [value, *gradient]
        row = contender.row
        differences = [a - b for a, b in zip(gradient, reference[1:], strict=True)]
        row["error"] = norm(differences) / norm(reference[1:])
        row["max_difference"] = max(float(np.max(np.abs(d))) for d in differences)
        row["value_error"] = abs(float(value - reference[0])) / abs(float(reference[0]))
        # Written so that a NaN raises too.
        if not max(row["error"], row["value_error"]) <= tolerance():
            raise AssertionError(
                f"{network}, {row['contender']}: the gradient is off jax.grad's by {row['error']:.1e} of its norm, the "
                f"value by {row['value_error']:.1e}; allowed is {tolerance():.0e}."
            )


def measure(network: str, problem: MemoryProblem, repeats: int, console: Console) -> list[Row]:
    """One row per contender of a network."""
    args = (problem.params, *problem.batch)
    contenders: list[Contender] = []

    def taken() -> Iterable[int]:
        return [c.row["temp_bytes"] for c in contenders if c.row["kind"] == "policy"]

    for source in (lambda: theirs(problem), lambda: ours(problem, taken())):
        for contender in source():
            row = contender.row
            console.print(
                f"  {row['contender']}: {row['temp_bytes'] / 1e6:.2f} MB, compiled in {row['compile_s']:.1f} s",
                markup=False,
                highlight=False,
            )
            contenders.append(contender)
    agree(contenders, args, network)

    console.print(f"  gradients agree; tracing {TRACE_ROUNDS} times each")
    fresh = {c.row["contender"]: c.fresh for c in contenders if c.fresh is not None}
    traces = interleaved({n: functools.partial(trace, f, args) for n, f in fresh.items()}, TRACE_ROUNDS)

    def step(contender: Contender) -> Callable[[], None]:
        def run() -> None:
            jax.block_until_ready(contender.step(*args))

        return run

    console.print(f"  timing {repeats} rounds of {len(contenders)} contenders")
    times = interleaved({c.row["contender"]: step(c) for c in contenders}, repeats, warm_up=2)
    rows = []
    for contender in contenders:
        name = contender.row["contender"]
        row = {"network": network, **contender.row}
        if name in traces:
            row |= {"trace_s": statistics.median(traces[name]), "trace_times": traces[name]}
        row |= {"step_s": statistics.median(times[name]), "ratio": ratio(times[name], times[PLAIN])}
        row |= {"step_times": times[name], "device": jax.devices()[0].device_kind}
        rows.append(row)
    plain = next(row for row in rows if row["contender"] == PLAIN)
    for row in rows:
        row["share"] = row["temp_bytes"] / plain["temp_bytes"]
    return rows


def trace(fresh: Callable[[], Callable[..., Any]], args: tuple[Any, ...]) -> None:
    """Trace the function that ``fresh`` returns."""
    jax.jit(fresh()).trace(*args)


def report(network: str, rows: list[Row]) -> Table:
    """A network's rows as a table."""
    table = Table(title=f"{network}: one compiled value_and_grad, JAX {jax.__version__}, {jax.default_backend()}")
    for column in ("contender", "budget, MB", "temp, MB", "of jax.grad's", "step, ms", "ratio [quartiles]",
                   "predicted / temp", "trace, s", "compile, s", "error"):  # fmt: skip
        table.add_column(column, justify="left" if column == "contender" else "right")
    for row in sorted(rows, key=lambda row: (not row["contender"].startswith("ours"), row["temp_bytes"])):
        fits = f" ({row['attempts']} fits)" if "attempts" in row else ""
        table.add_row(
            row["contender"],
            f"{row['budget_bytes'] / 1e6:.2f} {'kept' if row['kept'] else 'broken'}" if "budget_bytes" in row else "",
            f"{row['temp_bytes'] / 1e6:.2f}",
            f"{row['share']:.3f}",
            f"{1e3 * row['step_s']:.2f}",
            "{:.2f} [{:.2f}, {:.2f}]".format(*row["ratio"]),
            f"{row['predicted_bytes'] / row['temp_bytes']:.2f}" if "predicted_bytes" in row else "",
            f"{row['trace_s']:.3f}" if "trace_s" in row else "",
            f"{row['compile_s']:.2f}{fits}",
            f"{row['error']:.0e}",
        )
    return table


def results_path(name: str) -> Path:
    """Where `benchmarks.measure.write` puts the rows of ``name``."""
    return Path(__file__).parent / "results" / f"{name}-{jax.default_backend()}-jax{jax.__version__}.json"


def merged(old: list[Row], new: list[Row]) -> list[Row]:
    """The rows of all networks, in the order of NETWORKS: a network's new rows in the place of its old ones."""
    measured = {row["network"] for row in new}
    rows = [row for row in old if row["network"] not in measured] + new
    order = {name: place for place, name in enumerate(NETWORKS)}
    return sorted((row for row in rows if row["network"] in order), key=lambda row: order[row["network"]])


def main() -> None:
    """Measure the networks; after each, print its table and write the result file and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), metavar="NAME",
                        help=f"some of {', '.join(NETWORKS)}")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=10, help="timed rounds over all contenders of a network")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to see that the program runs")
    options = parser.parse_args()
    console = Console(width=150)
    name = "memory-small" if options.small else "memory"
    command = f"python -m benchmarks.memory --repeats {options.repeats}{' --small' if options.small else ''}"
    path = results_path(name)
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    for number, network in enumerate(options.networks, start=1):
        console.print(f"{network} ({number} of {len(options.networks)})", style="bold", highlight=False)
        started = time.perf_counter()
        problem = (SMALL if options.small else NETWORKS)[network]()
        new = measure(network, problem, options.repeats, console)
        rows = merged(rows, new)
        path = write(name, rows, command)
        console.print(report(network, new))
        console.print(f"  {time.perf_counter() - started:.0f} s; written to {path}", highlight=False)
    console.print(report_aims(aims(rows), len({row["network"] for row in rows})))
    drawn = picture(rows, path.with_suffix(".png"))
    console.print(f"{environment()}\nwritten to {path}" + (f" and {path.with_suffix('.png')}" if drawn else ""))


if __name__ == "__main__":
    main()
