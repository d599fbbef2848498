"""Findings: vanishing and exploding at the right rate and from the right layer, dead units by their numbers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl import nn, optim
from functional_dl.config import parse
from functional_dl.diagnostics import Flow, Measures, gradient_flow
from functional_dl.diagnostics.diagnosis import Finding, diagnose
from functional_dl.diagnostics.flow_figures import averaged, figures
from functional_dl.diagnostics.remedies import REMEDIES, advise
from functional_dl.diagnostics.stretches import steepest_stretch
from tests.diagnostics.flows import chain, deep, flow_of, layer, loop


def kinds(flow: Flow) -> list[str]:
    return [finding.kind for finding in diagnose(flow)]


def the(kind: str, flow: Flow) -> Finding:
    (finding,) = [finding for finding in diagnose(flow) if finding.kind == kind]
    return finding


def flow_through(network: nn.Network, params: Any, batch: Any, optimizer: Any = None) -> Flow:
    def loss(params: Any, x: Any, labels: Any) -> Any:
        return nn.losses.cross_entropy(network.train(params, x)[0], labels)

    state = None if optimizer is None else optimizer.init(params)
    return jax.jit(lambda p, s, b: gradient_flow(loss, p, b, optimizer=optimizer, state=s))(params, state, batch)


# A chain of magnitudes.


@pytest.mark.parametrize("seed", range(30))
def test_the_steepest_stretch_is_the_best_of_all(seed: int) -> None:
    """Against all pairs of ends; also that the change is the ratio of the ends."""
    random = np.random.default_rng(seed)
    logs = random.normal(0, 1, random.integers(2, 9)) * 2
    slack = float(random.choice([0.9, 0.5, 1.1, 3.0]))
    sign = np.sign(np.log(slack))
    pairs = [(i, j) for i in range(len(logs)) for j in range(i + 1, len(logs))]
    worth = {(i, j): sign * (logs[i] - logs[j] - (j - i) * np.log(slack)) for i, j in pairs}
    best = max(pairs, key=lambda pair: worth[pair])
    found = steepest_stretch(list(np.exp(logs)), slack)
    if worth[best] <= 0:
        assert found is None
    else:
        assert found is not None and found[:2] == best
        assert found.change == pytest.approx(np.exp(logs[best[0]] - logs[best[1]]))
        assert found.rate == pytest.approx(found.change ** (1 / (best[1] - best[0])))


def test_a_level_or_single_chain_has_no_stretch() -> None:
    assert steepest_stretch([1.0, 1.0, 1.0], 0.9) is None and steepest_stretch([2.0], 1.1) is None


# Real networks.


def independent_rate(params: Any, batch: Any, activation: str, scale: float = 1.0) -> float:
    """δ of the lowest layer over that of the highest hidden one, by the pass that the notes have, per layer."""
    slopes = nn.backprop.pre_activation(params, *batch, "cross_entropy", activation).slopes[:-1]
    norms = [float(jnp.linalg.norm(slope)) for slope in slopes]
    return (norms[0] / norms[-1]) ** (1 / (len(norms) - 1))


def test_a_sigmoid_chain_vanishes_at_its_rate() -> None:
    network, params, batch = deep(12, activation="sigmoid", init="lecun_normal")
    flow = flow_through(network, params, batch)
    found = the("vanishing", flow)
    assert found.places == ("dense_10", "dense_0")
    assert found.figure == pytest.approx(independent_rate(params, batch, "sigmoid"), rel=1e-4)
    assert 0.15 < found.figure < 0.25 and f"leaves {found.figure:.2g} of δ" in found.text and "0.25" in found.text
    # …and the same by zeros added to the pre-activations, layer by layer.
    zeros = [jnp.zeros((64, p["bias"].size)) for p in params.values()]

    def loss(zeros: Any) -> Any:
        h = batch[0]
        for i, z in enumerate(zeros):
            a = h @ params[f"dense_{i}"]["kernel"] + params[f"dense_{i}"]["bias"][None] + z
            h = jax.nn.sigmoid(a)
        return nn.losses.cross_entropy(a, batch[1])

    due = [jnp.linalg.norm(x) / jnp.sqrt(x.shape[1]) for x in jax.grad(loss)(zeros)]
    np.testing.assert_allclose([x.delta for x in figures(flow)], due, rtol=1e-4)


REMEDIED = {
    "relu": {"activation": "relu", "init": "he_normal"},
    "glorot": {"activation": "tanh", "init": "glorot_uniform"},
    "batch norm": {"activation": "sigmoid", "init": "lecun_normal", "batch_norm": True},
}


@pytest.mark.parametrize("name", REMEDIED)
def test_the_same_chain_with_a_remedy_does_not(name: str) -> None:
    network, params, batch = deep(12, **REMEDIED[name])
    assert not {"vanishing", "exploding", "nonfinite"} & set(kinds(flow_through(network, params, batch)))


def test_relu_with_weights_that_are_too_small_vanishes_and_is_told_of_he() -> None:
    """√½ per layer is not much, but over many layers it is."""
    network, params, batch = deep(20, width=32, activation="relu", init="lecun_normal")
    found = the("vanishing", flow_through(network, params, batch))
    assert 0.55 < found.figure < 0.85 and "he_init" in found.remedies and "relu" not in found.remedies


def test_large_weights_explode_from_their_layer_on() -> None:
    """Kernels of layers up to 7 are large: the first δ that grows, going down, is that of layer 6, from layer 7's."""
    network, params, batch = deep(12, width=32, activation="leaky_relu", init="he_normal")
    for i in range(8):
        params[f"dense_{i}"]["kernel"] *= 6
    found = the("exploding", flow_through(network, params, batch))
    assert found.places == ("dense_7", "dense_0") and found.figure == pytest.approx(6, rel=0.25)
    assert "from dense_7 on" in found.text and "clip" in found.remedies


