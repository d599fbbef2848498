"""A search: rounds, finalists, the one test, and resumption to the same result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl import optim, tuning
from functional_dl.strategies.space import draw, member_seed
from functional_dl.training.snapshots import SnapshotError
from functional_dl.tuning import Asha, Found, Halving, Hyperband, MedianStopping, Random, choice, log_uniform
from functional_dl.tuning.problem import numbers_among
from functional_dl.tuning.search import Progress, run_search
from functional_dl.tuning.trials import Trials
from tests.tuning.problems import STEPS, curve

SPACE = {"rate": log_uniform(1e-3, 1.0)}
KINDS = {**SPACE, "width": choice(3, 5)}
ONE: dict[str, Any] = {"devices": jax.devices()[:1]}


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """No measuring of what is faster, which may come out differently from run to run: results are equal to the bit."""
    monkeypatch.setattr("functional_dl.tuning.programming.SIDE_BY_SIDE_ON_CPU", 1)


def search(folder: Path | None = None, space: Any = SPACE, strategy: Any = Halving(9), **options: Any) -> Found:  # noqa: B008
    trials = None if folder is None else Trials(folder)
    return run_search(curve({3: STEPS, 5: 2 * STEPS}) if "width" in space else curve(), space, strategy, seed=4,
                      trials=trials, **{**ONE, **options})  # fmt: skip


def test_halving_and_finalists() -> None:
    """Who trained how far, with which seed; finalists trained to the end; the best by its mean; tested once."""
    rounds: list[Progress] = []
    found = search(finalists=2, seeds=3, report=rounds.append)
    assert [(p.round, sorted(set(p.due.values())), len(p.due)) for p in rounds if p.metrics is None] == [
        (0, [4], 9), (1, [13], 3), (2, [40], 1), (3, [40], 6),
    ]  # fmt: skip
    assert found.member_steps == (9 * 4 + 3 * 9 + 27, 5 * 40 - 13) and found.finished
    for line in found.lines:
        of, repeat = (line.member, 0) if line.replicate_of is None else (line.replicate_of, (line.member - 9) % 2 + 1)
        assert line.values == draw(SPACE, 4, of)
        assert line.seed == member_seed(4, of, repeat)
    assert [len(x.metrics) for x in found.finalists] == [3, 3]
    assert found.finalists[0].result <= found.finalists[1].result
    assert found.finalists[0].result.loss == pytest.approx(np.mean([m["loss"] for m in found.finalists[0].metrics]))
    assert found.values == found.finalists[0].values and len(found.test) == 3
    first = found.finalists[0].metrics[0]
    (alone,) = search(strategy=Random(1), finalists=1, seeds=1).lines[:1]
    if found.finalists[0].member == 0:
        assert alone.metrics["loss"] == pytest.approx(first["loss"], rel=1e-4)


STRATEGIES = [
    Random(5), Halving(9), Hyperband(eta=3, least=4), Asha(members=8, places=3), MedianStopping(members=6, every=10),
]  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
def test_a_search_that_was_stopped_or_killed_resumes_to_the_same_result(tmp_path: Path, strategy: Any) -> None:
    """Stopped after each round in turn, each time by a process that knows nothing but the folder."""
    due = search(strategy=strategy, finalists=2, seeds=2)
    folder = tmp_path / "search"
    folder.mkdir()
    found = search(folder, strategy=strategy, finalists=2, seeds=2, stopping=lambda: True)
    for _ in range(3):
        # What a crash may leave behind: results of a round that the snapshot does not hold, and half a line.
        rounds = 1 + found.lines[-1].round
        with (folder / "trials.jsonl").open("a") as file:
            file.write(json.dumps({**found.lines[-1]._asdict(), "round": rounds}) + "\n" + '{"round": 9, "mem')
        if found.finished:
            break
        found = search(folder, strategy=strategy, finalists=2, seeds=2, resume=True, stopping=lambda: True)
    found = search(folder, strategy=strategy, finalists=2, seeds=2, resume=True)
    assert found == due
    lines = (folder / "trials.jsonl").read_text().splitlines()
    assert len(lines) == len(due.lines)
    assert search(folder, strategy=strategy, finalists=2, seeds=2, resume=True) == due


def test_resuming_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="no such snapshot"):
        search(tmp_path, resume=True)
    search(tmp_path, strategy=Random(2), finalists=1, seeds=1)
    with pytest.raises(SnapshotError, match=r"is of another search: its strategy is 'Random\(members=2\)'"):
        search(tmp_path, strategy=Random(3), resume=True)
    (tmp_path / "trials.jsonl").write_text("")
    with pytest.raises(SnapshotError, match="results are missing of the 2 rounds"):
        search(tmp_path, strategy=Random(2), finalists=1, seeds=1, resume=True)


def test_programs_and_lengths_of_training(tmp_path: Path) -> None:
    """A width is a program of its own; steps are in proportion to a member's own training."""
    found = search(space=KINDS, strategy=Halving(8), finalists=2, seeds=1)
    for line in found.lines:
        assert line.steps in ({13, 40} if line.values["width"] == 3 else {26, 80})
    assert {line.values["width"] for line in found.lines} == {3, 5}
    assert {line.steps for line in found.lines if line.round == 1} <= {40, 80}


