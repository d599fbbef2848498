"""Every shipped config is valid, and its loss has our gradient equal to JAX's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chex
import jax
import pytest

from functional_dl import config, nn, optim
from functional_dl.data import MissingDataError, Sampler
from functional_dl.training.experiment import Experiment, build
from functional_dl.training.gradient_check import compare
from functional_dl.training.step import network_step

FOLDER = Path(__file__).parent.parent / "configs"
CONFIGS = sorted(FOLDER.glob("*.toml"))
OPTIMIZERS = sorted((FOLDER / "optimizers").glob("*.toml"))
SMALL = ["model.depth=2", "model.width=32", "data.characters=20000", "training.batch=4"]


def built(path: Path, overrides: list[str]) -> tuple[Experiment, Any, tuple[Any, ...]]:
    """The experiment, its first state and its first batch."""
    resolved = config.load(path, overrides)
    assert resolved.name == path.stem
    try:
        experiment = build(resolved)
    except MissingDataError as error:
        pytest.skip(str(error))
    sampler = experiment.sampler
    return experiment, experiment.start(0), experiment.batch(next(Sampler(sampler.size, sampler.batch)))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config(path: Path) -> None:
    experiment, training, batch = built(path, SMALL if "charlm" in path.stem else [])
    params = experiment.optimizer.eval_params(training.optimizer)
    differences = compare(experiment.loss(training), params, batch)
    assert max(differences.values()) < 2e-5, differences


@pytest.mark.parametrize("path", OPTIMIZERS, ids=lambda p: p.stem)
def test_optimizer(path: Path) -> None:
    """A step of it can be traced and keeps the state's structure; that it trains is the contract's matter."""
    experiment, training, batch = built(path, [])
    new, metrics = jax.eval_shape(network_step(experiment.objective.train, experiment.optimizer), training, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(new, jax.eval_shape(lambda: training))
    assert {"loss", "accuracy", "gradient_norm", "update_ratio"} <= metrics.keys()


def test_every_optimizer_and_architecture_has_a_config() -> None:
    shown = [config.load(path) for path in CONFIGS + OPTIMIZERS]
    assert {c.named("optimizer") for c in shown} == set(optim.OPTIMIZERS)
    assert {c.named("model") for c in shown} == set(nn.ARCHITECTURES)


@pytest.mark.parametrize(
    ("override", "due"), [("auto", "auto"), ("keep", "keep"), ("'least'", "least"), ("100_000_000", 100_000_000)]
)
def test_memory(override: str, due: str | int) -> None:
    assert config.load(CONFIGS[0]).memory.plan == "auto"
    assert config.load(CONFIGS[0], [f"memory.plan={override}"]).memory.plan == due


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("memory.plan=lest", "plan = 'lest': due is 'auto', 'keep', 'least' or a positive whole number of bytes; did"),
        ("memory.plan=0", "plan = 0: due is"),
        ("memory.plan=-1", "plan = -1: due is"),
        ("memory.plan=true", "plan = True: due is"),
        ("memory.plan=1e9", "plan = 1000000000.0: due is"),
        ("memory.plan=[1]", "plan = [1]: due is"),
        ("memory.plans=keep", "[memory]: unknown key plans; did you mean plan?"),
        ("memori.plan=keep", "unknown key memori; did you mean memory?"),
        ("memory=keep", "memory = 'keep'"),
    ],
)
def test_memory_that_is_none(override: str, words: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.load(CONFIGS[0], [override])
    assert words in str(caught.value) and "\n" not in str(caught.value)