def test_clipping_makes_the_steps_of_an_explosion_small() -> None:
    network, params, batch = deep(8, width=32, activation="leaky_relu", init="he_normal")
    large = jax.tree.map(lambda w: 4 * w, params)
    plain, clipped = optim.sgd(0.1), optim.clip_by_global_norm(optim.sgd(0.1), 1.0)
    before, after = (flow_through(network, large, batch, optimizer) for optimizer in (plain, clipped))
    assert "step_too_large" in kinds(before) and "step_too_large" not in kinds(after)
    assert (
        the("step_too_large", before).places[0]
        == max(
            figures(before),
            key=lambda x: x.kernel.ratio,  # type: ignore[union-attr]
        ).kernel.path
    )  # type: ignore[union-attr]


def test_planted_dead_units_are_found_by_their_numbers() -> None:
    network, params, batch = deep(4, width=24, activation="relu")
    planted = (3, 17, 21)
    natural = {x.name: set(x.dead or ()) for x in figures(flow_through(network, params, batch))}
    params["dense_1"]["bias"] = params["dense_1"]["bias"].at[jnp.array(planted)].set(-1e4)
    flow = flow_through(network, params, batch)
    after = {x.name: set(x.dead or ()) for x in figures(flow)}
    assert after["dense_1"] == natural["dense_1"] | set(planted) and after["dense_0"] == natural["dense_0"]
    (found,) = [f for f in diagnose(flow) if f.kind == "dead" and "dense_1" in f.places]
    assert found.figure == len(after["dense_1"]) / 24
    h = nn.backprop.forward(params, batch[0], "relu").pre[1]
    assert after["dense_1"] == {i for i in range(24) if not (h[:, i] > 0).any()}
    assert ", ".join(map(str, sorted(after["dense_1"]))) in found.text


def test_leaky_units_are_not_dead() -> None:
    network, params, batch = deep(3, width=24, activation="leaky_relu")
    params["dense_1"]["bias"] -= 1e4
    assert "dead" not in kinds(flow_through(network, params, batch))


