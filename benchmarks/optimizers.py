"""Optimizer steps over many leaves: compile time, kernels and step time, beside optax and a loop over leaves.

Run: ``python -m benchmarks.optimizers [--repeats N] [--trees 100 400 …] [--optimizers adam …]``; optax comes with the
extra ``peers``.  On a GPU, ``--bandwidth`` measures an Adam step over a billion parameters against a copy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import functional_dl as fdl
from benchmarks.measure import environment, interleaved, ratio, write
from functional_dl import nn, optim
from functional_dl.trees import count

# Ours, and optax's with the same arithmetic.
OPTIMIZERS: dict[str, tuple[Callable[[], optim.Optimizer], Callable[[], Any]]] = {
    "adam": (lambda: optim.adam(1e-3), lambda: optax.adam(1e-3)),
    "adamw": (lambda: optim.adamw(1e-3), lambda: optax.adamw(1e-3, weight_decay=1e-2)),
    "sgd-momentum": (
        lambda: optim.sgd(1e-3, momentum=0.9, convention="optax"),
        lambda: optax.sgd(1e-3, momentum=0.9),
    ),
    "lion": (lambda: optim.lion(1e-4), lambda: optax.lion(1e-4)),
    # Of optax's the matrices are the leaves of two axes; ours by default orthogonalizes convolutions as well.
    "muon": (lambda: optim.muon(1e-3, matrices=lambda path, leaf: leaf.ndim == 2), lambda: optax.contrib.muon(1e-3)),
}
LONGEST = 20.0  # seconds that one row may take
WIDTHS = (16, 24, 32, 48, 64, 96, 128)


def mixed(leaves: int) -> dict[str, Any]:
    """Half matrices, half vectors, of 49 and 7 shapes."""
    rng = np.random.default_rng(0)
    shapes = [tuple(int(w) for w in rng.choice(WIDTHS, 1 if i % 2 else 2)) for i in range(leaves)]
    return {f"layer_{i:04}": jnp.asarray(rng.normal(size=s), jnp.float32) for i, s in enumerate(shapes)}


def resnet_50() -> dict[str, Any]:
    """The parameters of ResNet-50 for ImageNet."""
    network = nn.resnet((224, 224, 3), 1000, blocks=(3, 4, 6, 3), width=64, bottleneck=True)
    return network.init(jax.random.key(0))


TREES: dict[str, Callable[[], Any]] = {
    "100": lambda: mixed(100),
    "400": lambda: mixed(400),
    "1000": lambda: mixed(1000),
    "ResNet-50": resnet_50,
}


def contenders(name: str, params: Any) -> dict[str, tuple[Callable[..., Any], Any]]:
    """``update(state, grads) -> state`` of each, and its first state, parameters included."""
    make_ours, make_theirs = OPTIMIZERS[name]
    ours, theirs = make_ours(), make_theirs()

    def chained(state: Any, grads: Any) -> Any:
        own, params = state
        updates, own = theirs.update(grads, own, params)
        return own, optax.apply_updates(params, updates)

    def fresh() -> Any:
        return jax.tree.map(jnp.copy, params)

    return {
        "ours": (ours.update, ours.init(params)),
        "optax": (chained, (theirs.init(params), fresh())),
        # Each leaf in an array of its own: what ours would be without its layout.
        "per leaf": (ours.update, ours.init(params, apart=lambda path, leaf: path)),
    }


def kernels(compiled: Any) -> int:
    """Fusions, and library calls, in the compiled module."""
    text = compiled.as_text()
    return sum(text.count(f" {kind}(") for kind in ("fusion", "custom-call", "dot", "concatenate"))


def measure(name: str, tree: str, repeats: int) -> dict[str, Any]:
    """One row."""
    params = TREES[tree]()
    grads = jax.tree.map(lambda x: jnp.asarray(np.random.default_rng(1).normal(size=x.shape), x.dtype), params)
    row: dict[str, Any] = {"optimizer": name, "tree": tree, "leaves": len(jax.tree.leaves(params))}
    row["entries"] = count(params)
    return timed(row, contenders(name, params), grads, repeats)


def timed(row: dict[str, Any], made: dict[str, tuple[Any, Any]], given: Any, repeats: int) -> dict[str, Any]:
    """The row with compile times, kernels and step times of ``made``, each called as ``update(state, given)``."""
    programs, states = {}, {}
    for who, (update, state) in made.items():
        start = time.perf_counter()
        lowered = jax.jit(update, donate_argnums=0).lower(state, given)
        traced = time.perf_counter()
        programs[who], states[who] = lowered.compile(), state
        row[f"trace_{who}"], row[f"compile_{who}"] = traced - start, time.perf_counter() - traced
        row[f"kernels_{who}"] = kernels(programs[who])

    def step(who: str) -> Callable[[], Any]:
        def call() -> None:
            states[who] = jax.block_until_ready(programs[who](states[who], given))

        return call

    start = time.perf_counter()
    for who in programs:
        step(who)()
    # Steps of seconds, such as Muon's over a ResNet, are repeated five times.
    row["repeats"] = max(5, min(repeats, int(LONGEST / (time.perf_counter() - start))))
    times = interleaved({who: step(who) for who in programs}, row["repeats"], warm_up=2)
    for who, found in times.items():
        row[f"step_{who}"] = statistics.median(found)
        if who != "ours":
            row[f"ratio_{who}"] = ratio(times["ours"], found)
    return row


def training(depth: int, repeats: int) -> dict[str, Any]:
    """A whole step of a deep MLP under Adam, gradient and all: what cutting leaves out of arrays costs is in it."""
    network = nn.mlp(64, 10, hidden=[64] * depth, activation="tanh")
    params = network.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    batch = jnp.asarray(rng.normal(size=(64, 64)), jnp.float32), jnp.asarray(rng.integers(0, 10, 64))

    def loss(params: Any, x: Any, labels: Any) -> Any:
        return nn.losses.cross_entropy(network.apply(params, x), labels)

    slope = fdl.value_and_grad(loss)

    def whole(update: Callable[..., Any], read: Callable[[Any], Any]) -> Callable[..., Any]:
        return lambda state, batch: update(state, slope(read(state), *batch)[1])

    row: dict[str, Any] = {"optimizer": "adam", "tree": f"training, {depth} layers"}
    row |= {"leaves": len(jax.tree.leaves(params)), "entries": count(params)}
    made = {
        who: (whole(update, (lambda s: s[1]) if who == "optax" else (lambda s: s.params)), state)
        for who, (update, state) in contenders("adam", params).items()
    }
    return timed(row, made, batch, repeats)


def bandwidth(entries: int, repeats: int) -> dict[str, Any]:
    """The share of measured memory bandwidth that an Adam step over ``entries`` parameters reaches."""
    side = 2**13
    leaves = {f"{i}": jnp.ones((entries // 16 // side, side)) for i in range(16)}
    optimizer = optim.adam(1e-3)
    state = optimizer.init(leaves)
    size = 4 * count(leaves)
    update = jax.jit(optimizer.update, donate_argnums=0)
    double = jax.jit(lambda tree: jax.tree.map(lambda x: 2 * x, tree), donate_argnums=0)
    held = {"adam": state, "copy": leaves}
    grads = jax.tree.map(jnp.ones_like, leaves)

    def step() -> None:
        held["adam"] = jax.block_until_ready(update(held["adam"], grads))

    def copy() -> None:
        held["copy"] = jax.block_until_ready(double(held["copy"]))

    times = interleaved({"adam": step, "copy": copy}, repeats, warm_up=2)
    # Adam reads w, F, A and g and writes w, F and A; the copy reads and writes once.
    found = {"adam": 7 * size / statistics.median(times["adam"]), "copy": 2 * size / statistics.median(times["copy"])}
    return {"entries": count(leaves), **{f"bytes_per_second_{k}": x for k, x in found.items()},
            "share": found["adam"] / found["copy"]}  # fmt: skip


def main() -> None:
    """Measure every optimizer on every tree, print the table, write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--trees", nargs="+", choices=TREES, default=list(TREES))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--training", type=int, default=60, metavar="LAYERS", help="of the whole step; 0: none")
    parser.add_argument("--bandwidth", type=int, default=0, metavar="ENTRIES", help="parameters of one Adam step")
    chosen = parser.parse_args()
    console = Console(width=150)
    table = Table(
        title=f"one optimizer step, JAX {jax.__version__}, optax {optax.__version__}: ours / optax / per leaf"
    )
    for column in (
        "optimizer",
        "leaves",
        "compile, s",
        "kernels",
        "step, ms",
        "step, ours over optax",
        "over per leaf",
    ):
        table.add_column(column, justify="left" if column == "optimizer" else "right")
    rows = []
    for name in chosen.optimizers:
        for tree in chosen.trees:
            console.print(f"{name} over {tree} leaves …")
            rows.append(measure(name, tree, chosen.repeats))
    if chosen.training:
        rows.append(training(chosen.training, chosen.repeats))
    for row in rows:
        who = [w for w in ("ours", "optax", "per leaf") if f"step_{w}" in row]
        ratios = ["{:.2f} [{:.2f}, {:.2f}]".format(*row[f"ratio_{w}"]) for w in who[1:]]
        table.add_row(
            row["optimizer"],
            row["tree"],
            " / ".join(f"{row[f'compile_{w}']:.2f}" for w in who),
            " / ".join(f"{row[f'kernels_{w}']}" for w in who),
            " / ".join(f"{1e3 * row[f'step_{w}']:.2f}" for w in who),
            *ratios,
        )
    console.print(table)
    options = f"--repeats {chosen.repeats}"
    if chosen.bandwidth:
        rows.append(found := bandwidth(chosen.bandwidth, chosen.repeats))
        console.print(f"Adam over {found['entries']:,} parameters: {found['share']:.0%} of the bandwidth of a copy")
        options += f" --bandwidth {chosen.bandwidth}"
    path = write("optimizers", rows, f"python -m benchmarks.optimizers {options}")
    console.print(f"{environment()}\nwritten to {path}")


if __name__ == "__main__":
    main()
