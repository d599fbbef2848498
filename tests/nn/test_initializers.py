"""Initialisers: the distributions they claim, by SciPy's; fan-in of all kernels; orthogonality."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from functional_dl import nn
from functional_dl.nn import initializers
from functional_dl.nn.initializers import INITIALIZERS

KEY = jax.random.key(0)
CUT = stats.truncnorm(-2, 2)
# Of deviation one each.
DISTRIBUTIONS: dict[str, Any] = {
    "normal": stats.norm(),
    "uniform": stats.uniform(-sqrt(3), 2 * sqrt(3)),
    "truncated": stats.truncnorm(-2, 2, scale=1 / CUT.std()),
}
# The square of the deviation, of fan-in r and fan-out s.
VARIANCES = {
    "lecun": lambda r, s: 1 / r,
    "glorot": lambda r, s: 2 / (r + s),
    "he": lambda r, s: 2 / r,
}
DRAWN = [f"{family}_{kind}" for family in VARIANCES for kind in DISTRIBUTIONS]
# Shapes with fan-in and fan-out as counted by hand.
KERNELS = {
    "vector": ((50,), 50, 50),
    "dense": ((120, 90), 120, 90),
    "1-D": ((7, 30, 50), 210, 350),
    "2-D": ((3, 5, 16, 24), 240, 360),
    "3-D": ((3, 2, 4, 10, 20), 240, 480),
}


@pytest.mark.parametrize("kernel", KERNELS)
def test_fans(kernel: str) -> None:
    shape, r, s = KERNELS[kernel]
    assert initializers.fans(shape) == (r, s)


def assert_drawn(weights: Any, distribution: Any, deviation: float) -> None:
    """Kolmogorov and Smirnov find no difference; the deviation is right to four standard errors."""
    flat = np.asarray(weights, np.float64).ravel() / deviation
    assert stats.kstest(flat, distribution.cdf).pvalue > 1e-3
    assert abs(flat.std() - 1) < 4 / sqrt(flat.size) and abs(flat.mean()) < 4 / sqrt(flat.size)


@pytest.mark.parametrize("kernel", ["dense", "2-D"])
@pytest.mark.parametrize("name", DRAWN)
def test_drawn(name: str, kernel: str) -> None:
    shape, r, s = KERNELS[kernel]
    family, kind = name.split("_")
    weights = INITIALIZERS[name](KEY, shape)
    assert weights.shape == shape and weights.dtype == jnp.float32
    assert_drawn(weights, DISTRIBUTIONS[kind], sqrt(VARIANCES[family](r, s)))


def test_small_gaussian_is_of_ten_to_minus_two() -> None:
    """The notes say 102; meant is 10⁻²."""
    assert_drawn(INITIALIZERS["small_normal"](KEY, (120, 90)), stats.norm(), 0.01)


def test_constants() -> None:
    np.testing.assert_array_equal(INITIALIZERS["zeros"](KEY, (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(INITIALIZERS["ones"](KEY, (2, 3)), np.ones((2, 3)))
    np.testing.assert_array_equal(initializers.constant(KEY, (3,), value=0.1), np.full(3, 0.1, np.float32))


def test_truncated_draws_stay_within_two_deviations_of_the_parent() -> None:
    weights = np.asarray(initializers.lecun_truncated(KEY, (400, 300))) * 20
    assert 2.2 < abs(weights).max() <= 2 / CUT.std() + 1e-6


@pytest.mark.parametrize("name", INITIALIZERS)
def test_dtype_and_determinism(name: str) -> None:
    first, again, other = (INITIALIZERS[name](jax.random.key(k), (64, 96), jnp.bfloat16) for k in (1, 1, 2))
    assert first.dtype == jnp.bfloat16
    np.testing.assert_array_equal(first, again)
    if name not in ("zeros", "ones"):
        assert np.any(first != other)
        single = np.asarray(INITIALIZERS[name](jax.random.key(1), (64, 96)))
        # Rounded once from what float32 gets: JAX's own draws in bfloat16 are on a grid of 2⁻⁷.
        np.testing.assert_allclose(np.asarray(first, np.float32), single, rtol=2**-8)


@pytest.mark.parametrize("shape", [(7, 7), (5, 9), (9, 5), (3, 2, 4, 6), (2, 1, 3, 11), (1, 4)], ids=str)
def test_orthogonal(shape: tuple[int, ...]) -> None:
    """Columns, or rows if those are fewer, of length ``gain`` and at right angles."""
    kernel = initializers.orthogonal(KEY, shape, gain=1.5)
    assert kernel.shape == shape
    matrix = np.asarray(kernel, np.float64).reshape(prod(shape[:-1]), shape[-1])
    gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(gram, 1.5**2 * np.eye(min(matrix.shape)), atol=1e-5)


def test_orthogonal_matrices_are_equally_likely() -> None:
    """The first row of Q is uniform on the sphere: without the signs of R's diagonal its corner is never positive."""
    drawn = jax.vmap(lambda key: initializers.orthogonal(key, (4, 3)))(jax.random.split(KEY, 400))
    for i, j in np.ndindex(4, 3):
        # An entry of a uniform unit vector in four dimensions: (x + 1)/2 is Beta(3/2, 3/2).
        assert stats.kstest((np.asarray(drawn[:, i, j]) + 1) / 2, stats.beta(1.5, 1.5).cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "orthogonal"])
