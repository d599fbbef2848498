"""What a search found, in files: its members' ranking, the best one's config, the figures of its finalists."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from typing import Any

from functional_dl.config import Config, changed
from functional_dl.strategies.space import Space
from functional_dl.training.run_folder import RunFolder
from functional_dl.training.snapshots import write_atomically
from functional_dl.tuning.search import Found
from functional_dl.tuning.trials import Line

__all__ = ["best_config", "by_member", "short_names", "shown", "shown_value", "spread", "write_ranking", "write_result"]


def by_member(found: Found) -> dict[int, list[Line]]:
    """What the strategy heard of each member, in turn; members best first."""
    last = max((line.round for line in found.lines), default=0)
    lines: dict[int, list[Line]] = {member: [] for member, _, _ in found.standing}
    for line in found.lines:
        if line.round < last or not found.finished:  # the last round is the finalists'
            lines[line.member].append(line)
    return lines


def write_ranking(run: RunFolder, found: Found, space: Space, metric: str) -> None:
    """Write ``ranking.csv``: a row for each member, best first, with its last result in the strategy's rounds."""
    measured = list(dict.fromkeys([metric, "loss"]))
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["rank", "member", "steps", *measured, "seed", *space])
    for rank, (*_, line) in enumerate(by_member(found).values(), 1):
        values = [_plain(line.values[key]) for key in space]
        rows.writerow([rank, line.member, line.steps, *(line.metrics[x] for x in measured), line.seed, *values])
    write_atomically(run.path / "ranking.csv", file.getvalue().encode())


def best_config(config: Config, found: Found) -> Config:
    """The config of the best: to be trained on all training data, so without the search that it is from."""
    own = config.model_copy(update={"tuning": None, "name": f"{config.name}-best"})
    return changed(own, {**found.values, "seed": found.seed}, "the best")


def write_result(run: RunFolder, config: Config, found: Found, metric: str) -> None:
    """Write ``best.toml`` and ``result.json``."""
    run.write_config(best_config(config, found), "best.toml")
    best = found.finalists[0]
    names = list(dict.fromkeys([metric, "loss"]))
    result = {
        "config": config.name,
        "score": metric,
        "best": {"member": best.member, "seed": found.seed, "values": dict(found.values)},
        "validation": {name: _figures([m[name] for m in best.metrics]) for name in names},
        "test": {name: _figures([m[name] for m in found.test]) for name in names if found.test},
        "finalists": [
            {
                "member": one.member,
                "seeds": list(one.seeds),
                "values": dict(one.values),
                "validation": {name: _figures([m[name] for m in one.metrics]) for name in names},
            }
            for one in found.finalists
        ],
        "members": len(found.standing),
        "member_steps": dict(zip(("search", "finalists"), found.member_steps, strict=True)),
    }
    write_atomically(run.path / "result.json", (json.dumps(result, indent=2) + "\n").encode())


def _figures(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, there being none of a single one, and the values; JSON has no NaN."""
    mean, deviation = spread(values)
    finite = [x if math.isfinite(x) else str(x) for x in values]
    return {"mean": mean if math.isfinite(mean) else str(mean), "sd": deviation, "values": finite}


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean of some values and their standard deviation, ``None`` where that says nothing."""
    mean = statistics.fmean(values)
    return mean, statistics.stdev(values) if len(values) > 1 and math.isfinite(mean) else None


def short_names(space: Space) -> dict[str, str]:
    """What to call each key where there is little room: its last part, if no other key ends in it."""
    ends = [key.rpartition(".")[2] for key in space]
    return {
        key: end if ends.count(end) == 1 and not end.isdecimal() else key for key, end in zip(space, ends, strict=True)
    }


def shown(metric: str, value: float, spread: float | None = None) -> str:
    """A metric as one reads it.

    Example:
      >>> shown("accuracy", 0.9731), shown("accuracy", 0.9731, 0.002), shown("loss", 0.123456, 0.01)
      ('97.31%', '97.31% ± 0.20', '0.1235 ± 0.01')
    """
    if math.isnan(value):
        return "diverged"
    if metric == "accuracy":
        return f"{value:.2%}" + ("" if spread is None else f" ± {100 * spread:.2f}")
    return f"{value:.4g}" + ("" if spread is None else f" ± {spread:.2g}")


def shown_value(value: Any) -> str:
    """A hyperparameter as one reads it."""
    return f"{value:.4g}" if isinstance(value, float) else str(_plain(value))


def _plain(value: Any) -> Any:
    """A value for one field of a table; a list, or a choice that is a table, as JSON."""
    return json.dumps(value) if isinstance(value, (list, tuple, dict)) else value