def test_a_vanilla_cell_with_small_weights_vanishes_over_time() -> None:
    network = nn.ARCHITECTURES["rnn"](3, 4, width=16, cell="vanilla")
    params = network.init(jax.random.key(0))
    keys = jax.random.split(jax.random.key(5), 2)
    batch = jax.random.normal(keys[0], (32, 20, 3)), jax.random.randint(keys[1], (32,), 0, 4)

    def scaled(factor: float) -> Any:
        cell = {**params["recurrent"], "recurrent_kernel": factor * params["recurrent"]["recurrent_kernel"]}
        return {**params, "recurrent": cell}

    small = [f for f in diagnose(flow_through(network, scaled(0.5), batch)) if f.kind == "vanishing"]
    assert small and all("over time" in f.text and 0.2 < f.figure < 0.5 for f in small)  # type: ignore[operator]
    assert "gated_cell" in small[0].remedies
    # The rate is that of zeros added at each time, by JAX.
    p = scaled(0.5)["recurrent"]

    def loss(zeros: Any) -> Any:
        h = jnp.zeros((32, 16))
        for t in range(20):
            a = batch[0][:, t] @ p["input_kernel"] + p["bias"][None] + h @ p["recurrent_kernel"] + zeros[t]
            h = jnp.tanh(a)
        return nn.losses.cross_entropy(h @ params["head"]["kernel"] + params["head"]["bias"][None], batch[1])

    norms = jnp.linalg.norm(jax.grad(loss)(jnp.zeros((20, 32, 16))), axis=(1, 2))
    assert small[0].figure == pytest.approx(float(norms[0] / norms[-1]) ** (1 / 19), rel=1e-3)
    gentle = (0.01 * batch[0], batch[1])  # where tanh is straight, an orthogonal kernel keeps what comes
    assert "vanishing" not in kinds(flow_through(network, params, gentle))


# Flows made by hand.


def test_width_positions_and_examples_do_not_matter() -> None:
    """δ is per unit; what is spread over more positions with the same norm is the same."""
    places = [layer("wide", (8, 6, 6, 16)), layer("narrow", (8, 4))]
    flow = flow_of(places, [Measures(1.0, 1.0, 4.0), Measures(1.0, 1.0, 2.0)])
    assert [x.delta for x in figures(flow)] == [1.0, 1.0]


def test_a_healthy_chain() -> None:
    found = the("healthy", chain([0.5, 0.6, 0.7, 0.8]))
    assert found.figure == pytest.approx((0.5 / 0.8) ** (1 / 3)) and not found.remedies


@pytest.mark.parametrize(
    ("deltas", "due"),
    [
        ([1e-3, 1e-2, 1e-1, 1, 1], ("vanishing", ("l3", "l0"), 0.1)),
        ([1e-3, 1e-2, 1e-1, 1, 1e9], ("vanishing", ("l3", "l0"), 0.1)),  # the output's width is the data's
        ([1, 1, 1e-3, 1e-2, 1e-1, 1, 1, 1], ("vanishing", ("l5", "l2"), 0.1)),
        ([1e3, 1e2, 10, 1, 1, 1], ("exploding", ("l3", "l0"), 10)),
        ([1, 1, 1e3, 1e2, 10, 1, 1, 1], ("exploding", ("l5", "l2"), 10)),
        ([1e4, 1e2, 1, 1], ("exploding", ("l2", "l0"), 1e2)),
        ([2.5e-3, 5e-2, 1, 1], ("vanishing", ("l2", "l0"), 0.05)),
        ([1e3, 1, 1, 1], None),  # one step is no rate
        ([0.05, 0.2, 1, 1], None),  # too little to speak of
        ([1e-3, 1, 1, 1, 1], None),
        ([3e2, 3, 1, 4, 1], None),  # a step of 100, and others that make little
        ([0.1, 1, 0.1, 1, 0.1, 1, 0.1, 1], None),  # inner layers of blocks
    ],
)
def test_chains(deltas: list[float], due: Any) -> None:
    found = [f for f in diagnose(chain(deltas)) if f.kind in ("vanishing", "exploding")]
    if due is None:
        assert not found
    else:
        got = [f for f in found if f.kind == due[0]]
        assert [(f.kind, f.places, pytest.approx(f.figure)) for f in got] == [due]


def test_no_gradient_below_a_layer() -> None:
    found = the("vanishing", chain([0.0, 0.0, 0.3, 0.3]))
    assert found.places == ("l2", "l1") and found.figure == 0
    assert the("vanishing", chain([0.0, 0.0, 0.0])).places == ()
    assert kinds(chain([0.2, 0.2, 0.2, 0.0])) == ["healthy"]  # the loss does not depend on the last


