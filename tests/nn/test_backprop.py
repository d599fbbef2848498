"""Hand-written backpropagation: both passes and the shared-weights rule against our gradients and JAX's, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl
from functional_dl import nn
from functional_dl.nn import backprop, shared_weights
from functional_dl.nn.activation_derivatives import DERIVATIVES
from functional_dl.nn.activations import ACTIVATIONS
from tests.oracles import assert_equal, normal, uniform


@pytest.fixture(autouse=True)
def double(strict: None) -> Iterator[None]:
    with jax.enable_x64(True):
        yield


KINKS = np.array([-1.0, 0.0, 1.0])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative(name: str) -> None:
    """Φ' is the derivative of Φ, at kinks what JAX takes there, and far out where exponentials overflow."""
    a = np.concatenate([KINKS, normal(40), [-800.0, 800.0]])
    found = DERIVATIVES[name](jnp.asarray(a))
    assert_equal(found, jax.vmap(jax.grad(ACTIVATIONS[name]))(a), name)
    assert_equal(found, jax.vmap(fdl.grad(ACTIVATIONS[name]))(a), name)


def test_every_activation_has_a_derivative_of_its_own_dtype() -> None:
    assert set(DERIVATIVES) == set(ACTIVATIONS)
    for name, derivative in DERIVATIVES.items():
        for dtype in (jnp.bfloat16, jnp.float32):
            assert derivative(jnp.linspace(-2, 2, 5, dtype=dtype)).dtype == dtype, name


HIDDEN: dict[int, list[int]] = {1: [], 2: [7], 3: [7, 4], 6: [6, 5, 7, 4, 6]}


def network(depth: int, activation: str = "tanh", outputs: int = 3) -> tuple[nn.Network, Any, Any]:
    """A dense network of a depth whose layers are all of different widths, its parameters, and inputs (4, 5)."""
    net = nn.mlp(5, outputs, hidden=HIDDEN[depth], activation=activation)
    leaves, tree = jax.tree.flatten(net.init(jax.random.key(0)))
    params = tree.unflatten([jnp.asarray(0.6 * normal(*w.shape, seed=k)) for k, w in enumerate(leaves)])
    return net, params, jnp.asarray(normal(4, 5, seed=9))


LABELS = np.array([0, 2, 1, 2])


def check(found: tuple[backprop.Backward, backprop.Backward], loss: Any, params: Any, what: str) -> None:
    """The two passes equal each other, our gradient and JAX's."""
    post, pre = found
    assert_equal(post.gradient, pre.gradient, what)
    assert_equal(pre.gradient, fdl.grad(loss)(params), what)
    assert_equal(pre.gradient, jax.grad(loss)(params), what)


# Every activation at a depth of three; in the default run two of them at the other depths.
PASSES = [
    pytest.param(d, a, marks=() if d == 3 or a in ("tanh", "relu") else (pytest.mark.thorough,))
    for d in (1, 3, 6) for a in ACTIVATIONS
]  # fmt: skip


@pytest.mark.parametrize(("depth", "activation"), PASSES)
def test_passes(depth: int, activation: str) -> None:
    net, params, x = network(depth, activation)
    found = [
        p(params, x, LABELS, "cross_entropy", activation) for p in (backprop.post_activation, backprop.pre_activation)
    ]
    check(tuple(found), lambda params: nn.losses.cross_entropy(net.apply(params, x), LABELS), params, activation)


SOFT = uniform(0, 1, 4, 3)
LOSSES = {
    "squared_error": (nn.losses.squared_error, normal(4, 3)),
    "cross_entropy": (nn.losses.cross_entropy, LABELS),
    "softmax_cross_entropy": (
        lambda o, y: jnp.mean(-jnp.sum(y * jax.nn.log_softmax(o), axis=-1)), SOFT / SOFT.sum(1, keepdims=True)
    ),
    "binary_cross_entropy": (nn.losses.binary_cross_entropy, SOFT),
}  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("output", ["identity", "sigmoid", "tanh"])
def test_losses_and_output_units(loss: str, output: str) -> None:
    net, params, x = network(3)
    fun, targets = LOSSES[loss]
    how = (params, x, jnp.asarray(targets), loss, "tanh", output)
    check(
        (backprop.post_activation(*how), backprop.pre_activation(*how)),
        lambda params: fun(ACTIVATIONS[output](net.apply(params, x)), targets),
        params,
        f"{loss} of {output}",
    )


