"""Norms and dropout: running statistics, numbers far from zero, dtypes in a loop, masks and keys."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl
from functional_dl import nn
from functional_dl.trees import name_leaves
from tests.nn.elements import IMAGE, KEY, cast, exact, normed, reals


def test_norms_far_from_zero() -> None:
    """Variances are taken about the mean: E x² − (E x)² would have no digit left."""
    x = reals(64, 6, shift=1000.0)
    narrow = jnp.asarray(x, jnp.float32)
    # The input itself is rounded, by 3·10⁻⁵.
    np.testing.assert_allclose(nn.layer_norm(6).apply(nn.layer_norm(6).init(KEY), narrow), normed(x, -1), atol=3e-4)
    y, state = nn.batch_norm(6).train(nn.batch_norm(6).init(KEY), narrow)
    np.testing.assert_allclose(y, normed(x, 0), atol=3e-4)
    np.testing.assert_allclose(state["variance"], 0.9 + 0.1 * x.var(0, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.1, 0.3, 0.0, 1.0])
def test_running_statistics_over_batches(momentum: float) -> None:
    """PyTorch's: running ← (1 − m) running + m batch's, variance over n − 1; normalisation in training over n."""
    network = nn.batch_norm(4, momentum=momentum)
    params = {"scale": jnp.asarray(reals(4), jnp.float32), "bias": jnp.asarray(reals(4, seed=1), jnp.float32)}
    scale, bias = exact(params)["scale"], exact(params)["bias"]
    state, mean, variance = network.state(), np.zeros(4), np.ones(4)
    train = jax.jit(network.train)
    for seed in range(4):
        x = reals(3, 5, 2, 4, seed=seed) * (1 + seed) + seed
        y, state = train(params, jnp.asarray(x, jnp.float32), state)
        flat = x.reshape(-1, 4)
        mean, variance = ((1 - momentum) * a + momentum * b for a, b in (
            (mean, flat.mean(0)), (variance, ((flat - flat.mean(0)) ** 2).sum(0) / (len(flat) - 1))))  # fmt: skip
        np.testing.assert_allclose(state["mean"], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state["variance"], variance, rtol=1e-5)
        due = (flat - flat.mean(0)) / np.sqrt(((flat - flat.mean(0)) ** 2).mean(0) + 1e-5) * scale + bias
        np.testing.assert_allclose(np.asarray(y).reshape(-1, 4), due, rtol=1e-4, atol=1e-5)
    x = reals(2, 3, 4, seed=9)
    due = (x - mean) / np.sqrt(variance + 1e-5) * scale + bias
    np.testing.assert_allclose(network.apply(params, jnp.asarray(x, jnp.float32), state), due, rtol=1e-4, atol=1e-5)


def test_batch_norm_evaluates_by_one_scale_and_one_shift() -> None:
    network = nn.batch_norm(4)
    params, state, x = network.init(KEY), network.state(), jnp.asarray(IMAGE, jnp.float32)
    program = jax.make_jaxpr(lambda x: network.apply(params, x, state))(x)
    large = [e.primitive.name for e in program.eqns if e.outvars[0].aval.shape == x.shape]
    assert [name for name in large if name != "broadcast_in_dim"] == ["mul", "add"]


def test_no_gradient_goes_into_the_running_statistics() -> None:
    network = nn.batch_norm(4)
    params, x = network.init(KEY), jnp.asarray(IMAGE, jnp.float32)
    for grad in (fdl.grad, jax.grad):
        g = grad(lambda x: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(network.train(params, x)[1])))(x)
        np.testing.assert_array_equal(g, np.zeros(x.shape))


def test_statistics_stay_float32_in_bfloat16() -> None:
    """A sum of 3000 in bfloat16 would stand still; the state keeps its dtype whatever comes in."""
    network, x = nn.batch_norm(2, momentum=1.0), reals(3000, 2) + 3
    y, state = network.train(cast(network.init(KEY), jnp.bfloat16), jnp.asarray(x, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16 and state["mean"].dtype == state["variance"].dtype == jnp.float32
    rounded = np.asarray(jnp.asarray(x, jnp.bfloat16), np.float64)
    np.testing.assert_allclose(state["mean"], rounded.mean(0), rtol=1e-5)
    np.testing.assert_allclose(state["variance"], rounded.var(0, ddof=1), rtol=1e-4)
    with jax.enable_x64(True):
        assert network.train(network.init(KEY), jnp.asarray(x))[1]["mean"].dtype == jnp.float32


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda d: d.__name__)
def test_the_state_keeps_its_structure_in_a_loop(dtype: Any) -> None:
    """`lax.scan` refuses a carry that changes; and the whole network's gradient in training is JAX's."""
    network = nn.serial(
        convolution=nn.convolution(4, 6, bias=False),
        norm=nn.batch_norm(6),
        relu=nn.function(nn.ACTIVATIONS["relu"]),
        drop=nn.dropout(0.3),
        shortcut=nn.residual(nn.serial(convolution=nn.convolution(6, 6, bias=False), norm=nn.batch_norm(6))),
        pool=nn.global_average_pool(),
        head=nn.dense(6, 3),
    )
    params, x = cast(network.init(KEY), dtype), jnp.asarray(IMAGE, dtype)
    assert set(name_leaves(network.state())) == {
        f"{where}norm/{what}" for where in ("", "shortcut/") for what in ("mean", "variance")
    }

    @jax.jit
    def run(state: Any) -> Any:
        return lax.scan(lambda state, key: network.train(params, x, state, key)[::-1], state, jax.random.split(KEY, 3))

    state, ys = run(network.state())
    assert ys.shape == (3, 2, 3) and ys.dtype == dtype and np.any(ys[0] != ys[1])
    assert jax.tree.map(lambda s: (s.shape, s.dtype), state) == jax.tree.map(
        lambda s: (s.shape, s.dtype), network.state()
    )

    def loss(params: Any) -> Any:
        y, after = network.train(params, x, network.state(), KEY)
        return jnp.sum(jnp.sin(y.astype(jnp.float32))), after

    (ours, after), (jaxs, due_after) = jax.jit(
        lambda params: (fdl.grad(loss, has_aux=True)(params), jax.grad(loss, has_aux=True)(params))
    )(params)
    tolerance = 1e-3 if dtype == jnp.float32 else 5e-2
    due = {**name_leaves(jaxs), **name_leaves(due_after)}
    for path, g in {**name_leaves(ours), **name_leaves(after)}.items():
        large = abs(np.asarray(due[path], np.float64)).max()
        np.testing.assert_allclose(
            np.asarray(g, np.float64), np.asarray(due[path], np.float64), atol=tolerance * (large + 1e-2), err_msg=path
        )


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout(rate: float) -> None:
    """Zeros at the rate, the others x/(1 − rate), by key; the derivative is the mask; evaluation is the identity."""
    network, x = nn.dropout(rate), jnp.asarray(reals(200, 300, shift=10), jnp.float32)
    assert network.random and not network.init(KEY) and not network.state()
    np.testing.assert_array_equal(network.apply({}, x), x)
    y, _ = network.train({}, x, key=KEY)
    kept = np.asarray(y) != 0
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / x.size)
    # Every row and column alike.
    assert np.ptp(kept.mean(0)) < 0.35 and np.ptp(kept.mean(1)) < 0.3
    np.testing.assert_allclose(np.asarray(y)[kept], np.asarray(x)[kept] / (1 - rate), rtol=1e-6)
    np.testing.assert_array_equal(network.train({}, x, key=jax.random.key(0))[0], y)
    assert np.any(network.train({}, x, key=jax.random.key(1))[0] != y)
    g = jax.jit(fdl.grad(lambda x: jnp.sum(network.train({}, x, key=KEY)[0])))(x)
    np.testing.assert_allclose(g, kept / (1 - rate), rtol=1e-6)
    assert network.train({}, x.astype(jnp.bfloat16), key=KEY)[0].dtype == jnp.bfloat16


def test_dropout_keys() -> None:
    """Two dropouts of a network draw apart; members of a population draw by their keys; a rate of 0 draws nothing."""
    twice = nn.serial(first=nn.dropout(0.5), second=nn.dropout(0.5))
    x = jnp.ones((100, 70))
    y, _ = twice.train({}, x, key=KEY)
    # 1/4 kept, not 1/2.
    assert abs(float((y != 0).mean()) - 0.25) < 0.03 and float(y.max()) == 4
    keys = jax.random.split(KEY, 2)
    apart = jax.vmap(lambda key: twice.train({}, x, key=key)[0])(keys)
    for y, key in zip(apart, keys, strict=True):
        np.testing.assert_array_equal(y, twice.train({}, x, key=key)[0])
    np.testing.assert_array_equal(nn.dropout(0.0).train({}, x)[0], x)
    with pytest.raises(ValueError, match="train needs a key"):
        twice.train({}, x)
    with pytest.raises(ValueError, match="dropout needs a key"):
        nn.dropout(0.5).forward({}, {}, x, nn.Mode(True))
