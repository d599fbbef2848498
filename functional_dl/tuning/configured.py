"""A config as a problem to tune: any key of it may be a hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functional_dl.config import Config, ConfigError, changed
from functional_dl.data import Dataset
from functional_dl.strategies.space import Choice, LogUniform, Space
from functional_dl.training.experiment import assemble, preprocessed, read_data
from functional_dl.training.step import begin
from functional_dl.tuning.problem import Parts, Prepared, Problem, Recipe

__all__ = ["configured", "space_of", "validated"]

# Sections that decide which data or which program there is, whatever a traced value might do in them.
SETTLED = ("data", "preprocessing", "training", "precision", "memory", "name")


def space_of(config: Config) -> Space:
    """The space that the config names, or else one around what it says: ten times less to ten times more.

    Of the learning rate, if there is one, otherwise of the scale of the initial kernels.
    """
    if config.tuning is not None and config.tuning.space:
        return dict(config.tuning.space)
    rate = getattr(config.optimizer, "learning_rate", None)
    if rate is not None:
        return {"optimizer.learning_rate": LogUniform(rate / 10, rate * 10)}
    scale = config.initialization.scale
    return {"initialization.scale": LogUniform(scale / 10, scale * 10)}


def validated(config: Config, space: Space) -> None:
    """Check that the config can have the least and the largest value of each dimension, and each choice.

    Raises:
      ConfigError: it cannot; or a key of the space is of the search itself.
    """
    for key, dimension in space.items():
        where = f"[tuning.space] {key}"
        if key.partition(".")[0] in ("tuning", "name"):
            raise ConfigError(f"{where}: this is not of a training; due is another key of the config")
        ends = dimension.values if isinstance(dimension, Choice) else (dimension.at(0.0), dimension.at(1.0))
        for value in ends:
            changed(config, {key: value}, where)


def configured(config: Config, validation: float = 0.2, score: str | None = None, split: int = 0) -> Problem:
    """The training of a config, with hyperparameters by its keys, as a problem.

    Args:
      config: what all members have in common.
      validation: the share of the training part that members are ranked by and none trains on.
      score: the metric by which: ``"loss"``, ``"accuracy"`` (more is better), ``"absolute_error"``; by default accuracy
        for a classification, otherwise the loss.
      split: what the validation part is drawn from.

    Raises:
      ConfigError: a config whose parts do not go together, an unknown score, too few examples.
    """

    def prepare(settled: Mapping[str, Any]) -> Prepared:
        own = changed(config, settled, config.name) if settled else config
        data, cut = _with_validation(own, validation, split)
        left = len(data.train[0])
        if left < own.training.batch <= left + cut:  # all examples, as L-BFGS has it: here all that are left
            own = own.with_values({"training.batch": left})
        data, notes = preprocessed(own, data)
        experiment = assemble(own, data, notes)
        ready = experiment.data

        def recipe(numbers: Mapping[str, Any]) -> Recipe:
            made = assemble(own.with_values(numbers), data, notes)

            def start(seed: Any) -> Any:
                return begin(made.network, made.optimizer, seed, made.dtype, made.scale)

            return Recipe(start, made.objective.train, made.objective.evaluate, made.optimizer, own.memory.plan)

        parts = Parts(ready.train, tuple(x[:cut] for x in ready.test), tuple(x[cut:] for x in ready.test))
        return Prepared(recipe, parts, own.training.batch, experiment.steps)

    first = prepare({})  # read once
    name, more = _score_of(first, score, read_data(config).facts["kind"])

    def lower_is_better(metrics: Mapping[str, Any]) -> Any:
        return -metrics[name] if more else metrics[name]

    def settled(key: str) -> bool:
        return key.partition(".")[0] in SETTLED

    def ready(values: Mapping[str, Any]) -> Prepared:
        return prepare(values) if values else first

    return Problem(ready, first.steps, lower_is_better, (name, more), settled)


def _with_validation(config: Config, share: float, seed: int) -> tuple[Dataset, int]:
    """The data with a validation part in front of the test part, and how long that is.

    It is drawn at random; of a text it is the end, since neighbouring pieces are alike.
    """
    data = read_data(config)
    inputs, targets = data.train
    count = round(share * len(inputs))
    if not 0 < count < len(inputs):
        raise ConfigError(f"[tuning]: validation = {share} of {len(inputs)} examples leaves none; due is another share")
    order = np.random.Generator(np.random.Philox(key=[seed, 1])).permutation(len(inputs))
    if data.facts["kind"] == "language":
        order = np.arange(len(inputs))[::-1]
    taken, rest = order[:count], np.sort(order[count:])
    test = (np.concatenate([x[taken], y]) for x, y in zip(data.train, data.test, strict=True))
    return data._replace(train=(inputs[rest], targets[rest]), test=tuple(test)), count  # type: ignore[arg-type]


def _score_of(ready: Prepared, wanted: str | None, kind: str) -> tuple[str, bool]:
    portion = tuple(jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype) for x in ready.parts.validation)

    def evaluated(*portion: Any) -> Any:
        recipe = ready.recipe({})
        training = recipe.start(jnp.uint32(0))
        return recipe.evaluate(recipe.optimizer.result(training.optimizer), training.network, *portion)[1]

    known = ["loss", *jax.eval_shape(evaluated, *portion)]
    if wanted is not None and wanted not in known:
        raise ConfigError(f"[tuning]: unknown score {wanted!r}; known: {', '.join(known)}")
    name = wanted or ("accuracy" if kind == "classification" and "accuracy" in known else "loss")
    return name, name == "accuracy"
