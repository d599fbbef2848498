"""What is tuned: a training as pure functions of its hyperparameters, which may be traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from functional_dl.optim import Optimizer
from functional_dl.training.step import Training

__all__ = ["Parts", "Prepared", "Problem", "Recipe", "numbers_among"]

Arrays = tuple[Any, ...]


class Recipe(NamedTuple):
    """One training.

    Attributes:
      start: ``start(seed) -> Training``, everything in it from ``seed``, a traced uint32.
      loss: ``loss(params, network_state, key, *batch) -> (scalar, (new network_state, metrics))``.
      evaluate: ``evaluate(params, network_state, *portion) -> (scalar, metrics)``, means over a portion of examples.
      optimizer: whose states ``start`` makes.
      memory: what the backward keeps, as of `functional_dl.value_and_grad`.
    """

    start: Callable[[Any], Training]
    loss: Callable[..., Any]
    evaluate: Callable[..., Any]
    optimizer: Optimizer
    memory: str | int = "auto"


class Parts(NamedTuple):
    """Examples along the first axis of each array.

    Attributes:
      train: what members train on.
      validation: what they are ranked by.
      test: what the best is tested on, once; ``None``: there is none.
    """

    train: Arrays
    validation: Arrays
    test: Arrays | None


class Prepared(NamedTuple):
    """A problem whose program is settled: only numbers are open.

    Attributes:
      recipe: ``recipe(numbers) -> Recipe``; numbers may be traced.
      parts: the data.
      batch: examples per step.
      steps: of a whole training.
    """

    recipe: Callable[[Mapping[str, Any]], Recipe]
    parts: Parts
    batch: int
    steps: int


class Problem(NamedTuple):
    """What is tuned.

    Attributes:
      prepare: ``prepare(values) -> Prepared`` for the values that say which program it is; to be called once for each.
      steps: of a whole training, where nothing that is tuned says otherwise; strategies count in them.
      score: ``score(metrics) -> scalar``, lower is better, from ``loss`` and what ``evaluate`` gave besides.
      score_name: the metric that is, and whether more of it is better: ``("accuracy", True)``.
      settled: ``settled(key)``: whether a hyperparameter says which program or data it is, whatever tracing would say.
      sown: the hyperparameter that is the member's seed, if it is tuned at all.
    """

    prepare: Callable[[Mapping[str, Any]], Prepared]
    steps: int
    score: Callable[[Mapping[str, Any]], Any]
    score_name: tuple[str, bool]
    settled: Callable[[str], bool]
    sown: str = "seed"


def numbers_among(problem: Problem, values: Mapping[str, Any], keys: Sequence[str]) -> set[str]:
    """Which hyperparameters can be numbers of a program, found by tracing it, not declared.

    A key whose value is looked at by Python (a width, a flag, the number of layers) makes tracing fail: it is part of
    what the program is.

    Args:
      problem: what is tuned.
      values: one member's, for all keys.
      keys: those in question.
    """
    able = [
        k for k in keys
        if not problem.settled(k) and isinstance(values[k], (int, float)) and not isinstance(values[k], bool)
    ]  # fmt: skip

    def traces(traced: Sequence[str]) -> bool:
        ready = problem.prepare({k: x for k, x in values.items() if k not in traced})
        portion = tuple(jax.ShapeDtypeStruct((ready.batch, *np.shape(x)[1:]), x.dtype) for x in ready.parts.train)

        def run(numbers: Mapping[str, Any], *batch: Any) -> Any:
            recipe = ready.recipe(numbers)
            training = recipe.start(jnp.uint32(0))
            params = recipe.optimizer.eval_params(training.optimizer)
            loss = recipe.loss(params, training.network, jax.random.key(0), *batch)[0]
            moved = recipe.optimizer.update(training.optimizer, params)
            return loss, recipe.evaluate(recipe.optimizer.result(moved), training.network, *batch)[0]

        try:
            jax.eval_shape(run, {k: jnp.asarray(values[k]) for k in traced}, *portion)
        except (jax.errors.ConcretizationTypeError, jax.errors.TracerIntegerConversionError,
                jax.errors.TracerArrayConversionError):  # fmt: skip
            return False
        return True

    if not able or traces(able):
        return set(able)
    return {key for key in able if traces([key])}