def test_every_loss_slope_is_tested() -> None:
    assert set(LOSSES) == set(backprop.LOSS_SLOPES)


def test_slopes_are_those_of_the_activations() -> None:
    """Δ(h_r) = ∂L/∂h_r from the inputs on, δ(h_r) = ∂L/∂a_r = Φ'(a_r) Δ(h_r), and δ(o) = (softmax − y) / N."""
    net, params, x = network(3)
    post = backprop.post_activation(params, x, LABELS, "cross_entropy", "tanh").slopes
    pre = backprop.pre_activation(params, x, LABELS, "cross_entropy", "tanh").slopes
    assert [s.shape for s in post] == [(4, 5), (4, 7), (4, 4), (4, 3)] and len(pre) == 3
    assert_equal(post[0], jax.grad(lambda x: nn.losses.cross_entropy(net.apply(params, x), LABELS))(x), "inputs")
    a, h = backprop.forward(params, x, "tanh")
    assert_equal(h[-1], net.apply(params, x), "output")
    assert_equal(pre[0], (1 - h[1] ** 2) * post[1], "a_1")
    assert_equal(pre[-1], (jax.nn.softmax(a[-1]) - np.eye(3)[LABELS]) / 4, "a_o")

    def after(h_1: Any) -> Any:
        rest = jnp.tanh(h_1 @ params["dense_1"]["kernel"] + params["dense_1"]["bias"][None])
        return nn.losses.cross_entropy(rest @ params["dense_2"]["kernel"] + params["dense_2"]["bias"][None], LABELS)

    assert_equal(post[1], jax.grad(after)(h[1]), "h_1")


def test_passes_are_jitted_and_flatten_and_need_no_bias() -> None:
    net, params, _ = network(3)
    x = jnp.asarray(normal(4, 1, 5))
    how = jax.jit(lambda params: backprop.pre_activation(params, x, LABELS, "cross_entropy", "tanh").gradient)
    assert_equal(how(params), jax.grad(lambda p: nn.losses.cross_entropy(net.apply(p, x), LABELS))(params), "jitted")
    bare = {name: {"kernel": layer["kernel"]} for name, layer in params.items()}
    zero = {name: {**layer, "bias": 0 * layer["bias"]} for name, layer in params.items()}
    found = backprop.post_activation(bare, x, LABELS, "cross_entropy", "tanh").gradient
    due = backprop.post_activation(zero, x, LABELS, "cross_entropy", "tanh").gradient
    assert_equal(found, {name: {"kernel": layer["kernel"]} for name, layer in due.items()}, "without bias")


def test_what_is_no_plain_dense_network_is_refused() -> None:
    _, params, x = network(2)
    with pytest.raises(ValueError, match="'maxout' is not among.*functional_dl.grad"):
        backprop.post_activation(params, x, LABELS, activation="maxout")
    with pytest.raises(ValueError, match="dense layers alone.*norm_0"):
        backprop.pre_activation({**params, "norm_0": {"scale": x}}, x, LABELS)
    with pytest.raises(ValueError, match="it got none"):
        backprop.forward({}, x)
    with pytest.raises(ValueError, match="loss is 'hinges'; those with a slope are squared_error"):
        backprop.pre_activation(params, x, LABELS, "hinges")


def check_shared(found: shared_weights.Shared, loss: Any, params: Any, what: str) -> None:
    """The gradient equals ours and JAX's."""
    assert_equal(found.gradient, fdl.grad(loss)(params), what)
    assert_equal(found.gradient, jax.grad(loss)(params), what)


