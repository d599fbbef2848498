"""The training loop: steps, evaluation after each epoch, snapshots, and a stop that loses nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from functional_dl.config import Config
from functional_dl.training.experiment import Experiment
from functional_dl.training.run_folder import RunFolder
from functional_dl.training.snapshots import SnapshotError, restore, store
from functional_dl.training.step import Training, network_step

__all__ = ["Outcome", "evaluate", "resume_point", "snapshot_of", "train"]

EVALUATION_BATCH = 512


class Outcome(NamedTuple):
    """How a training ended.

    Attributes:
      state: the last state.
      finished: whether all steps were made (not so after a stop).
      evaluations: the evaluation lines written.
      seconds_per_step: median over the stretches between two reports, ``None`` before there is one.
    """

    state: Training
    finished: bool
    evaluations: list[dict[str, Any]]
    seconds_per_step: float | None


def evaluate(loss: Callable[..., Any], data: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Means of ``loss(inputs, targets) -> (scalar, metrics)`` over all examples, in portions."""
    inputs, targets = data
    totals: dict[str, float] = {}
    for start in range(0, len(inputs), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        value, extra = loss(inputs[part], targets[part])
        for name, x in {"loss": value, **extra}.items():
            totals[name] = totals.get(name, 0.0) + float(x) * len(inputs[part])
    return {name: total / len(inputs) for name, total in totals.items()}


def _stored(training: Training) -> dict[str, Any]:
    """What a snapshot holds: everything by the user's own paths; the key comes from the seed."""
    return {**training.optimizer.unpacked(), "network": training.network, "batches": training.steps}


def snapshot_of(run: RunFolder, experiment: Experiment, config: Config) -> tuple[Training, dict[str, Any]]:
    """The state in a run's snapshot, and the facts beside it; nothing is changed.

    Raises:
      SnapshotError: there is none, or it does not fit the config.
    """
    first = experiment.start(config.seed)
    tree, facts = restore(run.snapshot, _stored(first))
    network, steps = jax.tree.map(jax.numpy.asarray, (tree["network"], tree["batches"]))
    return Training(first.optimizer.packed_again(tree), network, first.key, steps), facts


def resume_point(run: RunFolder, experiment: Experiment, config: Config) -> Training:
    """Restore state and sampler from a run's snapshot; drop metrics written after it.

    Raises:
      SnapshotError: there is none, or it does not fit the config.
    """
    state, facts = snapshot_of(run, experiment, config)
    if facts.get("batch") != config.training.batch or facts.get("seed") != config.seed:
        raise SnapshotError(
            f"{run.snapshot} was made with batch {facts.get('batch')} and seed {facts.get('seed')}; the config has "
            f"batch {config.training.batch} and seed {config.seed}, with which it would not go on as it was"
        )
    experiment.sampler.epoch, experiment.sampler.position = int(facts["epoch"]), int(facts["position"])
    run.rewind(int(state.steps))
    return state


def train(
    experiment: Experiment,
    config: Config,
    run: RunFolder,
    state: Training,
    progress: Callable[[int, float, float], None],
    stopping: Callable[[], bool],
) -> Outcome:
    """Train from ``state`` to the end, or until ``stopping()`` says so; a snapshot is written either way.

    Args:
      experiment, config: what to train.
      run: where to write.
      state: where to begin.
      progress: called with (step, loss, examples per second) at every report.
      stopping: asked after each step.
    """
    step = network_step(experiment.objective.train, experiment.optimizer, memory=config.memory.plan)
    measure = jax.jit(experiment.objective.evaluate)
    result = jax.jit(experiment.optimizer.result)
    sampler, every = experiment.sampler, config.training.log_every
    evaluations = [line for line in run.read() if "test" in line]
    paces: list[float] = []
    done = int(state.steps)
    since, clock = done, time.perf_counter()
    fresh = True  # the first stretch holds the compilation and is no measure of pace

    def save() -> None:
        facts = {**sampler.state(), "batch": config.training.batch}
        store(run.snapshot, _stored(state), facts)

    while done < experiment.steps:
        state, metrics = step(state, experiment.batch(next(sampler)))
        done += 1
        if done % every == 0 or fresh:
            line = {name: float(x) for name, x in metrics.items()}  # waits for the device
            now = time.perf_counter()
            pace = (now - clock) / (done - since)
            if not fresh:
                paces.append(pace)
            if done % every == 0:
                run.append({"step": done, **line})
            progress(done, line["loss"], config.training.batch / pace)
            since, clock, fresh = done, now, False
        stop = stopping()
        if sampler.position == 0 and not stop:
            tested = partial(measure, result(state.optimizer), state.network)
            summary: dict[str, Any] = {
                "step": done,
                "epoch": sampler.epoch,
                "train": evaluate(tested, experiment.data.train),
                "test": evaluate(tested, experiment.data.test),
            }
            run.append(summary)
            evaluations.append(summary)
            save()
            since, clock = done, time.perf_counter()
        if stop:
            # A stop right at an epoch's end comes before its evaluation, which the resumed run owes.
            save()
            return Outcome(state, done >= experiment.steps, evaluations, statistics.median(paces) if paces else None)
    return Outcome(state, True, evaluations, statistics.median(paces) if paces else None)
