"""Layers one by one: values by loops and formulas in float64 NumPy, derivatives by JAX, jit, vmap and bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl
from functional_dl import nn
from functional_dl.trees import name_leaves

KEY = jax.random.key(0)


def reals(*shape: int, seed: int = 0, shift: float = 0.0) -> Any:
    return np.random.default_rng(seed).normal(size=shape) + shift


def pads(padding: Any, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    if padding == "VALID":
        return [(0, 0)] * len(sizes)
    if padding == "SAME":
        totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, spans, strides, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(padding, padding)] * len(sizes) if isinstance(padding, int) else list(padding)


def convolved(
    window: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: Any = "SAME", groups: int = 1
) -> Callable[[Any, Any], Any]:
    """Convolution by loops over examples, places, window and groups."""

    def reference(params: Any, x: Any) -> Any:
        kernel = params["kernel"]
        spans = [(k - 1) * d + 1 for k, d in zip(window, dilation, strict=True)]
        margins = pads(padding, x.shape[1:-1], spans, stride)
        x = np.pad(x, [(0, 0), *margins, (0, 0)])
        sizes = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:-1], spans, stride, strict=True)]
        per, out = kernel.shape[-2], kernel.shape[-1] // groups
        y = np.zeros((x.shape[0], *sizes, kernel.shape[-1]))
        for place in np.ndindex(*sizes):
            for k in np.ndindex(*window):
                at = tuple(i * s + j * d for i, s, j, d in zip(place, stride, k, dilation, strict=True))
                for g in range(groups):
                    ins, outs = slice(g * per, (g + 1) * per), slice(g * out, (g + 1) * out)
                    y[(slice(None), *place, outs)] += x[(slice(None), *at, ins)] @ kernel[k][:, outs]
        return y + params.get("bias", 0)

    return reference


def spread(window: Sequence[int], stride: Sequence[int], padding: str) -> Callable[[Any, Any], Any]:
    """Transposed convolution by loops: every entry of x adds a kernel to y; SAME cuts what is beyond n · stride."""

    def reference(params: Any, x: Any) -> Any:
        kernel, sizes = params["kernel"], x.shape[1:-1]
        full = [(n - 1) * s + max(k, s) for n, k, s in zip(sizes, window, stride, strict=True)]
        y = np.zeros((x.shape[0], *full, kernel.shape[-1]))
        for place in np.ndindex(*sizes):
            for k in np.ndindex(*window):
                at = tuple(i * s + j for i, s, j in zip(place, stride, k, strict=True))
                y[(slice(None), *at)] += x[(slice(None), *place)] @ kernel[k]
        if padding == "SAME":
            cuts = [(max(k - s, 0) // 2, n * s) for n, k, s in zip(sizes, window, stride, strict=True)]
            y = y[(slice(None), *(slice(a, a + n) for a, n in cuts))]
        else:
            y = y[(slice(None), *(slice((n - 1) * s + k) for n, k, s in zip(sizes, window, stride, strict=True)))]
        return y + params["bias"]

    return reference


def pooled(
    over: Callable[..., Any], window: Sequence[int], stride: Sequence[int], padding: str
) -> Callable[[Any, Any], Any]:
    """``over`` of what each window really covers."""

    def reference(params: Any, x: Any) -> Any:
        sizes = x.shape[1:-1]
        margins = pads(padding, sizes, window, stride)
        many = [(n + a + b - k) // s + 1 for n, (a, b), k, s in zip(sizes, margins, window, stride, strict=True)]
        y = np.zeros((x.shape[0], *many, x.shape[-1]))
        for place in np.ndindex(*many):
            starts = [i * s - a for i, s, (a, _) in zip(place, stride, margins, strict=True)]
            covered = tuple(slice(max(i, 0), i + k) for i, k in zip(starts, window, strict=True))
            y[(slice(None), *place)] = over(x[(slice(None), *covered)], axis=tuple(range(1, x.ndim - 1)))
        return y

    return reference


def normed(x: Any, axes: Any, epsilon: float = 1e-5) -> Any:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def group_normed(groups: int) -> Callable[[Any, Any], Any]:
    def reference(params: Any, x: Any) -> Any:
        parts = [normed(part, tuple(range(1, x.ndim))) for part in np.split(x, groups, axis=-1)]
        return np.concatenate(parts, axis=-1) * params["scale"] + params["bias"]

    return reference


def batch_normed(params: Any, x: Any) -> Any:
    return normed(x, tuple(range(x.ndim - 1))) * params["scale"] + params["bias"]


@dataclass(frozen=True)
class Case:
    """A layer, an input in float64, and y of float64 parameters and input."""

    network: nn.Network
    x: Any
    reference: Callable[[Any, Any], Any]
    training: bool = False

    def y(self, params: Any, x: Any) -> Any:
        return self.network.train(params, x)[0] if self.training else self.network.apply(params, x)

    def params(self, seed: int = 1) -> Any:
        """In the shapes of the layer's own; away from zeros and ones, so that biases and scales show."""
        own = jax.eval_shape(self.network.init, KEY)
        return jax.tree.map(lambda p: jnp.asarray(0.5 + 0.5 * reals(*p.shape, seed=seed), p.dtype), own)