def test_nothing_finite_is_said() -> None:
    with pytest.raises(ValueError, match="none of 3 members came to a finite score: the space wants other bounds"):
        search(space={"rate": choice(1e30, 1e33)}, strategy=Random(3))


# --- the user's own functions --------------------------------------------------------------------------------------

X = jax.random.normal(jax.random.key(0), (80, 3))
Y = X @ jnp.array([1.0, -2.0, 0.5])


def own(space: Mapping[str, Any], **options: Any) -> Found:
    def init(key: Any, scale: Any = 0.0) -> Any:
        return scale * jax.random.normal(key, (3,))

    def loss(w: Any, x: Any, y: Any, power: int = 2, decay: Any = 0.0) -> Any:
        return jnp.mean(jnp.abs(x @ w - y) ** power) + decay * jnp.sum(w * w)

    defaults: dict[str, Any] = {
        "optimizer": optim.sgd, "strategy": Random(4), "steps": 30, "batch": 16, "finalists": 1, "seeds": 1,
    }  # fmt: skip
    return tuning.search(space, init, loss, (X, Y), **{**ONE, **defaults, **options})


def test_own_functions() -> None:
    rate = {"optimizer.learning_rate": log_uniform(1e-3, 0.3)}
    space = {**rate, "loss.decay": log_uniform(1e-6, 1e-3), "init.scale": log_uniform(0.1, 1.0),
             "loss.power": choice(2, 4), "training.batch": choice(8, 16)}  # fmt: skip
    found = own(space, test=(X[:20], Y[:20]))
    assert found.values.keys() == space.keys() and len(found.test) == 1
    seeded = own({**rate, "seed": choice(7)})
    assert {line.seed for line in seeded.lines} == {7}


def test_own_functions_with_a_key() -> None:
    def noisy(w: Any, x: Any, y: Any, key: Any) -> Any:
        return jnp.mean((x @ w - y + jax.random.normal(key, y.shape)) ** 2)

    options: dict[str, Any] = {"optimizer": optim.sgd, "strategy": Random(2), "steps": 20, "finalists": 1, "seeds": 1}
    rate = {"optimizer.learning_rate": log_uniform(1e-2, 1e-1)}
    with pytest.raises(ValueError, match="this loss takes a key"):
        tuning.search(rate, lambda key: jnp.zeros(3), noisy, (X, Y), **ONE, **options)
    found = tuning.search(
        rate, lambda key: jnp.zeros(3), noisy, (X, Y), metric=lambda w, x, y: jnp.max(jnp.abs(x @ w - y)),
        **ONE, **options,
    )  # fmt: skip
    assert np.isfinite(found.finalists[0].result.loss)


@pytest.mark.parametrize(
    ("space", "options", "words"),
    [
        ({"learning_rate": log_uniform(1e-3, 1)}, {}, "unknown key 'learning_rate'; due is optimizer., loss. or init."),
        ({"loss.l2": log_uniform(1e-3, 1)}, {}, "'loss.l2': loss takes no l2; it takes w, x, y, power, decay"),
        ({"init.scale": log_uniform(1e-3, 1)}, {"validation": 0.0}, "validation = 0.0 of 80 examples"),
        ({"init.scale": log_uniform(1e-3, 1)}, {"batch": 100}, "batch size 100 for 64 examples"),
    ],
)
def test_bad_input(space: Any, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        own(space, **options)


def test_what_is_a_number_is_found() -> None:
    problem = curve()
    values = {"rate": 0.1, "width": 3, "other": "text"}
    assert numbers_among(problem, {"rate": 0.1}, ["rate"]) == {"rate"}
    assert numbers_among(problem, values, list(values)) == {"rate"}
