"""Measured flows against the same networks written by hand with zeros added, whose gradients are δ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import functional_dl.nn as nn
from functional_dl import optim
from functional_dl.diagnostics import Flow, gradient_flow
from functional_dl.nn import backprop
from functional_dl.nn.attention import rotate
from functional_dl.trees import name_leaves


class Taps:
    """Stands at the places of a network written by hand: adds zeros to values, and keeps what passes."""

    def __init__(self, zeros: Any = None) -> None:
        self.zeros, self.seen = zeros, defaultdict(list)

    def __call__(self, name: str, a: Any, phi: Callable[[Any], Any] = lambda a: a) -> Any:
        if self.zeros is not None:
            a = a + self.zeros[name][len(self.seen[name])]
        h = phi(a)
        self.seen[name].append((a, h))
        return h


class Case(NamedTuple):
    loss: Callable[..., Any]
    by_hand: Callable[..., Any]  # (tap, params, *batch) -> scalar
    params: Any
    batch: tuple[Any, ...]


CASES: dict[str, Callable[[], Case]] = {}


def case(make: Callable[[], Case]) -> Callable[[], Case]:
    CASES[make.__name__] = make
    return make


def draw(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng((seed, *shape)).normal(size=shape), jnp.float32)


def noisy(params: Any) -> Any:
    """Biases and norms that start at 0 and 1 are moved, so that leaving one out shows."""
    return jax.tree.map(lambda x: x + 0.1 * draw(*x.shape, seed=9), params)


def cross_entropy(logits: Any, labels: Any) -> Any:
    return nn.losses.cross_entropy(logits, labels)


def trained(network: Any, *batch: Any) -> Case:
    """A network in training mode; ``by_hand`` is still to come."""

    def loss(params: Any, x: Any, labels: Any) -> Any:
        return cross_entropy(network.train(params, x, key=jax.random.key(7))[0], labels)

    return Case(loss, None, noisy(network.init(jax.random.key(1))), batch)  # type: ignore[arg-type]


def row(b: Any, ndim: int = 2) -> Any:
    return b.reshape((1,) * (ndim - 1) + (-1,))


def affine(p: Any, x: Any) -> Any:
    y = jnp.matmul(x, p["kernel"])
    return y + row(p["bias"], y.ndim) if "bias" in p else y


LABELS = jnp.array([0, 2, 1, 1, 0, 2])


@case
def mlp() -> Case:
    start = trained(nn.mlp(8, 3, hidden=[7, 5], activation="gelu"), draw(6, 8), LABELS)

    def by_hand(tap: Taps, p: Any, x: Any, labels: Any) -> Any:
        for i in range(2):
            x = tap(f"dense_{i}", affine(p[f"dense_{i}"], x), jax.nn.gelu)
        return cross_entropy(tap("dense_2", affine(p["dense_2"], x)), labels)

    return start._replace(by_hand=by_hand)


def batch_normed(p: Any, x: Any) -> Any:
    return nn.batch_norm(x.shape[-1]).train(p, x)[0]


@case
def mlp_with_batch_norm_and_dropout() -> Case:
    network = nn.mlp(8, 3, hidden=[7, 5], activation="relu", batch_norm=True, dropout=0.3)
    start = trained(network, draw(6, 8), LABELS)

    def by_hand(tap: Taps, p: Any, x: Any, labels: Any) -> Any:
        for i in range(2):
            normed = lambda a, i=i: jax.nn.relu(batch_normed(p[f"norm_{i}"], a))
            h = tap(f"dense_{i}", affine(p[f"dense_{i}"], x), normed)
            # serial gives its i-th part a key of its own; flatten is the 0th.
            key = jax.random.fold_in(jax.random.key(7), 4 * i + 4)
            x = jnp.where(jax.random.bernoulli(key, 0.7, h.shape), h / 0.7, 0)
        return cross_entropy(tap("dense_2", affine(p["dense_2"], x)), labels)

    return start._replace(by_hand=by_hand)


def convolved(p: Any, x: Any, stride: int = 1) -> Any:
    y = lax.conv_general_dilated(
        x, p["kernel"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )  # fmt: skip
    return y + row(p["bias"], 4) if "bias" in p else y


@case
def cnn() -> Case:
    start = trained(nn.cnn((8, 6), 3, channels=(4, 5), hidden=7, activation="tanh"), draw(6, 8, 6), LABELS)

    def by_hand(tap: Taps, p: Any, x: Any, labels: Any) -> Any:
        x = x[..., None]
        for i in range(2):
            x = tap(f"convolution_{i}", convolved(p[f"convolution_{i}"], x), jnp.tanh)
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = tap("dense", affine(p["dense"], x.reshape(6, -1)), jnp.tanh)
        return cross_entropy(tap("head", affine(p["head"], x)), labels)

    return start._replace(by_hand=by_hand)


@case
def resnet() -> Case:
    start = trained(nn.resnet((8, 6), 3, blocks=(1, 1), width=4), draw(6, 8, 6), LABELS)

    def by_hand(tap: Taps, p: Any, x: Any, labels: Any) -> Any:
        def step(at: str, p: Any, x: Any, suffix: str = "", stride: int = 1, phi: Any = lambda y: y) -> Any:
            own, norm = f"convolution{suffix}", p[f"norm{suffix}"]
            final = lambda a: phi(batch_normed(norm, a))
            a = convolved(p[own], x, stride)
            # Without an activation what is measured as Φ(a) is a itself.
            return tap(f"{at}/{own}", a, final) if phi is jax.nn.relu else final(tap(f"{at}/{own}", a))

        relu = jax.nn.relu
        x = step("stem", p["stem"], x[..., None], phi=relu)
        at, own = "stage_0/block_0/sum", p["stage_0"]["block_0"]["sum"]
        x = relu(x + step(at, own, step(at, own, x, "_0", phi=relu), "_1"))
        at, own = "stage_1/block_0/sum", p["stage_1"]["block_0"]["sum"]
        inner = step(f"{at}/inner", own["inner"], x, "_0", 2, relu)
        inner = step(f"{at}/inner", own["inner"], inner, "_1")
        x = relu(step(f"{at}/shortcut", own["shortcut"], x, "", 2) + inner)
        return cross_entropy(tap("head", affine(p["head"], jnp.mean(x, (1, 2)))), labels)

    return start._replace(by_hand=by_hand)


def recurrent(cell: str) -> Case:
    start = trained(nn.rnn(4, 3, width=5, cell=cell), draw(6, 7, 4), LABELS)

    def by_hand(tap: Taps, params: Any, x: Any, labels: Any) -> Any:
        p = params["recurrent"]
        h, c = jnp.zeros((6, 5)), jnp.zeros((6, 5))

        def gated(a: Any) -> Any:
            i, f, g, o = jnp.split(a, 4, axis=-1)
            return jnp.concatenate([jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)], axis=-1)

        for t in range(7):
            a, b = x[:, t] @ p["input_kernel"] + row(p["bias"]), h @ p["recurrent_kernel"]
            if cell == "vanilla":
                h = tap("recurrent", a + b, jnp.tanh)
            elif cell == "lstm":
                i, f, g, o = jnp.split(tap("recurrent", a + b, gated), 4, axis=-1)
                c = f * c + i * g
                h = o * jnp.tanh(c)
            else:
                a, b = tap("recurrent/input_kernel", a), tap("recurrent/recurrent_kernel", b)
                (ra, za, na), (rb, zb, nb) = (jnp.split(s, 3, axis=-1) for s in (a, b))
                r, z = jax.nn.sigmoid(ra + rb), jax.nn.sigmoid(za + zb)
                h = (1 - z) * jnp.tanh(na + r * nb) + z * h
        return cross_entropy(tap("head", affine(params["head"], h)), labels)

    return start._replace(by_hand=by_hand)


CASES |= {cell: lambda cell=cell: recurrent(cell) for cell in ("vanilla", "lstm", "gru")}


def transformer(scanned: bool, feedforward: str = "gelu") -> Case:
    network = nn.transformer(5, 7, width=8, heads=2, depth=3, scanned=scanned, feedforward=feedforward,  # type: ignore[arg-type]
                             positions="rotary" if feedforward == "swiglu" else "learned")  # fmt: skip
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 5, (2, 6)))
    start = trained(network, ids, jnp.roll(ids, -1, axis=1))

    def by_hand(tap: Taps, p: Any, ids: Any, labels: Any) -> Any:
        def norm(p: Any, x: Any) -> Any:
            return nn.layer_norm(8).apply(p, x)

        x = p["tokens"]["table"][ids]
        if feedforward == "gelu":
            x = x + p["positions"]["table"][None, :6]
        x = tap("tokens", x)
        for i in range(3):
            own = jax.tree.map(lambda w, i=i: w[i], p["blocks"]) if scanned else p["blocks"][str(i)]
            at = "blocks" if scanned else f"blocks/{i}"
            mix = own["attention"]["mix"]
            y = tap(f"{at}/attention/mix/qkv", norm(own["attention"]["norm"], x) @ mix["qkv"])
            q, k, v = (part.reshape(2, 6, 2, 4) for part in jnp.split(y, 3, axis=-1))
            if feedforward == "swiglu":
                q, k = rotate(q), rotate(k)
            y = jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(2, 6, 8)
            x = x + tap(f"{at}/attention/mix/out", y @ mix["out"])
            own, at = own["feedforward"], f"{at}/feedforward"
            y = norm(own["norm"], x)
            if feedforward == "gelu":
                y = tap(f"{at}/up", affine(own["up"], y), jax.nn.gelu)
                x = x + tap(f"{at}/down", affine(own["down"], y))
            else:
                own, at = own["swiglu"], f"{at}/swiglu"
                y = tap(f"{at}/gate", y @ own["gate"], jax.nn.silu) * tap(f"{at}/up", y @ own["up"])
                x = x + tap(f"{at}/down", y @ own["down"])
        return cross_entropy(tap("tokens#2", norm(p["norm"], x) @ p["tokens"]["table"].T), labels)

    return start._replace(by_hand=by_hand)


CASES |= {
    "transformer": lambda: transformer(False),
    "transformer_scanned": lambda: transformer(True),
    "transformer_scanned_swiglu": lambda: transformer(True, "swiglu"),
}


@case
def tied_autoencoder() -> Case:
    network = nn.ARCHITECTURES["autoencoder"](8, code=3)
    params = noisy(network.init(jax.random.key(1)))

    def by_hand(tap: Taps, p: Any, x: Any) -> Any:
        h = tap("kernel", x @ p["kernel"] + row(p["encoder_bias"]), jnp.tanh)
        return jnp.mean((tap("kernel#2", h @ p["kernel"].T + row(p["decoder_bias"])) - x) ** 2)

    return Case(lambda p, x: jnp.mean((network.apply(p, x) - x) ** 2), by_hand, params, (draw(6, 8),))


@case
def written_by_a_user() -> Case:
    """Nested jits, names, checkpoints, a list of tuples, einsum with other orders, a convert, a scale after Φ."""
    params = {"net": [(draw(8, 5), draw(5)), (draw(4, 5), draw(4)), (draw(4, 3), None)], "unused": draw(2)}

    @jax.jit
    def dense(x: Any, w: Any, b: Any) -> Any:
        return jax.jit(jnp.matmul)(x, w) + row(b)

    def middle(x: Any, w: Any, b: Any) -> Any:
        a = jnp.einsum("oi,ni->on", w, x).T + row(b)
        return checkpoint_name(2 / (1 + jnp.exp(-a)), "gates")

    def loss(params: Any, x: Any) -> Any:
        (w0, b0), (w1, b1), (w2, _) = params["net"]
        h = jax.nn.softplus(dense(x, w0, b0))
        h = jax.checkpoint(middle, policy=jax.checkpoint_policies.nothing_saveable)(h, w1, b1)
        out = jnp.reshape(jnp.dot(h, w2), (2, 3, 3)).astype(jnp.float32)
        return checkpoint_name(jnp.sum(jnp.abs(out) ** 3), "total")

    def by_hand(tap: Taps, params: Any, x: Any) -> Any:
        (w0, b0), (w1, b1), (w2, _) = params["net"]
        h = tap("net/0", x @ w0 + row(b0), jax.nn.softplus)
        h = tap("gates", tap("net/1", h @ w1.T + row(b1), lambda a: 2 * jax.nn.sigmoid(a)))
        return tap("total", jnp.sum(jnp.abs(tap("net/2", h @ w2)) ** 3))

    return Case(loss, by_hand, params, (draw(6, 8),))


@case
def loops_in_loops() -> Case:
    """Two scanned layers, each a recurrence over time; their measures follow each other."""
    params = {"layers": {"w": draw(2, 3, 3), "u": draw(2, 3, 3)}, "head": draw(3, 2)}

    def cell(w: Any, u: Any, h: Any, x: Any) -> Any:
        return x @ u + h @ w

    def loss(params: Any, x: Any) -> Any:
        def layer(xs: Any, p: Any) -> Any:
            def step(h: Any, x: Any) -> Any:
                h = jnp.tanh(cell(p["w"], p["u"], h, x))
                return h, h

            return lax.scan(step, jnp.zeros((5, 3)), xs, reverse=True)[1], None

        xs, _ = lax.scan(layer, x, params["layers"])
        return jnp.sum((xs[0] @ params["head"]) ** 2)

    def by_hand(tap: Taps, params: Any, x: Any) -> Any:
        xs = list(x)
        for i in range(2):
            own, h, made, taps = jax.tree.map(lambda w, i=i: w[i], params["layers"]), jnp.zeros((5, 3)), {}, {}
            for t in reversed(range(4)):
                # Kept where the iteration stands, not when it ran.
                taps[t] = cell(own["w"], own["u"], h, xs[t])
                h = made[t] = tap(f"{i}/{t}", taps[t], jnp.tanh)
            xs = [made[t] for t in range(4)]
        tap.order = {"layers": [f"{i}/{t}" for i in range(2) for t in range(4)]}  # type: ignore[attr-defined]
        return jnp.sum(tap("head", xs[0] @ params["head"]) ** 2)

    return Case(loss, by_hand, params, (draw(4, 5, 3),))


def expected(of: Case) -> dict[str, tuple[Any, Any, Any]]:
    """Per name: norms of a, Φ(a) and δ."""
    order: dict[str, list[str]] = {}

    def seen(params: Any) -> Any:
        tap = Taps()
        of.by_hand(tap, params, *of.batch)
        order.update(getattr(tap, "order", {}))
        return dict(tap.seen)

    @jax.jit
    def measured(params: Any) -> Any:
        pairs = seen(params)
        zeros = {name: [jnp.zeros_like(a) for a, _ in made] for name, made in pairs.items()}
        deltas = jax.grad(lambda zeros: of.by_hand(Taps(zeros), params, *of.batch))(zeros)
        return {name: [(*pair, delta) for pair, delta in zip(made, deltas[name], strict=True)]
                for name, made in pairs.items()}  # fmt: skip

    norms = {name: [[np.linalg.norm(np.ravel(x)) for x in each] for each in made]
             for name, made in measured(of.params).items()}  # fmt: skip
    for name, parts in order.items():
        norms[name] = [norms.pop(part)[0] for part in parts]
    return {name: tuple(np.array(column) for column in zip(*made, strict=True)) for name, made in norms.items()}


def by_name(flow: Flow) -> dict[str, Any]:
    return {place.name: (place, measures) for place, measures in zip(flow.places, flow.measures, strict=True)}


def check(flow: Flow, due: dict[str, tuple[Any, Any, Any]], rtol: float = 2e-4) -> None:
    found = by_name(flow)
    assert found.keys() == due.keys()
    for name, (place, measures) in found.items():
        times = () if place.times is None else (place.times,)
        came = (measures.value, measures.activation, measures.delta)
        for what, x, y in zip(("value", "activation", "delta"), came, due[name], strict=True):
            assert x.shape == times and x.dtype == jnp.float32, (name, what)
            np.testing.assert_allclose(np.reshape(x, -1), y, rtol=rtol, atol=1e-6, err_msg=f"{what} of {name}")


@pytest.mark.parametrize("name", CASES)
def test_norms_are_those_of_added_zeros(name: str) -> None:
    of = CASES[name]()
    flow = jax.jit(lambda p, b: gradient_flow(of.loss, p, b))(of.params, of.batch)
    check(flow, expected(of))
    value, grads = jax.jit(jax.value_and_grad(of.loss))(of.params, *of.batch)
    np.testing.assert_allclose(flow.loss, value, rtol=1e-5)
    shares = name_leaves(grads)
    assert flow.shares.keys() == shares.keys()
    for path, grad in name_leaves(flow.grads).items():
        np.testing.assert_allclose(grad, shares[path], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(flow.shares[path].gradient, np.linalg.norm(np.ravel(grad)), rtol=1e-5)
    for path, w in name_leaves(of.params).items():
        np.testing.assert_allclose(flow.shares[path].parameter, np.linalg.norm(np.ravel(w)), rtol=1e-5)
        assert flow.shares[path].update is None


@pytest.mark.parametrize("name", ["mlp", "lstm", "written_by_a_user", "loops_in_loops"])
def test_outside_jit_and_a_second_time(name: str) -> None:
    of = CASES[name]()
    due = expected(of)
    for memory in ("auto", "keep"):
        check(gradient_flow(of.loss, of.params, of.batch, memory=memory), due)
    compiled = jax.jit(lambda p, b: gradient_flow(of.loss, p, b, units=False))
    for _ in range(2):
        check(compiled(of.params, of.batch), due)


@pytest.mark.parametrize("name", ["mlp", "cnn", "vanilla", "transformer_scanned"])
def test_vmap_over_parameters(name: str) -> None:
    of = CASES[name]()
    several = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), of.params)
    for transform in (jax.jit, lambda f: f) if name == "vanilla" else (jax.jit,):
        flow = transform(jax.vmap(lambda p: gradient_flow(of.loss, p, of.batch)))(several)
        for i, factor in enumerate((1, 2)):
            one = of._replace(params=jax.tree.map(lambda x, k=factor: k * x, of.params))
            check(jax.tree.map(lambda x, i=i: x[i], flow), expected(one))


def test_places_say_what_they_are() -> None:
    of = CASES["written_by_a_user"]()
    places = {p.name: p for p in gradient_flow(of.loss, of.params, of.batch).places}
    assert list(places) == ["net/0", "net/1", "gates", "net/2", "total"]
    assert [p.kind for p in places.values()] == ["layer", "layer", "named", "layer", "named"]
    assert places["net/1"].parameters == ("net/1/0", "net/1/1") and places["net/1"].shape == (6, 4)
    assert places["net/0"].activation == "softplus" and places["gates"].activation == ""
    assert __file__.rpartition("/")[2] in places["net/2"].line and "loss)" in places["net/2"].line
    assert places["net/0"].times is None and places["net/0"].entries == 30


def test_loops_over_layers_are_stacked_and_those_over_time_are_not() -> None:
    for name, place, times, stacked in [
        ("transformer_scanned", "blocks/feedforward/up", 3, True),
        ("vanilla", "recurrent", 7, False),
        ("loops_in_loops", "layers", 8, True),
        ("cnn", "head", None, False),
    ]:
        of = CASES[name]()
        flow = jax.eval_shape(lambda p, b, of=of: gradient_flow(of.loss, p, b), of.params, of.batch)
        (found,) = (p for p in flow.places if p.name == place)
        assert (found.times, found.stacked) == (times, stacked), name


@pytest.mark.parametrize(("activation", "title"), [
    ("relu", "relu"), ("sigmoid", "logistic"), ("tanh", "tanh"), ("gelu", "gelu"), ("silu", "silu"), ("elu", "elu"),
    ("hard_tanh", "hard_tanh"), ("leaky_relu", "leaky_relu"), ("softplus", "softplus"),
])  # fmt: skip
@pytest.mark.parametrize("normed", [False, True])
def test_slopes(activation: str, title: str, normed: bool) -> None:
    network = nn.mlp(8, 3, hidden=[7], activation=activation, batch_norm=normed)
    of = trained(network, draw(6, 8), LABELS)
    place, measures = by_name(jax.jit(lambda p, b: gradient_flow(of.loss, p, b))(of.params, of.batch))["dense_0"]
    a = affine(of.params["dense_0"], of.batch[0])
    if normed:
        a = batch_normed(of.params["norm_0"], a)
    slope = nn.activation_derivatives.DERIVATIVES[activation]
    top = np.max(np.abs(slope(jnp.linspace(-12, 12, 100_001))))
    share = np.abs(slope(a)) / top
    assert place.activation == title
    np.testing.assert_allclose(measures.slope, share.mean(0), atol=1e-3)
    np.testing.assert_allclose(measures.steepest, share.max(0), atol=1e-3)
    if activation == "sigmoid":
        np.testing.assert_allclose(measures.slope, (4 * slope(a)).mean(0), atol=1e-5)


@pytest.mark.parametrize(
    ("phi", "title"),
    [
        (lambda a: jnp.maximum(a, 0), "max"),
        (lambda a: jnp.where(a > 0, a, 0.0), "select_n"),
        (lambda a: a * jax.nn.sigmoid(1.702 * a), "silu"),
        (lambda a: 0.5 * a * (1 + lax.erf(a / np.sqrt(2))), "gelu"),
        (lambda a: 1.7159 * jnp.tanh(2 / 3 * a), "tanh"),
        (lambda a: 2 * jax.nn.sigmoid(3 * a) - 1, "logistic"),
        (lambda a: 1 / (1 + jnp.exp(-a)), "exp"),
        (jnp.sin, "sin"),
        (jax.nn.mish, "mish"),
        (jax.nn.relu6, "relu6"),
        (lambda a: jnp.clip(a, -1, 1), "clip"),
        (jax.jit(lambda a: jnp.tanh(a) + 0.1 * a), "<lambda>"),
    ],
)
def test_activations_of_the_users_own(phi: Callable[[Any], Any], title: str) -> None:
    w, v, x = draw(8, 7), draw(7, 2), draw(6, 8)
    flow = gradient_flow(lambda p, x: jnp.mean((phi(x @ p["w"]) @ p["v"]) ** 2), {"w": w, "v": v}, (x,))
    place, measures = by_name(flow)["w"]
    a = x @ w
    slope = lambda a: jax.jvp(phi, (a,), (jnp.ones_like(a),))[1]
    top = np.max(np.abs(slope(jnp.linspace(-12, 12, 100_001))))
    assert place.activation == title
    np.testing.assert_allclose(measures.activation, np.linalg.norm(phi(a)), rtol=1e-4)
    np.testing.assert_allclose(measures.slope, np.abs(slope(a)).mean(0) / top, rtol=2e-3)
    np.testing.assert_allclose(measures.steepest, np.abs(slope(a)).max(0) / top, rtol=2e-3)


@pytest.mark.parametrize("after", [
    lambda a, x: 2 * a, lambda a, x: a + x[:, :7], lambda a, x: jax.nn.softmax(a), lambda a, x: a * x[:, :7],
    lambda a, x: a.astype(jnp.float16).astype(jnp.float32), lambda a, x: jnp.tanh(a) + a * x[:, :7],
])  # fmt: skip
def test_no_activation(after: Callable[[Any, Any], Any]) -> None:
    w, v, x = draw(8, 7), draw(7, 2), draw(6, 8)
    flow = gradient_flow(lambda p, x: jnp.mean((after(x @ p["w"], x) @ p["v"]) ** 2), {"w": w, "v": v}, (x,))
    place, measures = by_name(flow)["w"]
    assert place.activation == "" and measures.slope is None and measures.steepest is None
    assert measures.value == measures.activation


def test_lstm_slopes_are_those_of_the_gates() -> None:
    of = CASES["lstm"]()
    place, measures = by_name(jax.jit(lambda p, b: gradient_flow(of.loss, p, b))(of.params, of.batch))["recurrent"]
    assert place.activation == "logistic, logistic, tanh, logistic"
    assert measures.slope.shape == measures.steepest.shape == (7, 20)
    p = of.params["recurrent"]
    a = of.batch[0][:, 0] @ p["input_kernel"] + row(p["bias"])
    own = nn.activation_derivatives.DERIVATIVES
    gates = zip(["sigmoid", "sigmoid", "tanh", "sigmoid"], [0.25, 0.25, 1, 0.25], jnp.split(a, 4, -1), strict=True)
    due = np.concatenate([own[gate](part).mean(0) / top for gate, top, part in gates])
    np.testing.assert_allclose(measures.slope[0], due, rtol=1e-4)


def test_backprop_by_hand_agrees_on_a_deep_sigmoid_net() -> None:
    network = nn.mlp(8, 3, hidden=[7, 6, 5, 7, 6], activation="sigmoid", init="glorot_uniform")
    params, x = noisy(network.init(jax.random.key(0))), draw(6, 8)
    loss = lambda p, x, labels: cross_entropy(checkpoint_names(network, p, x), labels)
    flow = jax.jit(lambda p, b: gradient_flow(loss, p, b))(params, (x, LABELS))
    layers = [m for p, m in zip(flow.places, flow.measures, strict=True) if p.kind == "layer"]
    pre = backprop.pre_activation(params, x, LABELS, activation="sigmoid")
    assert len(layers) == len(pre.slopes) == 6
    for measures, slope in zip(layers, pre.slopes, strict=True):
        np.testing.assert_allclose(measures.delta, np.linalg.norm(slope), rtol=1e-4)
    post = backprop.post_activation(params, x, LABELS, activation="sigmoid")
    named = [m for p, m in zip(flow.places, flow.measures, strict=True) if p.kind == "named"]
    for measures, slope in zip(named, post.slopes, strict=True):
        np.testing.assert_allclose(measures.delta, np.linalg.norm(slope), rtol=1e-4)


def checkpoint_names(network: Any, p: Any, x: Any) -> Any:
    """The deep net with each h named, the inputs among them."""
    h = checkpoint_name(x, "h_0")
    for i in range(len(p)):
        a = affine(p[f"dense_{i}"], h)
        h = checkpoint_name(jax.nn.sigmoid(a) if i < len(p) - 1 else a, f"h_{i + 1}")
    return h


def test_dead_units_are_reported_exactly() -> None:
    network = nn.mlp(8, 3, hidden=[7, 6])
    params = network.init(jax.random.key(0))
    dead = np.array([1, 4])
    params["dense_0"]["bias"] = params["dense_0"]["bias"].at[dead].set(-1e3)
    loss = lambda p, x, labels: cross_entropy(network.apply(p, x), labels)
    flow = jax.jit(lambda p, b: gradient_flow(loss, p, b))(params, (draw(40, 8), jnp.arange(40) % 3))
    steepest = np.asarray(flow.measures[0].steepest)
    assert np.flatnonzero(steepest == 0).tolist() == dead.tolist()
    assert np.all(steepest[[0, 2, 3, 5, 6]] == 1) and np.all(flow.measures[0].slope[dead] == 0)


def test_a_chain_of_sigmoids_shrinks_the_gradient_to_a_quarter_at_least() -> None:
    def loss(params: Any, x: Any) -> Any:
        for w in params:
            x = jax.nn.sigmoid(x @ w)
        return jnp.sum(x)

    flow = gradient_flow(loss, [jnp.eye(1)] * 6, (draw(1, 1),))
    deltas = np.array([m.delta for m in flow.measures])
    assert len(deltas) == 6 and np.all(deltas[:-1] / deltas[1:] <= 0.25)


@pytest.mark.parametrize("name", ["mlp", "cnn", "vanilla", "transformer_scanned"])
def test_bfloat16(name: str) -> None:
    of = CASES[name]()
    narrow = lambda tree: jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, tree)
    flow = jax.jit(lambda p, b: gradient_flow(of.loss, p, b))(narrow(of.params), narrow(of.batch))
    check(flow, expected(of), rtol=0.1)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves((flow.measures, flow.shares)))
    assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(flow.grads))


def test_without_units_there_are_no_slopes() -> None:
    of = CASES["mlp"]()
    flow = gradient_flow(of.loss, of.params, of.batch, units=False)
    assert all(m.slope is None and m.steepest is None for m in flow.measures)
    assert flow.places[0].activation == "gelu"


@pytest.mark.parametrize("optimizer", [optim.sgd(0.1), optim.adam(0.01), optim.nesterov(0.1, momentum=0.9)])
def test_updates(optimizer: Any) -> None:
    of = CASES["mlp"]()
    state = optimizer.init(of.params)
    state = optimizer.update(state, jax.grad(of.loss)(of.params, *of.batch))
    params = optimizer.eval_params(state)
    flow = jax.jit(lambda s, b: gradient_flow(of.loss, optimizer.eval_params(s), b, optimizer=optimizer, state=s))(
        state, of.batch
    )
    new = optimizer.update(state, jax.grad(of.loss)(params, *of.batch))
    change = name_leaves(jax.tree.map(lambda a, b: a - b, new.params, state.params))
    for path, share in flow.shares.items():
        np.testing.assert_allclose(share.update, np.linalg.norm(np.ravel(change[path])), rtol=1e-3)


def test_auxiliary_output() -> None:
    of = CASES["mlp"]()
    loss = lambda p, x, y: (of.loss(p, x, y), {"labels": y, "word": "kept"})
    flow = gradient_flow(loss, of.params, of.batch, has_aux=True)
    assert flow.aux["word"] == "kept" and flow.aux["labels"].tolist() == LABELS.tolist()
    check(flow, expected(of))


def test_a_loss_without_layers_has_no_places() -> None:
    flow = gradient_flow(lambda p, x: jnp.sum((p["w"] - x) ** 2), {"w": draw(3)}, (draw(3, seed=1),))
    assert flow.places == flow.measures == () and set(flow.shares) == {"w"}


def test_data_may_be_closed_over() -> None:
    x, params = draw(6, 8), {"w": draw(8, 3)}
    flow = gradient_flow(lambda p: jnp.sum(jnp.tanh(x @ p["w"])), params, ())
    assert [(p.name, p.activation) for p in flow.places] == [("w", "tanh")]


def test_products_of_parameters_are_no_layers() -> None:
    """A kernel of low rank is one layer, its weight made of two parameters; a penalty is none."""

    def loss(p: Any, x: Any) -> Any:
        w = p["a"] @ p["b"]
        return jnp.sum(jnp.tanh(x @ w)) + jnp.vdot(w, w)

    flow = gradient_flow(loss, {"a": draw(8, 2), "b": draw(2, 5)}, (draw(6, 8),))
    assert [p.parameters for p in flow.places] == [("a", "b")]


def test_what_the_loss_does_not_read_has_no_delta() -> None:
    def loss(p: Any, x: Any) -> Any:
        stopped = lax.stop_gradient(jnp.tanh(x @ p["w"]))
        return jnp.sum(stopped * jnp.tanh(x @ p["v"]))

    found = by_name(gradient_flow(loss, {"w": draw(8, 5), "v": draw(8, 5, seed=1)}, (draw(6, 8),)))
    assert found["w"][1].delta == 0 and found["v"][1].delta > 0


def test_other_control_flow_is_left_whole() -> None:
    @jax.custom_vjp
    def own(w: Any, x: Any) -> Any:
        return jnp.tanh(x @ w)

    own.defvjp(lambda w, x: (own(w, x), (w, x)), lambda kept, ct: (kept[1].T @ ct, ct @ kept[0].T))

    def loss(p: Any, x: Any) -> Any:
        h = lax.cond(x[0, 0] > 0, lambda x: jnp.tanh(x @ p["w"]), lambda x: x @ p["w"], x)
        h = own(p["v"], h)
        w = lax.stop_gradient(p["v"][:4])
        k = lax.while_loop(
            lambda c: c[0] < 2, lambda c: (c[0] + 1, jnp.tanh(c[1] @ w)), (0, lax.stop_gradient(x[:, :4]))
        )
        return jnp.sum((h @ p["u"]) ** 2) + jnp.sum(k[1])

    params = {"w": draw(8, 5), "v": draw(5, 4), "u": draw(4, 2)}
    flow = jax.jit(lambda p, b: gradient_flow(loss, p, b))(params, (draw(6, 8),))
    assert [p.name for p in flow.places] == ["u"]


def test_losses_that_are_no_scalars() -> None:
    with pytest.raises(TypeError, match="scalar-output"):
        gradient_flow(lambda p, x: x @ p, draw(8, 3), (draw(6, 8),))
    with pytest.raises(TypeError):
        gradient_flow(lambda p, x: jnp.sum(x @ p), jnp.ones((8, 3), int), (draw(6, 8),))


@pytest.mark.parametrize("layout", ["columns", "vmap", "NCHW", "NCHW with batch norm"])
def test_units_where_they_do_not_lie_last(layout: str) -> None:
    dead = np.array([1, 3])
    bias = jnp.zeros(5).at[dead].set(-1e3)

    def loss(p: Any, x: Any) -> Any:
        if layout == "columns":
            h = jax.nn.relu(p["w"] @ x.T + p["b"][:, None])
        elif layout == "vmap":
            h = jax.vmap(lambda x: jax.nn.relu(p["w"] @ x + p["b"]))(x)
        else:
            y = lax.conv_general_dilated(x.reshape(6, 1, 4, 2), p["w"].reshape(5, 1, 4, 2), (1, 1), "SAME")
            if layout == "NCHW":
                return jnp.sum(jax.nn.relu(y + p["b"].reshape(1, 5, 1, 1)) ** 2)
            mean, variance = jnp.mean(y, (0, 2, 3), keepdims=True), jnp.var(y, (0, 2, 3), keepdims=True)
            h = jax.nn.relu((y - mean) * lax.rsqrt(variance + 1e-5) + p["b"].reshape(1, 5, 1, 1))
        return jnp.sum(h**2)

    flow = jax.jit(lambda p, b: gradient_flow(loss, p, b))({"w": draw(5, 8), "b": bias}, (draw(6, 8),))
    assert [p.activation for p in flow.places] == ["relu"]
    assert np.flatnonzero(flow.measures[0].steepest == 0).tolist() == dead.tolist()
    assert flow.measures[0].slope.shape == (5,)
