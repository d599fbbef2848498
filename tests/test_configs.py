"""Every shipped config is valid, and its loss has our gradient equal to JAX's."""

from __future__ import annotations

from pathlib import Path

import pytest

from functional_dl import config
from functional_dl.data import Sampler
from functional_dl.training.experiment import build
from functional_dl.training.gradient_check import compare

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))
SMALL = ["model.depth=2", "model.width=32", "data.characters=20000", "training.batch=4"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config(path: Path) -> None:
    resolved = config.load(path, SMALL if "transformer" in path.stem else [])
    assert resolved.name == path.stem
    experiment = build(resolved)
    sampler = experiment.sampler
    batch = experiment.batch(next(Sampler(sampler.size, sampler.batch)))
    training = experiment.start(0)
    params = experiment.optimizer.eval_params(training.optimizer)
    differences = compare(experiment.loss(training), params, batch)
    assert max(differences.values()) < 2e-5, differences


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


def test_there_are_the_five() -> None:
    due = {"digits_mlp", "digits_cnn", "digits_rnn", "digits_autoencoder", "charlm_transformer"}
    assert due <= {p.stem for p in CONFIGS}
