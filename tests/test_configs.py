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
    differences = compare(experiment.loss, experiment.start(0).params, batch)
    assert max(differences.values()) < 2e-5, differences


def test_there_are_the_five() -> None:
    due = {"digits_mlp", "digits_cnn", "digits_rnn", "digits_autoencoder", "charlm_transformer"}
    assert due <= {p.stem for p in CONFIGS}