IMAGE, WAVE, SOLID = reals(2, 7, 6, 4), reals(3, 11, 4), reals(2, 4, 5, 3, 2)
CASES: dict[str, Case] = {
    "dense": Case(nn.dense(4, 5), reals(3, 2, 4), lambda p, x: x @ p["kernel"] + p["bias"]),
    "dense, no bias": Case(nn.dense(4, 5, bias=False), reals(3, 4), lambda p, x: x @ p["kernel"]),
    "dense, a vector": Case(nn.dense(4, 5), reals(4), lambda p, x: x @ p["kernel"] + p["bias"]),
    "embedding": Case(nn.embedding(7, 3), np.array([[0, 6, 2], [2, 2, 1]]), lambda p, ids: p["table"][ids]),
    "convolution": Case(nn.convolution(4, 5), IMAGE, convolved((3, 3), (1, 1), (1, 1))),
    "convolution, stride": Case(nn.convolution(4, 5, (3, 2), stride=(2, 3)), IMAGE, convolved((3, 2), (2, 3), (1, 1))),
    "convolution, even window": Case(nn.convolution(4, 3, 4), IMAGE, convolved((4, 4), (1, 1), (1, 1))),
    "convolution, valid, no bias": Case(
        nn.convolution(4, 5, (2, 3), padding="VALID", bias=False), IMAGE, convolved((2, 3), (1, 1), (1, 1), "VALID")
    ),
    "convolution, dilated": Case(
        nn.convolution(4, 5, (3, 2), dilation=(2, 3)), IMAGE, convolved((3, 2), (1, 1), (2, 3))
    ),
    "convolution, groups": Case(nn.convolution(4, 6, groups=2), IMAGE, convolved((3, 3), (1, 1), (1, 1), groups=2)),
    "convolution, by channel": Case(nn.convolution(4, 8, groups=4), IMAGE, convolved((3, 3), (1, 1), (1, 1), groups=4)),
    "convolution, all at once": Case(
        nn.convolution(4, 6, (2, 3), stride=(2, 1), dilation=(1, 2), groups=2, padding=[(2, 1), (0, 3)]),
        IMAGE,
        convolved((2, 3), (2, 1), (1, 2), [(2, 1), (0, 3)], groups=2),
    ),
    "convolution 1-D": Case(
        nn.convolution(4, 6, 3, dimensions=1, stride=2, groups=2, padding=2),
        WAVE,
        convolved((3,), (2,), (1,), 2, groups=2),
    ),
    "convolution 3-D": Case(
        nn.convolution(2, 3, (2, 3, 1), dimensions=3, stride=(1, 2, 1), dilation=(2, 1, 1)),
        SOLID,
        convolved((2, 3, 1), (1, 2, 1), (2, 1, 1)),
    ),
    "transposed": Case(nn.transposed_convolution(4, 3, 3, stride=2), IMAGE, spread((3, 3), (2, 2), "SAME")),
    "transposed, window within stride": Case(
        nn.transposed_convolution(4, 3, (4, 1), stride=(1, 3)), IMAGE, spread((4, 1), (1, 3), "SAME")
    ),
    "transposed, valid": Case(
        nn.transposed_convolution(4, 3, (3, 1), stride=(2, 2), padding="VALID"), IMAGE, spread((3, 1), (2, 2), "VALID")
    ),
    "transposed 1-D": Case(nn.transposed_convolution(4, 2, 5, 1, 3), WAVE, spread((5,), (3,), "SAME")),
    "transposed 3-D": Case(
        nn.transposed_convolution(2, 3, 2, 3, (2, 1, 2), "VALID"), SOLID, spread((2, 2, 2), (2, 1, 2), "VALID")
    ),
    "max pool": Case(nn.max_pool(2), IMAGE, pooled(np.max, (2, 2), (2, 2), "VALID")),
    "max pool, same": Case(
        nn.max_pool((3, 2), stride=(2, 1), padding="SAME"), IMAGE - 9, pooled(np.max, (3, 2), (2, 1), "SAME")
    ),
    "max pool 1-D": Case(nn.max_pool(3, 1, 2), WAVE, pooled(np.max, (3,), (2,), "VALID")),
    "max pool 3-D": Case(nn.max_pool((2, 3, 1), 3), SOLID, pooled(np.max, (2, 3, 1), (2, 3, 1), "VALID")),
    "average pool": Case(nn.average_pool((2, 3)), IMAGE, pooled(np.mean, (2, 3), (2, 3), "VALID")),
    "average pool, same": Case(
        nn.average_pool((4, 3), stride=(2, 2), padding="SAME"), IMAGE + 5, pooled(np.mean, (4, 3), (2, 2), "SAME")
    ),
    "average pool 1-D": Case(nn.average_pool(3, 1, 2, "SAME"), WAVE, pooled(np.mean, (3,), (2,), "SAME")),
    "average pool 3-D": Case(
        nn.average_pool(2, 3, 1, "SAME"), SOLID, pooled(np.mean, (2, 2, 2), (1, 1, 1), "SAME")
    ),
    "global average pool": Case(nn.global_average_pool(), IMAGE, lambda p, x: x.mean((1, 2))),
    "layer norm": Case(nn.layer_norm(4), reals(3, 2, 4), lambda p, x: normed(x, -1) * p["scale"] + p["bias"]),
    "RMS norm": Case(
        nn.rms_norm(4), reals(3, 2, 4), lambda p, x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p["scale"]
    ),
    "group norm": Case(nn.group_norm(4, 2), IMAGE, group_normed(2)),
    "group norm, one group": Case(nn.group_norm(4, 1), WAVE, group_normed(1)),
    "instance norm": Case(nn.group_norm(4, 4), IMAGE, group_normed(4)),
    "group norm, no space": Case(nn.group_norm(6, 2), reals(3, 6), group_normed(2)),
    "batch norm": Case(nn.batch_norm(4), IMAGE, batch_normed, training=True),
    "batch norm, no space": Case(nn.batch_norm(4), reals(5, 4), batch_normed, training=True),
    "batch norm, at first": Case(
        nn.batch_norm(4), IMAGE, lambda p, x: x / np.sqrt(1 + 1e-5) * p["scale"] + p["bias"]
    ),
}  # fmt: skip


def cast(tree: Any, dtype: Any) -> Any:
    """Floating leaves in ``dtype``."""
    return jax.tree.map(lambda x: x if np.asarray(x).dtype.kind in "iu" else jnp.asarray(x, dtype), tree)


def assert_near(y: Any, due: Any, tolerance: float) -> None:
    assert y.shape == due.shape
    np.testing.assert_allclose(np.asarray(y, np.float64), due, rtol=tolerance, atol=tolerance * abs(due).max())


def exact(tree: Any) -> Any:
    return jax.tree.map(lambda x: x if np.asarray(x).dtype.kind in "iu" else np.asarray(x, np.float64), tree)


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
