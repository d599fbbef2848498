"""Interleaved timing, and one place that says on what machine and versions a result was measured."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

__all__ = ["environment", "interleaved", "write"]


def interleaved(contenders: Mapping[str, Callable[[], Any]], repeats: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Seconds of each contender, called in turn ``repeats`` times, after ``warm_up`` rounds that do not count.

    The order alternates from round to round, so that neither always runs on the other's warm caches; the
    collector runs between calls, not inside them.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for turn in range(warm_up + repeats):
        for name in names if turn % 2 else reversed(names):
            gc.collect()
            gc.disable()
            start = time.perf_counter()
            contenders[name]()
            passed = time.perf_counter() - start
            gc.enable()
            if turn >= warm_up:
                times[name].append(passed)
    return times


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Median of the round-by-round ratios, with their quartiles."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(pairs), float(np.quantile(pairs, 0.25)), float(np.quantile(pairs, 0.75))


def environment() -> dict[str, Any]:
    """Versions and machine, for the result file."""
    return {
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "platform": platform.platform(),
    }


def write(name: str, rows: list[dict[str, Any]], command: str) -> Path:
    """Write rows to ``benchmarks/results/<name>-<backend>-jax<version>.json``."""
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{jax.default_backend()}-jax{jax.__version__}.json"
    path.write_text(json.dumps({"command": command, "environment": environment(), "rows": rows}, indent=1) + "\n")
    return path
