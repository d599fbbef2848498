"""Conventions against the libraries that they are named after, whose trajectories lie beside in ``figures``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl import optim
from tests.optim.figures.course import CHANGE, RATE, STEPS, gradient, start

FIGURES = Path(__file__).with_name("figures")
RUNS = {
    (library, name): run
    for library in ("torch", "keras", "optax")
    for name, run in json.loads((FIGURES / f"{library}.json").read_text("utf-8"))["runs"].items()
}


def end(convention: str, run: dict[str, Any]) -> Any:
    """Our parameters after the same course."""
    arguments = {"learning_rate": RATE, **run["arguments"]}
    optimizer = getattr(optim, run["ours"])(**arguments, convention=convention)
    state = optimizer.init({name: jnp.asarray(x) for name, x in start().items()})

    def step(state: optim.State, t: Any) -> tuple[optim.State, None]:
        grads = {name: gradient(w, t, jnp.sin) for name, w in optimizer.eval_params(state).items()}
        return optimizer.update(state, grads), None

    def half(state: optim.State) -> optim.State:
        return jax.lax.scan(step, state, state.step + jnp.arange(1.0, CHANGE + 1))[0]

    half = jax.jit(half)
    assert STEPS == 2 * CHANGE
    return half(half(state).replace(hyperparameters={"learning_rate": RATE / 2})).params


@pytest.mark.parametrize(("library", "name"), RUNS, ids=["-".join(key).replace(" ", "_") for key in RUNS])
def test_same_figures_as_the_library(library: str, name: str) -> None:
    """After 50 steps in float64, the rate halved midway: rates inside and outside of buffers differ then."""
    run = RUNS[library, name]
    with jax.enable_x64(True):
        ours = end(library, run)
    for leaf, due in run["end"].items():
        np.testing.assert_allclose(ours[leaf], due, rtol=1e-6, atol=1e-7, err_msg=leaf)


def test_conventions_are_told_apart() -> None:
    """In another convention the figures are missed by far more: the course is one that shows the difference."""
    with jax.enable_x64(True):
        for name in ("SGD momentum", "RMSprop", "RMSprop momentum", "Adagrad", "Adam amsgrad", "Adafactor"):
            run = RUNS["torch", name]
            ours, due = end("keras", run), run["end"]
            assert max(np.max(np.abs(ours[leaf] - np.asarray(due[leaf]))) for leaf in due) > 1e-4, name


@pytest.mark.parametrize(
    ("name", "shifted", "others"),
    [("nesterov", "torch", {}), ("nesterov", "keras", {}), ("rmsprop_nesterov", "optax", {"epsilon": 2**-10})],
)
def test_look_ahead_points_are_the_shifted_parameters(name: str, shifted: str, others: dict[str, float]) -> None:
    """At a constant rate w + βV of the paper's form goes where the libraries' parameters go."""
    make = getattr(optim, name)
    with jax.enable_x64(True):
        paper, library = (make(RATE, momentum=0.875, convention=c, **others) for c in ("paper", shifted))
        ahead, at = paper.init(jnp.array([1.0, -2.0])), library.init(jnp.array([1.0, -2.0]))
        for t in range(1, 11):
            ahead = paper.update(ahead, gradient(paper.eval_params(ahead), t, jnp.sin))
            at = library.update(at, gradient(library.eval_params(at), t, jnp.sin))
            np.testing.assert_allclose(paper.eval_params(ahead), at.params, rtol=1e-9)
            assert np.max(np.abs(ahead.params - at.params)) > 1e-3