def test_what_is_not_finite_is_said_alone_and_where() -> None:
    flow = chain([1e-9, np.nan, np.inf, 1.0])
    assert kinds(flow) == ["nonfinite"] and the("nonfinite", flow).places == ("l2",)
    first, _, *others = flow.measures
    broken = Flow.of(flow.loss, None, {}, flow.places, (first, Measures(np.inf, 1.0, 1.0), *others), flow.shares)
    assert the("nonfinite", broken).places == ("l1",) and "forward" in the("nonfinite", broken).text
    assert the("nonfinite", flow_of([layer("a")], [Measures(1.0, 1.0, 1.0)], loss=np.nan)).places == ()


def test_scanned_layers_are_layers_and_times_are_times() -> None:
    """Two places of one loop take turns: q[0], r[0], q[1], …"""
    rows = [loop("q", [1e-6, 1e-4, 1e-2], stacked=True), loop("r", [1e-5, 1e-3, 1e-1], stacked=True)]
    flow = flow_of(*zip(*rows, strict=True), grads={"q": {"kernel": np.array([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]])}})
    assert [x.name for x in figures(flow)] == ["q[0]", "r[0]", "q[1]", "r[1]", "q[2]", "r[2]"]
    assert [x.kernel.gradient for x in figures(flow)[::2]] == [5, 1, 2]  # type: ignore[union-attr]
    found = the("vanishing", flow)
    assert found.places == ("r[2]", "q[0]") and found.figure == pytest.approx(0.1)
    over_time = the("vanishing", flow_of(*zip(loop("cell", [1e-6, 1e-4, 1e-2, 1.0]), strict=True)))
    assert over_time.places == ("cell",) and over_time.figure == pytest.approx(0.01) and "over time" in over_time.text
    assert "exploding" in kinds(flow_of(*zip(loop("cell", [1e4, 1e2, 1.0]), strict=True)))


def test_a_unit_of_a_cell_is_dead_if_it_is_at_all_times() -> None:
    place, measures = loop("cell", [1.0, 1.0])
    steepest = np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
    flow = flow_of([place], [Measures(measures.value, measures.activation, measures.delta, steepest / 2, steepest)])
    assert figures(flow)[0].dead == (0,) and figures(flow)[0].slope.tolist() == [0, 0.25, 0.25, 0.5]  # type: ignore[union-attr]


def test_a_loop_that_runs_backwards_vanishes_to_its_last_step() -> None:
    """Of a cell that reads from the end, what stands at the first time is nearest to the loss."""
    network = nn.ARCHITECTURES["rnn"](3, 4, width=16, cell="vanilla", bidirectional=True)
    params = network.init(jax.random.key(0))
    for cell in params["recurrent"].values():
        cell["recurrent_kernel"] *= 0.5
    keys = jax.random.split(jax.random.key(5), 2)
    batch = jax.random.normal(keys[0], (32, 20, 3)), jax.random.randint(keys[1], (32,), 0, 4)
    found = diagnose(flow_through(network, params, batch))
    assert [f.kind for f in found] == ["vanishing", "vanishing"]
    assert all(0.2 < f.figure < 0.5 for f in found)  # type: ignore[operator]


def test_dead_and_saturated_units_of_many_layers_are_one_finding_each() -> None:
    dead = {i: [0, 1, 0, 1] if i == 2 else [0, 1, 1, 1] for i in range(4)}
    found = the("dead", chain([1.0] * 6, steepest=dead))
    assert found.places[0] == "l2" and set(found.places) == {"l0", "l1", "l2", "l3"} and found.figure == 0.5
    assert "5 units in 4 layers" in found.text and "0, 2" in found.text and "leaky_relu" in found.remedies
    few = the("dead", chain([1.0] * 3, steepest={1: [1, 1, 1, 0]}))
    assert "1 unit (25%) of layer l1 are dead on these data: 3." in few.text or "1 unit (25%)" in few.text
    flat = Measures(2.0, 1.0, 2.0, np.array([0.01, 0.04, 0.06, 1.0]), np.ones(4))
    saturated = the("saturated", flow_of([layer("s", activation="tanh"), layer("o", activation="")],
                                         [flat, Measures(2.0, 1.0, 2.0)]))  # fmt: skip
    assert saturated.figure == 0.5 and saturated.places == ("s",)


