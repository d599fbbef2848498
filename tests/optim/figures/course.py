"""The course that other libraries' optimizers are sent over: 50 steps in float64, at half the rate after 25."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ARRAYS", "CHANGE", "RATE", "STEPS", "gradient", "record", "start"]

ARRAYS = {"vector": (4,), "matrix": (3, 2)}
STEPS, CHANGE, RATE = 50, 25, 2**-6


def start() -> dict[str, np.ndarray]:
    """The first parameters: numbers between −2 and 2."""
    return {name: 2 * np.cos(1 + np.arange(np.prod(s), dtype=np.float64)).reshape(s) for name, s in ARRAYS.items()}


def gradient(w: Any, t: Any, sin: Callable[[Any], Any] = np.sin) -> Any:
    """w/2 + sin(0.3 t + 0.7 i) + 0.2 at step t = 1, 2, … for the i-th entry."""
    place = np.arange(np.prod(w.shape), dtype=np.float64).reshape(w.shape)
    return w / 2 + sin(0.3 * t + 0.7 * place) + 0.2


def record(path: Path, versions: dict[str, str], runs: dict[str, Any], walk: Callable[[Any], list[Any]]) -> None:
    """Write what ``walk(make) -> arrays`` gives for each run.

    Args:
      path: the file.
      versions: of the library.
      runs: by name, (make, the name of our optimizer, our arguments).
      walk: sends an optimizer over the course.
    """
    made = {}
    for name, (make, ours, arguments) in runs.items():
        ends = [np.asarray(x, np.float64).tolist() for x in walk(make)]
        made[name] = {"ours": ours, "arguments": arguments, "end": dict(zip(ARRAYS, ends, strict=True))}
    facts = {
        "command": f"python {' '.join(sys.argv)}",
        "versions": {"python": platform.python_version(), **versions},
        "course": "functions `start` and `gradient` of tests/optim/figures/course.py",
        "runs": made,
    }
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