@pytest.mark.parametrize("hidden", [[], [6, 5]], ids=["one layer", "three layers"])
@pytest.mark.parametrize("activation", ["tanh", "silu"])
def test_tied_autoencoder(hidden: list[int], activation: str) -> None:
    net = nn.autoencoder(8, code=3, activation=activation, hidden=hidden)
    leaves, tree = jax.tree.flatten(net.init(jax.random.key(0)))
    params = tree.unflatten([jnp.asarray(0.5 * normal(*w.shape, seed=k)) for k, w in enumerate(leaves)])
    x = jnp.asarray(normal(4, 2, 4))
    found = shared_weights.tied_autoencoder_gradient(params, x, activation=activation)
    check_shared(found, lambda p: nn.losses.squared_error(net.apply(p, x), x), params, activation)


def test_uses_of_a_tied_kernel_are_those_of_independent_ones() -> None:
    net = nn.autoencoder(8, code=3)
    params = {**net.init(jax.random.key(0)), "kernel": jnp.asarray(normal(8, 3))}
    x = jnp.asarray(normal(4, 8))

    def untied(encoder: Any, decoder: Any) -> Any:
        h = jnp.tanh(x @ encoder + params["encoder_bias"][None])
        return nn.losses.squared_error(h @ decoder.T + params["decoder_bias"][None], x)

    found = shared_weights.tied_autoencoder_gradient(params, x)
    due = jax.grad(untied, (0, 1))(params["kernel"], params["kernel"])
    assert_equal(found.uses["kernel"], jnp.stack(due), "uses")
    assert_equal(found.gradient["kernel"], due[0] + due[1], "sum")


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1-D": ((9,), (4,), {}),
    "1-D strided": ((9,), (3,), {"stride": 2, "padding": "VALID"}),
    "2-D": ((6, 5), (3, 2), {}),
    "2-D strided and dilated": ((9, 8), (2, 3), {"stride": (2, 1), "dilation": (3, 2), "padding": [(1, 2), (0, 3)]}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str) -> None:
    """The gradient at each position is that of a kernel of its own there."""
    space, window, how = CONVOLUTIONS[name]
    axes = len(space)
    x = jnp.asarray(normal(2, *space, 3))
    params = {"kernel": jnp.asarray(normal(*window, 3, 4)), "bias": jnp.asarray(normal(4))}

    def ones(value: Any) -> tuple[int, ...]:
        return (value,) * axes if isinstance(value, int) else value

    def run(params: Any) -> Any:
        y = lax.conv_general_dilated(
            x,
            params["kernel"],
            ones(how.get("stride", 1)),
            how.get("padding", "SAME"),
            rhs_dilation=ones(how.get("dilation", 1)),
            dimension_numbers={1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC")}[axes],
        )
        return y + params["bias"].reshape((1,) * (axes + 1) + (4,))

    ct = jnp.asarray(normal(*run(params).shape, seed=3))
    found = shared_weights.convolution_gradient(params, x, ct, **how)
    check_shared(found, lambda p: jnp.sum(ct * run(p)), params, name)
    positions = ct.shape[1:-1]
    assert found.uses["kernel"].shape == (*positions, *window, 3, 4) and found.uses["bias"].shape == (*positions, 4)
    for place in [(0,) * axes, tuple(p - 1 for p in positions), tuple(p // 2 for p in positions)]:
        there = jnp.zeros(ct.shape).at[(slice(None), *place)].set(ct[(slice(None), *place)])
        due = jax.grad(lambda p, there=there: jnp.sum(there * run(p)))(params)
        assert_equal(jax.tree.map(lambda u, place=place: u[place], found.uses), due, f"{name} at {place}")
    without = shared_weights.convolution_gradient({"kernel": params["kernel"]}, x, ct, **how)
    assert_equal(without.gradient, {"kernel": found.gradient["kernel"]}, "without bias")


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_recurrent_network(activation: str) -> None:
    """The gradient at each time is that of parameters of its own there; the loss reads the last state or all."""
    cell = nn.vanilla_cell(3, 4, activation)
    shapes = {"input_kernel": (3, 4), "recurrent_kernel": (4, 4), "bias": (4,)}
    params = {name: jnp.asarray(0.7 * normal(*shape, seed=5)) for name, shape in shapes.items()}
    x, ct, cts = (jnp.asarray(normal(*shape, seed=6)) for shape in [(2, 5, 3), (2, 4), (2, 5, 4)])
    last = shared_weights.recurrent_gradient(params, x, ct, activation)
    check_shared(last, lambda p: jnp.sum(ct * nn.recurrent(cell).apply(p, x)), params, "last state")

    def apart(each: Any) -> Any:
        h, total = jnp.zeros((2, 4)), 0.0
        for t in range(5):
            u, w, b = (each[name][t] for name in ("input_kernel", "recurrent_kernel", "bias"))
            h = ACTIVATIONS[activation](x[:, t] @ u + h @ w + b[None])
            total += jnp.sum(cts[:, t] * h)
        return total

    copies = jax.tree.map(lambda w: jnp.stack([w] * 5), params)
    found = shared_weights.recurrent_gradient(params, x, cts, activation)
    assert_equal(found.uses, jax.grad(apart)(copies), "uses")
    check_shared(found, lambda p: apart(jax.tree.map(lambda w: jnp.stack([w] * 5), p)), params, "all states")


def test_wrong_shapes_are_named() -> None:
    kernel = {"kernel": jnp.ones((2, 3, 4))}
    with pytest.raises(ValueError, match=r"inputs \(1, 5, 2\) for a kernel \(2, 3, 4\); due is \(N, 1 axes.*3\)"):
        shared_weights.convolution_gradient(kernel, jnp.ones((1, 5, 2)), jnp.ones((1, 5, 4)))
    with pytest.raises(ValueError, match=r"output_slope \(1, 5, 4\); the output is \(1, 4, 4\)"):
        shared_weights.convolution_gradient(kernel, jnp.ones((1, 5, 3)), jnp.ones((1, 5, 4)), padding="VALID")
    params = nn.vanilla_cell(3, 4).init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"state_slope \(2, 3\); due is \(2, 4\), or \(2, 5, 4\)"):
        shared_weights.recurrent_gradient(params, jnp.ones((2, 5, 3)), jnp.ones((2, 3)))
    untied = nn.autoencoder(6, code=2, tied=False).init(jax.random.key(0))
    with pytest.raises(ValueError, match="decoder_kernel.*nothing is shared"):
        shared_weights.tied_autoencoder_gradient(untied, jnp.ones((3, 6)))
    with pytest.raises(ValueError, match="a layer with dense_0, dense_1; due are kernel"):
        shared_weights.tied_autoencoder_gradient(network(2)[1], jnp.ones((3, 6)))


@pytest.mark.parametrize(("weight", "ratio"), [(1.0, 0.25), (-0.5, 0.125), (6.0, 1.5)])
def test_slopes_of_a_chain_of_sigmoids_vanish_or_explode(weight: float, ratio: float) -> None:
    """∂L/∂h_t = Φ'(a_{t+1}) w ∂L/∂h_{t+1}: with a = 0 everywhere |w|/4 from layer to layer, elsewhere less."""

    def ratios(bias: float, x: float) -> np.ndarray:
        one = {"kernel": jnp.full((1, 1), weight), "bias": jnp.full(1, bias)}
        params = {f"dense_{i}": one for i in range(10)}
        outer = params, jnp.full((1, 1), x), jnp.zeros((1, 1))
        slopes = np.ravel(backprop.post_activation(*outer, "squared_error", "sigmoid", "sigmoid").slopes)
        return np.abs(slopes[:-1] / slopes[1:])

    np.testing.assert_allclose(ratios(-weight / 2, 0.5), np.full(10, ratio), rtol=1e-12)
    assert np.all(ratios(0.3, 0.9) < ratio)
