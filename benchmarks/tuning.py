"""Populations of the digits MLP: a loop of jitted runs, a scanned run, a population, and halving; time and accuracy.

Run: ``python -m benchmarks.tuning [--members 16 64 256 1024] [--seeds N] [--epochs N]``.

Every way trains from nothing, so the seconds hold its own tracing and compilation.  All train the same members on the
same batches, hence find the same; halving and the smaller random search make equally many member-steps, by default
about a tenth of the full search's.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import environment, write
from functional_dl.cli.devices import divide_cores
from functional_dl.config import load
from functional_dl.data.shuffling import batch_at
from functional_dl.strategies import Halving, Random, log_uniform, uniform
from functional_dl.strategies.space import draw, member_seed
from functional_dl.training.step import network_step
from functional_dl.tuning.configured import configured
from functional_dl.tuning.members import ORDER, Members, measured
from functional_dl.tuning.population import Member, Population
from functional_dl.tuning.problem import Problem
from functional_dl.tuning.search import run_search

SPACE = {
    "optimizer.learning_rate": log_uniform(1e-5, 1.0),
    "optimizer.weight_decay": log_uniform(1e-5, 1.0),
    "model.dropout": uniform(0.0, 0.8),
    "initialization.scale": log_uniform(0.03, 3.0),
}
DIGITS = Path(__file__).parent.parent / "configs/digits_mlp.toml"


def digits(epochs: int, seed: int) -> Problem:
    """The problem; ``seed`` also draws the validation part."""
    return configured(load(DIGITS, [f"training.epochs={epochs}"]), split=seed)


def loop(problem: Problem, members: int, seed: int) -> dict[str, float]:
    """What one writes without a population: for each member a Python loop over one jitted step, compiled once.

    Data are on the device and batches are cut there, one program with the step; the loop waits once, at the end.
    """
    ready = problem.prepare({})
    train, validation, test = jax.device_put((ready.parts.train, ready.parts.validation, ready.parts.test))

    @jax.jit
    def begin(numbers: Any, seed: Any) -> Any:
        return ready.recipe(numbers).start(seed)

    @jax.jit
    def step(numbers: Any, seed: Any, training: Any, data: Any) -> Any:
        recipe = ready.recipe(numbers)
        order = jax.random.fold_in(jax.random.key(seed), ORDER)
        rows = batch_at(order, training.steps, len(data[0]), ready.batch)
        return network_step(recipe.loss, recipe.optimizer)(training, tuple(x[rows] for x in data))[0]

    @jax.jit
    def measure(numbers: Any, seed: Any, training: Any, data: Any) -> Any:
        return measured(ready, Members(seed, numbers, training), data)

    best: tuple[Any, ...] = (np.inf, None)
    for i in range(members):
        numbers = {k: jnp.float32(x) for k, x in draw(SPACE, seed, i).items()}
        own = np.uint32(member_seed(seed, i))
        training = begin(numbers, own)
        for _ in range(ready.steps):
            training = step(numbers, own, training, train)
        found = {k: float(x) for k, x in measure(numbers, own, training, validation).items()}
        score = (-found["accuracy"], found["loss"])
        if np.isfinite(found["loss"]) and (best[1] is None or score < best[0]):
            best = (score, measure(numbers, own, training, test))
    return {"validation": -best[0][0], "test": float(best[1]["accuracy"]), "member_steps": members * ready.steps}


def anew(problem: Problem, members: int, seed: int) -> dict[str, float]:
    """The loop as separate programs run it: each member's step is traced and compiled for itself."""
    steps, found = 0.0, {}
    for i in range(members):
        only = {k: draw(SPACE, seed, i)[k] for k in SPACE}
        ready = problem.prepare({})
        recipe = ready.recipe(only)
        step = network_step(recipe.loss, recipe.optimizer)
        training = jax.jit(recipe.start)(np.uint32(member_seed(seed, i)))
        order = jax.random.fold_in(jax.random.key(member_seed(seed, i)), ORDER)
        batch = jax.jit(lambda i, key=order: batch_at(key, i, len(ready.parts.train[0]), ready.batch))  # noqa: B023
        for k in range(ready.steps):
            rows = np.asarray(batch(k))
            training, _ = step(training, tuple(x[rows] for x in ready.parts.train))
        found = jax.block_until_ready(training)
        steps += ready.steps
    del found
    return {"member_steps": steps}


def sequential(problem: Problem, members: int, seed: int) -> dict[str, float]:
    """One program that scans over members and their steps, on one device."""
    return population(problem, members, seed, devices=jax.devices()[:1], paces={"": {1: 1.0}})


def population(problem: Problem, members: int, seed: int, **options: Any) -> dict[str, float]:
    """All members in full, and the best tested."""
    trained = Population(
        problem, set(SPACE), lambda i: Member(draw(SPACE, seed, i), member_seed(seed, i)), capacity=members, **options
    )
    metrics = trained.run(dict.fromkeys(range(members), problem.steps))
    best = min((i for i in metrics if np.isfinite(metrics[i]["loss"])),
               key=lambda i: (metrics[i]["score"], metrics[i]["loss"]))  # fmt: skip
    tested = trained.test([best])[best]
    return {
        "validation": metrics[best]["accuracy"], "test": tested["accuracy"],
        "member_steps": members * problem.steps, "side_by_side": _side_by_side(trained),
    }  # fmt: skip


