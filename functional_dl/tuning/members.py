"""Members of a population, stacked along a first axis, and what one of them does: begin, train on, be measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from functional_dl.data.shuffling import batch_at
from functional_dl.training.loop import EVALUATION_BATCH
from functional_dl.training.step import Training, network_step
from functional_dl.tuning.problem import Arrays, Prepared

__all__ = ["Members", "begun", "measured", "taken", "trained"]

# What a member's order of examples is drawn from, with its seed; `training.step.begin` takes 2³¹.
ORDER = 2**31 + 1


class Members(NamedTuple):
    """Some members, each array with one entry for each along its first axis; of one, without that axis.

    Attributes:
      seeds: uint32; all of a member's random numbers and its order of examples follow from it.
      numbers: its hyperparameters, float32 or int32, by key.
      training: its training, the key as raw data.
    """

    seeds: Any
    numbers: Mapping[str, Any]
    training: Training


def begun(ready: Prepared, seed: Any, numbers: Mapping[str, Any]) -> Members:
    """A member at its beginning."""
    training = ready.recipe(numbers).start(seed)
    return Members(seed, dict(numbers), training._replace(key=jax.random.key_data(training.key)))


def trained(ready: Prepared, member: Members, data: Arrays, steps: Any) -> Members:
    """A member after ``steps`` more steps, a traced int32, on the batches that its seed and its steps say."""
    recipe = ready.recipe(member.numbers)
    step = network_step(recipe.loss, recipe.optimizer, memory=recipe.memory)
    order = jax.random.fold_in(jax.random.key(member.seeds), ORDER)
    size = data[0].shape[0]

    def once(_: Any, training: Training) -> Training:
        rows = batch_at(order, training.steps, size, ready.batch)
        return step(training, tuple(x[rows] for x in data))[0]

    key = jax.random.wrap_key_data(member.training.key)
    after = lax.fori_loop(0, steps, once, member.training._replace(key=key))
    return member._replace(training=after._replace(key=member.training.key))


def measured(ready: Prepared, member: Members, data: Arrays) -> dict[str, Any]:
    """Means over all examples of the loss and of what the recipe measures besides, float32."""
    recipe = ready.recipe(member.numbers)
    params = recipe.optimizer.result(member.training.optimizer)
    size = data[0].shape[0]
    whole, rest = divmod(size, EVALUATION_BATCH)

    def portion(arrays: Arrays) -> dict[str, Any]:
        value, metrics = recipe.evaluate(params, member.training.network, *arrays)
        return {name: jnp.asarray(x, jnp.float32) for name, x in {"loss": value, **metrics}.items()}

    totals = []
    if whole:
        cut = tuple(x[: whole * EVALUATION_BATCH].reshape(whole, EVALUATION_BATCH, *x.shape[1:]) for x in data)
        totals.append(jax.tree.map(lambda x: EVALUATION_BATCH * jnp.sum(x), lax.map(portion, cut)))
    if rest:
        totals.append(jax.tree.map(lambda x: rest * x, portion(tuple(x[size - rest :] for x in data))))
    return jax.tree.map(lambda *xs: sum(xs) / size, *totals)


def taken(members: Any, rows: Any) -> Any:
    """The members at ``rows``."""
    return jax.tree.map(lambda x: x[rows], members)
