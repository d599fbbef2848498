"""A config as a problem: its keys as hyperparameters, its data in three parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from functional_dl.config import ConfigError, load
from functional_dl.strategies.space import LogUniform, choice, draw, log_uniform, uniform
from functional_dl.training.experiment import assemble, load_data
from functional_dl.tuning.configured import configured, space_of, validated
from functional_dl.tuning.population import Member, Population
from functional_dl.tuning.problem import numbers_among

FOLDER = Path(__file__).parent.parent.parent / "configs"
SMALL = ["model.hidden=[7]", "model.dropout=0.1", "training.epochs=2", "training.batch=32",
         "schedule.name=inverse_time", "schedule.k=0.01"]  # fmt: skip


def wine(*more: str) -> Any:
    return load(FOLDER / "wine_mlp.toml", [*SMALL, *more])


def test_numbers_of_a_config_train_as_those_of_an_experiment() -> None:
    """Rates, decays, dropout, penalties, constants of schedules and the initial scale are arrays of one program."""
    config = wine("optimizer.weight_decay=0.01")
    space = {
        "optimizer.learning_rate": log_uniform(1e-3, 1e-1), "optimizer.weight_decay": log_uniform(1e-4, 1e-1),
        "optimizer.beta_1": uniform(0.5, 0.95), "model.dropout": uniform(0.0, 0.5),
        "penalty.l2": log_uniform(1e-4, 0.1), "schedule.k": log_uniform(1e-3, 1e-1),
        "initialization.scale": log_uniform(0.3, 3.0),
    }  # fmt: skip
    validated(config, space)
    problem = configured(config)
    values = [draw(space, 0, i) for i in range(3)]
    assert numbers_among(problem, values[0], list(space)) == set(space)
    together = Population(
        problem, set(space), lambda i: Member(values[i], 50 + i), jax.devices()[:1], paces={"": {3: 1.0}}
    )
    metrics = together.run(dict.fromkeys(range(3), 6))
    one = Population(problem, set(), lambda i: Member(values[i], 50 + i), jax.devices()[:1], paces={})
    for i in range(3):
        # The same numbers as a config that says them, each a program of its own.
        assert one.run({i: 6})[i]["loss"] == pytest.approx(metrics[i]["loss"], rel=1e-4)


def test_sections_that_say_which_program_it_is() -> None:
    problem = configured(wine())
    values = {"training.batch": 16, "model.hidden": (5, 4), "model.activation": "tanh", "optimizer.epsilon": 1e-6}
    assert numbers_among(problem, values, list(values)) == {"optimizer.epsilon"}
    ready = problem.prepare({"training.batch": 16, "model.hidden": (5, 4)})
    assert ready.batch == 16 and ready.steps == 2 * (len(ready.parts.train[0]) // 16)
    params = jax.eval_shape(lambda: ready.recipe({}).start(0).optimizer.params)
    assert params["dense_1"]["kernel"].shape == (5, 4)


def test_parts() -> None:
    """Validation examples are nobody's training examples; preprocessing is fitted to what members train on."""
    whole = load(FOLDER / "wine_mlp.toml")
    ready = configured(whole, validation=0.25, split=3).prepare({})
    train, validation, test = (x[0] for x in ready.parts)  # type: ignore[index]
    assert [len(train), len(validation), len(test)] == [106, 36, 36]
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)
    assert np.abs(validation.mean(0)).max() > 0.01
    rows = {x.tobytes() for x in train}
    assert not rows & {x.tobytes() for x in validation} and not rows & {x.tobytes() for x in test}
    again = configured(whole, validation=0.25, split=4).prepare({}).parts.validation[0]
    assert {x.tobytes() for x in again} != {x.tobytes() for x in validation}


def test_a_text_is_validated_on_its_end() -> None:
    config = load(FOLDER / "charlm_transformer.toml", ["data.characters=20000", "model.depth=1", "model.width=16"])
    problem = configured(config, validation=0.1)
    parts = problem.prepare({}).parts
    assert problem.score_name == ("loss", False)
    experiment = assemble(config, *load_data(config))
    everything = experiment.data.train[0]
    np.testing.assert_array_equal(parts.train[0], everything[: len(parts.train[0])])
    assert len(parts.train[0]) + len(parts.validation[0]) == len(everything)


def test_scores() -> None:
    assert configured(wine()).score_name == ("accuracy", True)
    assert configured(wine(), score="loss").score_name == ("loss", False)
    assert float(configured(wine()).score({"accuracy": 0.75, "loss": 2.0})) == -0.75
    diabetes = load(FOLDER / "diabetes_mlp.toml")
    assert configured(diabetes, score="absolute_error").score_name == ("absolute_error", False)
    with pytest.raises(ConfigError, match="unknown score 'acuracy'; known: loss, accuracy"):
        configured(wine(), score="acuracy")
    with pytest.raises(ConfigError, match=r"validation = 0.001 of 142 examples leaves none"):
        configured(wine(), validation=0.001)


def test_the_space_of_a_config() -> None:
    assert space_of(wine()) == {"optimizer.learning_rate": LogUniform(0.001, 0.1)}
    adadelta = load(FOLDER / "optimizers/adadelta.toml")
    assert space_of(adadelta).keys() <= {"optimizer.learning_rate", "initialization.scale"}
    named = wine('tuning.space={"model.dropout"={uniform=[0.0,0.3]}}')
    assert space_of(named) == {"model.dropout": uniform(0.0, 0.3)}


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({"optimizer.learning_rat": log_uniform(1e-3, 1)}, "unknown key learning_rat; did you mean learning_rate"),
        ({"model.dropout": uniform(0.0, 1.0)}, r"\[tuning.space\] model.dropout.*dropout = 1.0"),
        ({"model.activation": choice("relu", "rely")}, "rely"),
        ({"tuning.seeds": choice(1, 2)}, "not of a training"),
        ({"wrappers.0.threshold": uniform(0.5, 1.0)}, "wrappers.0.threshold"),
    ],
)
def test_a_space_that_the_config_cannot_have(space: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        validated(wine(), space)