def _side_by_side(trained: Population) -> float:
    """How many members a device runs side by side: on a CPU what is measured faster for many."""
    paces = trained.paces.get("", {})
    return min(paces, key=lambda n: paces[n] / n) if paces else float("nan")


def searched(strategy: Any) -> Callable[..., dict[str, float]]:
    """A search without further seeds of the finalists, so that member-steps are the strategy's own."""

    def run(problem: Problem, members: int, seed: int) -> dict[str, float]:
        found = run_search(problem, SPACE, strategy, seed, finalists=1, seeds=1)
        (best,) = found.finalists
        return {
            "validation": best.metrics[0]["accuracy"], "test": found.test[0]["accuracy"],
            "member_steps": sum(found.member_steps),
        }  # fmt: skip

    return run


def ways(members: int, steps: int, with_anew: bool) -> dict[str, Callable[..., dict[str, float]]]:
    """What is compared.  Halving makes as many member-steps as come next below a tenth of the full search's."""
    halvings = [Halving(members, eta) for eta in (2, 3, 4, 6, 8)]
    tenth = members * steps / 10
    below = [h for h in halvings if h.budget(steps) <= tenth]
    halving = max(below, key=lambda h: h.budget(steps)) if below else min(halvings, key=lambda h: h.budget(steps))
    fewer = max(1, round(halving.budget(steps) / steps))
    made = {
        "loop": loop, "scanned": sequential, "population": population,
        f"halving, η = {halving.eta}": searched(halving), f"random, {fewer} members": searched(Random(fewer)),
    }  # fmt: skip
    return {"loop, each compiled": anew, **made} if with_anew else made


def measure(members: int, seeds: int, epochs: int) -> list[dict[str, Any]]:
    """One row for each way, seeds interleaved."""
    found: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        problem = digits(epochs, seed)
        named = ways(members, problem.steps, with_anew=members <= 16)
        for name in named if seed % 2 else reversed(named):
            gc.collect()
            start = time.perf_counter()
            got = named[name](problem, members, seed)
            found.setdefault(name, []).append({**got, "seconds": time.perf_counter() - start})
    rows = []
    for name in named:
        own = found[name]
        row: dict[str, Any] = {"members": members, "way": name, "steps": problem.steps, "seeds": seeds}
        row["seconds"] = statistics.median(x["seconds"] for x in own)
        row["member_steps"] = own[0]["member_steps"]
        row["speedup_over_loop"] = statistics.median(
            a["seconds"] / b["seconds"] for a, b in zip(found["loop"], own, strict=True)
        )
        for part in ("validation", "test"):
            values = [x[part] for x in own if part in x]
            row[part] = (
                [statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0] if values else None
            )
        row["side_by_side"] = own[0].get("side_by_side")
        rows.append(row)
    return rows


def one_member(epochs: int, many: int, repeats: int) -> dict[str, Any]:
    """A compiled rung of one member, and of many: what the others cost (an accelerator's claim)."""
    problem = digits(epochs, 0)
    took: dict[int, list[float]] = {1: [], many: []}
    pools = {}
    for n in took:
        pools[n] = Population(problem, set(SPACE), lambda i: Member(draw(SPACE, 0, i), member_seed(0, i)), capacity=n)
        pools[n].run(dict.fromkeys(range(n), 1))
    for _ in range(repeats):
        for n, trained in pools.items():
            start = time.perf_counter()
            trained.run(dict.fromkeys(range(n), 100))
            took[n].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(took[1], took[many], strict=True)]
    return {"way": "compiled rung of 100 steps", "members": many, "seconds_of_one": statistics.median(took[1]),
            "seconds": statistics.median(took[many]), "ratio": statistics.median(ratios)}  # fmt: skip


def show(console: Console, rows: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table("members", "way", "seconds", "× the loop", "member-steps", "validation", "test", "side by side")
    for row in rows:
        spread = [
            "" if row[part] is None else f"{row[part][0]:.2%} ± {row[part][1]:.2%}" for part in ("validation", "test")
        ]
        chunk = row["side_by_side"]
        table.add_row(
            str(row["members"]), row["way"], f"{row['seconds']:.2f}", f"{row['speedup_over_loop']:.1f}",
            f"{row['member_steps']:,.0f}", *spread, "" if chunk is None else f"{chunk:.0f}",
        )  # fmt: skip
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    given = parser.parse_args()
    divide_cores()
    console = Console(width=140)
    console.print(f"{environment()}, {os.cpu_count()} cores, {len(jax.devices())} devices")
    rows: list[dict[str, Any]] = []
    for members in given.members:
        rows += measure(members, given.seeds, given.epochs)
        show(console, rows[-6:])
    console.print("seconds hold tracing and compiling; validation and test of the best found, mean ± sd over seeds")
    rung = one_member(given.epochs, 256, 5)
    console.print(
        f"a compiled rung of 100 steps: one member {1e3 * rung['seconds_of_one']:.1f} ms, 256 members "
        f"{1e3 * rung['seconds']:.1f} ms, ratio {rung['ratio']:.1f}"
    )
    arguments = f"--members {' '.join(map(str, given.members))} --seeds {given.seeds} --epochs {given.epochs}"
    console.print(f"written: {write('tuning', [*rows, rung], f'python -m benchmarks.tuning {arguments}')}")


if __name__ == "__main__":
    main()
