"""Tuning of the user's own functions: an initialisation, a loss, an optimizer, and data."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functional_dl import optim
from functional_dl.data import Sampler
from functional_dl.strategies.halving import Halving
from functional_dl.strategies.space import Space
from functional_dl.strategies.strategy import Strategy
from functional_dl.training.step import Training
from functional_dl.tuning.problem import Arrays, Parts, Prepared, Problem, Recipe
from functional_dl.tuning.search import Found, Report, run_search
from functional_dl.tuning.trials import Trials

__all__ = ["search"]

PLACES = ("init", "loss", "optimizer", "training")


def search(
    space: Space,
    init: Callable[..., Any],
    loss: Callable[..., Any],
    data: Sequence[Any],
    *,
    optimizer: Callable[..., optim.Optimizer] = optim.adam,
    metric: Callable[..., Any] | None = None,
    strategy: Strategy = Halving(27),  # noqa: B008  # frozen
    steps: int = 1000,
    batch: int = 64,
    validation: float | Sequence[Any] = 0.2,
    test: Sequence[Any] | None = None,
    seed: int = 0,
    finalists: int = 3,
    seeds: int = 3,
    folder: str | Path | None = None,
    resume: bool = False,
    memory: str | int = "auto",
    devices: Sequence[Any] | None = None,
    limit: int | None = None,
    report: Report = lambda progress: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Found:
    """Find good hyperparameters of a training: its members are trained as one compiled program.

    Keys of the space say whose keyword argument a hyperparameter is: ``"optimizer.learning_rate"``, ``"loss.l2"``,
    ``"init.scale"``; and there are ``"training.batch"``, ``"training.steps"`` and ``"seed"``.  Hyperparameters that the
    functions use as numbers only become arrays with an entry for each member.  Those that Python looks at (a width, the
    name of an activation, a batch size) say which program it is, and members are sorted by them.

    A member's batches and random numbers follow from its seed alone: it trains the same, up to rounding, by itself, in
    a population of any size, and after others were dropped from it.

    Args:
      space: the hyperparameters, such as ``{"optimizer.learning_rate": log_uniform(1e-4, 1e-1)}``.
      init: ``init(key, **values) -> params``.
      loss: ``loss(params, *batch, **values) -> scalar``, the mean over the batch.  If it takes a ``key``, it is given
        one for each step.
      data: arrays with examples along the first axis, such as ``(inputs, targets)``.
      optimizer: ``optimizer(**values) -> Optimizer``.
      metric: ``metric(params, *portion) -> scalar``, lower is better, the mean over the portion: what members are
        ranked by on the validation part, instead of the loss.  Needed if the loss takes a ``key``.
      strategy: who is trained and how far; see `functional_dl.tuning`.
      steps: of a whole training.
      batch: examples per step.
      validation: arrays like ``data``, or the share of ``data`` that is taken for validation, by ``seed``.
      test: arrays like ``data`` on which the best is tested, once, at the end.
      seed: of the members' hyperparameters and of their seeds.
      finalists: how many of the best are compared over several seeds.
      seeds: how many trainings each finalist gets.
      folder: where to write results and the population after each round.
      resume: go on with the search in ``folder``.
      memory: what backward passes keep, as of `functional_dl.value_and_grad`.
      devices: what to run on, members divided among them; by default all there are.
      limit: the bytes that a device may hold; members that do not fit at once run one chunk after the other.
      report, stopping: called at the beginning and end of each round; asked after each.

    Raises:
      ValueError: keys that name no argument, data that do not fit together, no member with a finite score.
      SnapshotError: ``resume`` without a search in ``folder``, or of another one.

    Example:
      >>> import jax, jax.numpy as jnp, functional_dl as fdl
      >>> from functional_dl import tuning
      >>> x = jax.random.normal(jax.random.key(0), (200, 3))
      >>> data = (x, x @ jnp.array([1.0, -2.0, 0.5]))
      >>> found = tuning.search(
      ...     {"optimizer.learning_rate": tuning.log_uniform(1e-4, 1.0)},
      ...     init=lambda key: jnp.zeros(3),
      ...     loss=lambda w, x, y: jnp.mean((x @ w - y) ** 2),
      ...     data=data, optimizer=fdl.optim.sgd, strategy=tuning.Halving(9), steps=90, batch=32,
      ... )
      >>> 0.01 < found.values["optimizer.learning_rate"] < 1.0
      True
    """
    draws = "key" in inspect.signature(loss).parameters
    if draws and metric is None:
        raise ValueError("this loss takes a key, so what it says of validation data is random: due is a metric=.")
    _check_keys(space, {"init": init, "loss": loss, "optimizer": optimizer})
    train = tuple(np.asarray(x) for x in data)
    parts = _parts(train, validation, test, seed)

    def prepare(settled: Mapping[str, Any]) -> Prepared:
        def recipe(numbers: Mapping[str, Any]) -> Recipe:
            own = _by_place({**settled, **numbers})
            made = optimizer(**own["optimizer"])

            def start(seed: Any) -> Training:
                key = jax.random.key(seed)
                params = init(key, **own["init"])
                return Training(made.init(params), {}, jax.random.fold_in(key, 2**31), jnp.zeros((), jnp.int32))

            def whole(params: Any, state: Any, key: Any, *batch: Any) -> Any:
                value = loss(params, *batch, **own["loss"], **({"key": key} if draws else {}))
                return value, (state, {})

            def evaluate(params: Any, state: Any, *portion: Any) -> Any:
                if metric is not None:
                    return metric(params, *portion), {}
                return loss(params, *portion, **own["loss"]), {}

            return Recipe(start, whole, evaluate, made, memory)

        own = _by_place(settled)["training"]
        size = Sampler(len(parts.train[0]), own.get("batch", batch)).batch  # which checks it
        return Prepared(recipe, parts, size, own.get("steps", steps))

    problem = Problem(
        prepare, steps, lambda metrics: metrics["loss"], ("loss", False), lambda key: key.startswith("training.")
    )
    trials = Trials(None if folder is None else Path(folder))
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return run_search(
        problem, space, strategy, seed, finalists, seeds, trials, resume, devices, limit, report, stopping
    )


def _check_keys(space: Space, functions: Mapping[str, Callable[..., Any]]) -> None:
    for key in space:
        place, _, name = key.partition(".")
        if key == "seed" or (place == "training" and name in ("batch", "steps")):
            continue
        if place not in functions or not name:
            raise ValueError(
                f"search: unknown key {key!r}; due is optimizer., loss. or init. with the name of an argument, "
                f"training.batch, training.steps or seed."
            )
        known = inspect.signature(functions[place]).parameters
        if name not in known and all(p.kind is not p.VAR_KEYWORD for p in known.values()):
            raise ValueError(f"search: {key!r}: {place} takes no {name}; it takes {', '.join(known)}.")


def _by_place(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {place: {} for place in PLACES}
    for key, value in values.items():
        place, _, name = key.partition(".")
        found[place][name] = value
    return found


def _parts(train: Arrays, validation: float | Sequence[Any], test: Sequence[Any] | None, seed: int) -> Parts:
    lengths = [len(x) for x in train]
    if len(set(lengths)) != 1:
        raise ValueError(f"search: the arrays of data have {lengths} examples; due is one number.")
    held_out = None if test is None else tuple(np.asarray(x) for x in test)
    if isinstance(validation, (int, float)):
        count = round(validation * lengths[0])
        if not 0 < count < lengths[0]:
            raise ValueError(f"search: validation = {validation} of {lengths[0]} examples; due is a share between.")
        order = np.random.Generator(np.random.Philox(key=[seed, 1])).permutation(lengths[0])
        rest, taken = order[count:], order[:count]
        return Parts(tuple(x[rest] for x in train), tuple(x[taken] for x in train), held_out)
    return Parts(train, tuple(np.asarray(x) for x in validation), held_out)
