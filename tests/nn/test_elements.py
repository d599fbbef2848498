"""Layers one by one: values by loops and formulas in float64 NumPy, derivatives by JAX, jit, vmap and bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_dl as fdl
from functional_dl import nn
from functional_dl.trees import name_leaves
from tests.nn.elements import CASES, IMAGE, KEY, assert_near, cast, exact, reals


@pytest.mark.parametrize("name", CASES)
def test_values_in_bfloat16(name: str) -> None:
    """Of rounded parameters and input, run outside `jax.jit`; the dtype is theirs."""
    case = CASES[name]
    params, x = cast(case.params(), jnp.bfloat16), cast(case.x, jnp.bfloat16)
    y, due = case.y(params, x), case.reference(exact(params), exact(x))
    assert y.dtype == jnp.bfloat16
    assert_near(y, due, 2**-7)


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name: str) -> None:
    """In float32 and jitted. Our derivatives equal JAX's for every parameter and the input; every parameter matters."""
    case = CASES[name]
    params, x = case.params(), cast(case.x, jnp.float32)
    # An embedding's input is no real number.
    wanted = (0, 1) if x.dtype == jnp.float32 else 0

    def loss(params: Any, x: Any) -> Any:
        y = case.y(params, x)
        return jnp.sum(jnp.sin(y + jnp.cos(jnp.arange(y.size)).reshape(y.shape)))

    both = jax.jit(lambda *args: (fdl.grad(loss, wanted)(*args), jax.grad(loss, wanted)(*args), case.y(*args)))
    ours, jaxs, y = both(params, x)
    due = name_leaves(jaxs)
    for path, g in name_leaves(ours).items():
        np.testing.assert_allclose(g, due[path], rtol=1e-4, atol=1e-5 * abs(due[path]).max(), err_msg=path)
        assert np.any(g != 0), path
    assert y.dtype == jnp.float32
    assert_near(y, case.reference(exact(params), exact(x)), 1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if "," not in name])
