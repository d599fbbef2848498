"""Flows made by hand, and deep networks whose flow is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from functional_dl import nn
from functional_dl.diagnostics import Flow, Measures, Place, Share

__all__ = ["chain", "deep", "layer", "loop"]


def layer(name: str, shape: tuple[int, ...] = (8, 4), activation: str = "relu", **more: Any) -> Place:
    """A layer with one kernel under its name."""
    return Place(name, "layer", (f"{name}/kernel",), "net.py:7 (dense)", activation, shape, **more)


def flow_of(places: Sequence[Place], measures: Sequence[Measures], ratios: Any = 1e-3, **more: Any) -> Flow:
    """A flow whose kernels have norm 2 and gradients of norm 3."""
    ratios = [ratios] * len(places) if isinstance(ratios, float) else ratios
    shares = {p.parameters[0]: Share(2.0, 3.0, 2 * r) for p, r in zip(places, ratios, strict=True) if p.parameters}
    return Flow.of(**{"loss": 1.5, "aux": None, "grads": {}, **more}, places=tuple(places), measures=tuple(measures),
                shares=shares)  # fmt: skip


def chain(
    deltas: Sequence[float], ratios: Any = 1e-3, activation: str = "relu", steepest: dict[int, Any] | None = None
) -> Flow:
    """Layers ``l0``, ``l1``, … of 4 units, of which each has such a δ; the last one is not activated."""
    last = len(deltas) - 1
    places = [layer(f"l{i}", activation="" if i == last else activation) for i in range(len(deltas))]
    ones = np.ones(4)
    measures = [
        Measures(2.0, 1.0, 2 * d, None if i == last else 0.5 * ones,
                 None if i == last else np.asarray((steepest or {}).get(i, ones)))
        for i, d in enumerate(deltas)
    ]  # fmt: skip
    return flow_of(places, measures, ratios)


def loop(name: str, deltas: Sequence[float], stacked: bool = False) -> tuple[Place, Measures]:
    """A place in a loop, with δ of 4 units at each iteration."""
    n = np.ones(len(deltas))
    return layer(name, activation="tanh", times=len(deltas), stacked=stacked), Measures(2 * n, n, 2 * np.array(deltas))


def deep(layers: int = 12, width: int = 16, **options: Any) -> tuple[nn.Network, Any, tuple[Any, Any]]:
    """A deep perceptron, its parameters, and 64 examples of three classes."""
    network = nn.mlp(10, 3, hidden=[width] * (layers - 1), **options)
    keys = jax.random.split(jax.random.key(1), 3)
    batch = jax.random.normal(keys[0], (64, 10)), jax.random.randint(keys[1], (64,), 0, 3)
    return network, network.init(keys[2]), batch