def test_steps_far_from_a_thousandth() -> None:
    found = diagnose(chain([1.0] * 4, ratios=[0.5, 1e-3, 1e-7, 0.0]))
    assert [(f.kind, f.places, f.figure) for f in found] == [
        ("step_too_large", ("l0/kernel",), 0.5),
        ("step_too_small", ("l2/kernel",), pytest.approx(1e-7)),
    ]


def test_portions_are_averaged_and_units_judged_on_all() -> None:
    one, other = chain([1.0, 1.0], steepest={0: [0, 0, 1, 1]}), chain([3.0, 1.0], steepest={0: [0, 1, 0, 1]})
    found = figures(averaged([one, other]))
    assert found[0].delta == pytest.approx(np.sqrt(5)) and found[0].dead == (0,)


# Remedies.


CONFIG: dict[str, Any] = {
    "name": "x",
    "data": {"name": "digits"},
    "model": {"architecture": "mlp", "activation": "sigmoid", "init": "lecun_normal"},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "wrappers": [{"name": "average", "decay": 0.9}],
    "training": {"epochs": 1, "batch": 8},
}


def settings(name: str, **changes: Any) -> Any:
    table = {**CONFIG, **changes}
    found = advise([name], parse(table, "x", ()).model_dump(mode="json"))
    return found[0].settings if found else None


@pytest.mark.parametrize("name", REMEDIES)
def test_what_a_remedy_sets_is_a_config_and_is_not_advised_again(name: str) -> None:
    for model in (
        CONFIG["model"],
        {"architecture": "mlp", "init": "lecun_normal"},
        {"architecture": "cnn", "activation": "relu"},
        {"architecture": "resnet"},
        {"architecture": "rnn", "cell": "vanilla"},
        {"architecture": "autoencoder"},
    ):
        if found := settings(name, model=model):
            changed = parse({**CONFIG, "model": dict(model)}, "x", found)  # raises, if the config has no such key
            again = advise([name], changed.model_dump(mode="json"))
            assert name in ("lower_rate", "higher_rate") or not again or again[0].settings != found


def test_remedies_that_a_network_has_or_has_no_place_for_are_not_advised() -> None:
    relu = {"architecture": "mlp", "activation": "relu", "init": "he_normal"}
    assert settings("relu") == ("model.activation=relu", "model.init=he_normal")
    assert settings("relu", model=relu) is None and settings("he_init", model=relu) is None
    assert settings("glorot_init") is None  # with LeCun's weights
    small = {"architecture": "mlp", "activation": "tanh", "init": "small_normal"}
    assert settings("glorot_init", model=small) == ("model.init=glorot_uniform",)
    assert settings("batch_norm") and settings("batch_norm", model={**relu, "batch_norm": True}) is None
    assert settings("batch_norm", model={"architecture": "resnet"}) is None
    assert settings("gated_cell", model={"architecture": "rnn", "cell": "gru"}) is None
    assert settings("gated_cell") is None and settings("fewer_steps") is None
    (clip,) = settings("clip")
    wrappers = parse(dict(CONFIG), "x", [clip]).wrappers
    assert [w.name for w in wrappers] == ["clip_by_global_norm", "average"]  # type: ignore[attr-defined]
    assert settings("clip", wrappers=[{"name": "clip_by_global_norm", "threshold": 2.0}]) is None


def test_every_remedy_that_findings_name_is_in_the_table() -> None:
    flows = [chain([1e-9, 1e-6, 1e-3, 1, 1]), chain([1e9, 1e6, 1e3, 1, 1]), chain([1.0] * 3, 1.0), chain([np.nan] * 2)]
    flows += [chain([1e-9, 1e-6, 1e-3, 1, 1], activation="tanh"), chain([1.0] * 3, 1e-7)]
    flows += [
        chain([1.0] * 3, steepest={0: [0, 0, 0, 0]}),
        flow_of(*zip(loop("c", [1e-9, 1e-6, 1e-3]), strict=True)),
    ]
    named = {name for flow in flows for finding in diagnose(flow) for name in finding.remedies}
    assert named <= set(REMEDIES) and len(named) > 8