def test_vmap(name: str) -> None:
    """A population: each member's parameters on its own input."""
    case = CASES[name]
    members, xs = [case.params(1), case.params(2)], [cast(case.x, jnp.float32), cast(case.x[::-1].copy(), jnp.float32)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    found = jax.jit(jax.vmap(case.y, axis_size=2))(stacked, jnp.stack(xs))
    for y, params, x in zip(found, members, xs, strict=True):
        assert_near(y, case.reference(exact(params), exact(x)), 1e-5)


@pytest.mark.parametrize(
    ("network", "came", "due"),
    [
        (nn.convolution(16, 33, 3, dimensions=1, stride=2, padding=0), (20, 50, 16), (20, 24, 33)),
        (nn.convolution(16, 33, 3, stride=2, padding=0), (20, 50, 100, 16), (20, 24, 49, 33)),
        (nn.convolution(16, 33, (3, 5), stride=(2, 1), padding=[(4, 4), (2, 2)], dilation=(3, 1)),
         (20, 50, 100, 16), (20, 26, 100, 33)),
        (nn.convolution(16, 33, (3, 5, 2), dimensions=3, stride=(2, 1, 1), padding=[(4, 4), (2, 2), (0, 0)]),
         (20, 10, 50, 100, 16), (20, 8, 50, 99, 33)),
        (nn.transposed_convolution(16, 33, 3, stride=2, padding="VALID"), (20, 50, 100, 16), (20, 101, 201, 33)),
        (nn.max_pool(3, stride=2), (20, 50, 32, 16), (20, 24, 15, 16)),
        (nn.max_pool((3, 2), stride=(2, 1)), (20, 50, 32, 16), (20, 24, 31, 16)),
    ],
)  # fmt: skip
def test_shapes_are_those_of_pytorchs_documentation(network: nn.Network, came: Any, due: Any) -> None:
    params = jax.eval_shape(network.init, KEY)
    assert jax.eval_shape(network.apply, params, jax.ShapeDtypeStruct(came, jnp.float32)).shape == due


def test_average_pool_of_pytorchs_documentation() -> None:
    x = jnp.arange(1.0, 8.0).reshape(1, 7, 1)
    np.testing.assert_array_equal(nn.average_pool(3, 1, 2).apply({}, x).ravel(), [2, 4, 6])


def test_average_pool_adds_up_in_float32() -> None:
    """In bfloat16 a sum of ones stands still at 256."""
    x = jnp.ones((1, 32, 40, 2), jnp.bfloat16)
    assert np.all(nn.average_pool((32, 40)).apply({}, x) == 1) and np.all(nn.global_average_pool().apply({}, x) == 1)


def test_max_pool_of_integers_and_of_ties() -> None:
    x = jnp.arange(-8, 8, dtype=jnp.int8).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(nn.max_pool(2).apply({}, x).ravel(), [-3, -1, 5, 7])
    ties = jnp.asarray([1.0, 3.0, 3.0, 2.0]).reshape(1, 2, 2, 1)
    for grad in (fdl.grad, jax.grad):
        np.testing.assert_array_equal(grad(lambda x: jnp.sum(nn.max_pool(2).apply({}, x)))(ties).ravel(), [0, 1, 0, 0])


def test_transposed_convolution_is_the_transpose() -> None:
    """⟨convolution u, v⟩ = ⟨u, transposed v⟩ with the kernel's channels swapped."""
    down = nn.convolution(3, 4, (4, 3), stride=(3, 2), bias=False)
    up = nn.transposed_convolution(4, 3, (4, 3), stride=(3, 2), bias=False)
    params = down.init(KEY)
    u, v = (cast(x, jnp.float32) for x in (reals(2, 9, 8, 3), reals(2, 3, 4, 4, seed=1)))
    swapped = {"kernel": jnp.swapaxes(params["kernel"], -1, -2)}
    left, right = jnp.sum(down.apply(params, u) * v), jnp.sum(u * up.apply(swapped, v))
    np.testing.assert_allclose(left, right, rtol=1e-4)


def test_mixed_dtypes_promote_as_jnps_do() -> None:
    """float32 parameters on bfloat16 or integer input give float32, of every layer with parameters."""
    for name, case in CASES.items():
        if name != "embedding" and case.params():
            assert case.y(case.params(), jnp.asarray(case.x, jnp.bfloat16)).dtype == jnp.float32, name
    image = jnp.asarray(IMAGE * 50, jnp.int8)
    assert nn.convolution(4, 2).apply(nn.convolution(4, 2).init(KEY), image).dtype == jnp.float32
    assert nn.average_pool(2).apply({}, image).dtype == jnp.float32


def applied(network: nn.Network, *shape: int, dtype: Any = jnp.float32) -> Callable[[], Any]:
    return lambda: network.train(network.init(KEY), jnp.ones(shape, dtype))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (applied(nn.dense(4, 5), 2, 3), r"dense got 3 features in \(2, 3\); its kernel takes 4"),
        (applied(nn.dense(4, 5)), r"dense got no features in \(\)"),
        (applied(nn.embedding(4, 5), 2, 3), r"embedding got float32\[2, 3\]; due are integers"),
        (applied(nn.convolution(4, 5), 2, 7, 6, 3), r"convolution got \(2, 7, 6, 3\); due is \(N, H, W, 4\)"),
        (applied(nn.convolution(4, 5, dimensions=1), 2, 7, 6, 4), r"due is \(N, W, 4\)"),
        (applied(nn.convolution(4, 5, 5, padding="VALID", dilation=2), 2, 7, 9, 4), r"window of \(9, 9\).*\(7, 9\)"),
        (lambda: nn.convolution(4, 6, groups=3), "4 inputs and 6 outputs are not divisible into 3 groups"),
        (lambda: nn.convolution(4, 5, dimensions=4), "dimensions = 4; due is 1, 2 or 3"),
        (lambda: nn.convolution(4, 5, (3, 3, 3)), r"window = \(3, 3, 3\); due is a positive number, or 2"),
        (lambda: nn.convolution(4, 5, stride=0), "stride = 0"),
        (applied(nn.convolution(4, 5, padding="same"), 2, 7, 6, 4), "padding = 'same'; due is 'SAME'"),
        (applied(nn.convolution(4, 5, padding=[(1, 1)]), 2, 7, 6, 4), "due are 2 pairs"),
        (applied(nn.transposed_convolution(4, 5), 2, 7, 4), r"transposed_convolution got \(2, 7, 4\); due"),
        (lambda: nn.transposed_convolution(4, 5, padding="FULL"), "padding = 'FULL'"),
        (applied(nn.max_pool(2), 2, 7, 4), r"max_pool got \(2, 7, 4\); due is \(N, H, W, C\)"),
        (applied(nn.max_pool(3), 2, 2, 7, 4), r"max_pool: a window of \(3, 3\) does not fit into \(2, 7\)"),
        (lambda: nn.average_pool(2, padding=1), "average_pool: padding = 1"),
        (applied(nn.layer_norm(4), 2, 1), r"layer_norm got \(2, 1\); due is \(…, 4\)"),
        (applied(nn.rms_norm(4), 2, 1), r"rms_norm got \(2, 1\)"),
        (applied(nn.group_norm(4, 2), 2, 1), r"group_norm got \(2, 1\)"),
        (applied(nn.group_norm(4, 2), 4), r"group_norm got \(4,\); due is \(N, …, 4\)"),
        (lambda: nn.group_norm(4, 3), "4 channels are not divisible into 3 groups"),
        (applied(nn.batch_norm(4), 2, 1), r"batch_norm got \(2, 1\)"),
        (applied(nn.batch_norm(4), 1, 4), r"batch_norm got \(1, 4\) in training; due are two"),
        (lambda: nn.batch_norm(4, momentum=1.5), "momentum = 1.5"),
        (lambda: nn.dropout(1.0), "rate = 1.0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