def test_groups_are_convolutions_of_their_own(name: str) -> None:
    """Fan-in is window × in/groups, fan-out window × out/groups, and no two groups are equal."""
    kernel = np.asarray(nn.convolution(32, 48, 5, groups=4, init=INITIALIZERS[name]).init(KEY)["kernel"])
    assert kernel.shape == (5, 5, 8, 48)
    groups = np.split(kernel, 4, axis=-1)
    assert np.any(groups[0] != groups[1])
    for group in groups:
        if name == "orthogonal":
            flat = group.reshape(200, 12)
            np.testing.assert_allclose(flat.T @ flat, np.eye(12), atol=1e-5)
        else:
            family, kind = name.split("_")
            assert_drawn(group, DISTRIBUTIONS[kind], sqrt(VARIANCES[family](200, 300)))


@pytest.mark.parametrize(
    ("name", "activation", "share"),
    [("he_normal", "relu", 1.0), ("lecun_normal", "relu", 0.5**10), ("lecun_normal", "identity", 1.0)],
)
def test_the_signal_through_ten_layers(name: str, activation: str, share: float) -> None:
    """He et al. 2015, section 2.2: √(2/r) keeps the mean square before ReLUs, √(1/r) halves it at each of them."""
    draw = jax.jit(lambda key: INITIALIZERS[name](key, (200, 200)))
    x = jax.random.normal(KEY, (50, 200))
    for key in jax.random.split(KEY, 10):
        x = nn.ACTIVATIONS[activation](x) @ draw(key)
    assert share / 3 < float(jnp.mean(x**2)) < share * 3


def test_slope_lowers_the_deviation() -> None:
    for name in ("he_normal", "he_uniform", "he_truncated"):
        ratio = INITIALIZERS[name](KEY, (120, 90), slope=0.5) / INITIALIZERS[name](KEY, (120, 90))
        np.testing.assert_allclose(ratio, 1 / sqrt(1.25), rtol=1e-3)


def test_shapes_without_fans() -> None:
    with pytest.raises(ValueError, match=r"shape \(\); fan-in"):
        initializers.he_normal(KEY, ())
    with pytest.raises(ValueError, match=r"orthogonal got the shape \(3,\); it needs \(…, in, out\)"):
        initializers.orthogonal(KEY, (3,))
    assert initializers.he_normal(KEY, (0, 4)).shape == (0, 4)
