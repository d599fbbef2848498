"""Recurrent cells and their loops against plain NumPy, step by step in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_dl as fdl
from functional_dl.nn.initializers import he_normal
from functional_dl.nn.network import serial
from functional_dl.nn.recurrent import CELLS, Cell, bidirectional, gru_cell, lstm_cell, recurrent, vanilla_cell
from functional_dl.trees import name_leaves

N, T, D, H = 3, 5, 4, 6  # D entries of the input
X = np.random.default_rng(0).normal(size=(N, T, D))
MAKERS: dict[str, Callable[..., Cell]] = {
    **CELLS,
    "relu": lambda inputs, width: vanilla_cell(inputs, width, "relu"),
}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def drawn(network: Any, seed: int = 0) -> Any:
    """Parameters of the network's shapes, all of them of a size that matters, biases too."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape) / 2), shapes)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def outputs(name: str, params: Any, x_NTI: np.ndarray) -> np.ndarray:
    """All outputs, (N, T, H), one example, one step and one gate at a time."""
    u, w, b = (np.asarray(params[k], np.float64) for k in ("input_kernel", "recurrent_kernel", "bias"))
    width = w.shape[0]

    def part(matrix: np.ndarray, gate: int) -> np.ndarray:
        return matrix[..., gate * width : (gate + 1) * width]

    result = np.zeros((*x_NTI.shape[:2], width))
    for n in range(x_NTI.shape[0]):
        h, c = np.zeros(width), np.zeros(width)
        for t in range(x_NTI.shape[1]):
            x = x_NTI[n, t]
            if name == "lstm":
                i, f, g, o = (x @ part(u, k) + h @ part(w, k) + part(b, k) for k in range(4))
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            elif name == "gru":
                r = sigmoid(x @ part(u, 0) + h @ part(w, 0) + part(b, 0))
                z = sigmoid(x @ part(u, 1) + h @ part(w, 1) + part(b, 1))
                candidate = np.tanh(x @ part(u, 2) + part(b, 2) + r * (h @ part(w, 2)))
                h = (1 - z) * candidate + z * h
            else:
                a = x @ u + h @ w + b
                h = np.maximum(a, 0) if name == "relu" else np.tanh(a)
            result[n, t] = h
    return result


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_cell(name: str, ahead: bool) -> None:
    cell = MAKERS[name](D, H)
    params = drawn(recurrent(cell))
    due = outputs(name, params, X)
    np.testing.assert_allclose(recurrent(cell, sequence=True, ahead=ahead).apply(params, X), due, atol=1e-12)
    np.testing.assert_allclose(recurrent(cell, ahead=ahead).apply(params, X), due[:, -1], atol=1e-12)
    backward = outputs(name, params, X[:, ::-1])
    found = recurrent(cell, sequence=True, reverse=True, ahead=ahead).apply(params, X)
    np.testing.assert_allclose(found, backward[:, ::-1], atol=1e-12)
    last = recurrent(cell, reverse=True, ahead=ahead).apply(params, X)
    np.testing.assert_allclose(last, backward[:, -1], atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_both_directions_in_two_layers(name: str) -> None:
    lower = bidirectional(CELLS[name](D, H), sequence=True)
    network = serial(lower=lower, upper=bidirectional(CELLS[name](2 * H, H)))
    params = drawn(network)

    def both(params: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return outputs(name, params["forward"], x), outputs(name, params["backward"], x[:, ::-1])[:, ::-1]

    below = np.concatenate(both(params["lower"], X), axis=-1)
    np.testing.assert_allclose(lower.apply(params["lower"], X), below, atol=1e-12)
    forward, backward = both(params["upper"], below)
    due = np.concatenate([forward[:, -1], backward[:, 0]], axis=-1)
    np.testing.assert_allclose(network.apply(params, X), due, atol=1e-12)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_gradients(name: str, ahead: bool) -> None:
    network = recurrent(MAKERS[name](D, H), sequence=True, ahead=ahead)
    params = drawn(network)

    def loss(params: Any, x: Any) -> Any:
        return jnp.sum(jnp.sin(network.apply(params, x)))

    due = jax.jit(jax.grad(loss, (0, 1)))(params, X)
    for memory in ("keep", "least"):
        found = jax.jit(fdl.grad(loss, (0, 1), memory=memory))(params, X)
        for path, g in name_leaves(found).items():
            np.testing.assert_allclose(g, name_leaves(due)[path], rtol=1e-9, atol=1e-11, err_msg=path)
            assert np.any(g != 0), path


@pytest.mark.parametrize("name", CELLS)
def test_initial_weights(name: str) -> None:
    """Each gate's recurrent matrix is orthogonal, no two the same; biases are zero but those of forget gates."""
    cell = CELLS[name](D, 50)
    params = cell.init(jax.random.key(3))
    gates = {"vanilla": 1, "lstm": 4, "gru": 3}[name]
    assert params["input_kernel"].shape == (D, 50 * gates)
    matrices = np.split(np.asarray(params["recurrent_kernel"]), gates, axis=1)
    for i, matrix in enumerate(matrices):
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(50), atol=1e-5)
        assert all(np.max(np.abs(matrix - other)) > 0.1 for other in matrices[:i])
    for block in np.split(np.asarray(params["input_kernel"]), gates, axis=1):
        assert abs(block.std() / (2 / (D + 50)) ** 0.5 - 1) < 0.15
    due = np.zeros((gates, 50))
    if name == "lstm":
        due[1] = 1
    np.testing.assert_array_equal(params["bias"].reshape(gates, 50), due)


def test_forget_bias_and_initializer_are_options() -> None:
    params = lstm_cell(D, H, forget_bias=-2.5, recurrent_init=he_normal).init(jax.random.key(0))
    np.testing.assert_array_equal(params["bias"][H : 2 * H], -2.5)
    matrix = params["recurrent_kernel"][:, :H]
    assert np.max(np.abs(matrix.T @ matrix - np.eye(H))) > 0.1


def test_lstm_remembers() -> None:
    """With open forget gates and closed input gates c stays what the first step made it, over a thousand steps."""
    cell = lstm_cell(1, 2)
    params = {
        "input_kernel": jnp.concatenate([jnp.full((1, 2), 40.0), jnp.zeros((1, 6))], axis=1),
        "recurrent_kernel": jnp.zeros((2, 8)),
        "bias": jnp.repeat(jnp.asarray([-20.0, 20.0, 1.0, 20.0]), 2),
    }
    x = jnp.zeros((1, 1000, 1)).at[0, 0].set(1.0)
    h = recurrent(cell, sequence=True).apply(params, x)
    np.testing.assert_allclose(h[0, -1], np.tanh(np.tanh(1.0)), rtol=1e-4)


def test_carry_may_have_parts_of_other_widths() -> None:
    """A cell of one's own: a sum of widened inputs, and a count of the steps as a second part of the carry."""

    def step(params: Any, carry: tuple[Any, ...], a: Any) -> tuple[Any, ...]:
        total, count = carry
        return total + a, count + 1

    cell = Cell(lambda key: {"scale": jnp.asarray(2.0)}, lambda params, x: x * params["scale"], step, (D, 1))
    np.testing.assert_allclose(recurrent(cell).apply({"scale": jnp.asarray(2.0)}, X), 2 * X.sum(1), atol=1e-12)


@pytest.mark.parametrize("make", [vanilla_cell, lstm_cell, gru_cell])
def test_half_precision(make: Callable[..., Cell]) -> None:
    """In bfloat16 the outputs are bfloat16 and near those of float64; wider inputs make wider outputs."""
    network = recurrent(make(D, H), sequence=True)
    params = drawn(network)
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    found = network.apply(half, jnp.asarray(X, jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), network.apply(params, X), atol=0.1)
    assert network.apply(half, jnp.asarray(X, jnp.float32)).dtype == jnp.float32
