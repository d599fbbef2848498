"""Trainings whose configs differ in numbers alone are one program: members of a batch equal trainings built singly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl import config, nn, optim
from functional_dl.config import Config, ConfigError
from functional_dl.data import Dataset
from functional_dl.training.experiment import assemble, build, load_data
from functional_dl.training.step import begin, network_step
from functional_dl.trees import name_leaves

RNG = np.random.default_rng(0)
STEPS, BATCH = 3, 8
NUMBERS = RNG.normal(size=(32, 6)).astype(np.float32)
TEXT = RNG.integers(0, 7, (32, 9))
KINDS = {
    kind: Dataset((inputs, targets), (inputs, targets), {"kind": kind, **facts})
    for kind, inputs, targets, facts in (
        ("classification", NUMBERS, RNG.integers(0, 3, 32), {"shape": (6,), "classes": 3}),
        ("regression", NUMBERS, NUMBERS[:, :2], {"shape": (6,), "targets": 2}),
        ("language", TEXT[:, :-1], TEXT[:, 1:], {"vocabulary": 7, "context": 8}),
    )
}
COMMON: dict[str, Any] = {"name": "traced", "training": {"epochs": 2, "batch": BATCH}, "data": {"name": "digits"}}
MLP = {"architecture": "mlp", "hidden": [4], "batch_norm": True, "dropout": 0.5}
# Narrower, layer norm would make much of little: rounding grows a hundredfold with every step.
GPT = {"architecture": "transformer", "width": 8, "heads": 2, "depth": 2, "scanned": True, "dropout": 0.5}
SEEDS, RATES = np.uint32([0, 1, 2**31, 2**32 - 1]), (0.1, 0.2, 0.3, 0.5)

# Data, what a config says besides, and each member's value of each of its numbers.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "mlp": (
        "classification",
        {
            "model": MLP,
            "loss": {"name": "cross_entropy", "smoothing": 0.1},
            "optimizer": {"name": "adamw", "epsilon": 1e-3},
            "schedule": {"name": "warmup_cosine", "warmup": 2},
            "wrappers": [{"name": "clip_by_global_norm", "threshold": 1.0}, {"name": "average", "decay": 0.5}],
        },
        {
            "seed": SEEDS, "model.dropout": RATES, "initialization.scale": (0.5, 1.0, 1.5, 2.0),
            "loss.smoothing": (0.0, 0.1, 0.2, 0.3), "penalty.l2": (0.0, 0.01, 0.1, 1.0),
            "penalty.l1": (0.1, 0.0, 0.01, 0.2), "optimizer.learning_rate": (0.01, 0.02, 0.05, 0.1),
            "optimizer.weight_decay": (0.0, 0.01, 0.1, 1.0), "optimizer.beta_1": (0.0, 0.5, 0.8, 0.9),
            "schedule.end": (0.0, 0.1, 0.2, 0.3), "schedule.warmup": np.int32([0, 1, 2, 3]),
            "wrappers.0.threshold": (0.05, 0.1, 0.5, 1.0), "wrappers.1.decay": (0.1, 0.5, 0.7, 0.9),
        },
    ),
    "regression": (
        "regression",
        {
            "model": MLP | {"activation": "tanh"},
            "loss": {"name": "huber"},
            "optimizer": {"name": "sgd"},
            "schedule": {"name": "piecewise", "boundaries": [1], "values": [1.0, 0.5]},
            "wrappers": [{"name": "decay_weights", "amount": 0.1}],
        },
        {
            "seed": SEEDS, "model.dropout": RATES, "loss.delta": (0.1, 0.5, 1.0, 2.0),
            "optimizer.learning_rate": (0.01, 0.05, 0.1, 0.2), "optimizer.momentum": (0.0, 0.5, 0.8, 0.9),
            "schedule.values.1": (0.1, 0.5, 1.0, 2.0), "wrappers.0.amount": (0.0, 0.1, 0.5, 1.0),
        },
    ),
    "transformer": (
        "language",
        {"model": GPT, "optimizer": {"name": "sgd"}, "schedule": {"name": "exponential", "k": 0.1}},
        {
            "seed": SEEDS[2:], "model.dropout": (0.2, 0.5), "initialization.scale": (1.0, 2.0),
            "optimizer.learning_rate": (0.005, 0.02), "optimizer.momentum": (0.0, 0.8), "schedule.k": (0.0, 0.2),
        },
    ),
}  # fmt: skip


def trained(resolved: Config, data: Dataset, values: Mapping[str, Any]) -> Any:
    """What a few steps come to: the parameters that are shipped, the network's state, and every step's metrics."""
    experiment = assemble(resolved.with_values(values), data)
    step = network_step(experiment.objective.train, experiment.optimizer)
    batches = experiment.batch(np.arange(BATCH)[None] + np.arange(STEPS)[:, None])
    training, metrics = jax.lax.scan(step, experiment.start(values["seed"]), batches)
    return experiment.optimizer.result(training.optimizer), training.network, metrics


@pytest.mark.parametrize("name", CASES)
def test_members_of_a_batch_equal_trainings_of_their_own(name: str) -> None:
    kind, table, values = CASES[name]
    resolved = config.parse({**COMMON, **table}, name)
    members = len(values["seed"])
    rows = [{key: x[i].item() if hasattr(x, "dtype") else x[i] for key, x in values.items()} for i in range(members)]
    arrays = {key: x if hasattr(x, "dtype") else np.float32(x) for key, x in values.items()}
    together = jax.jit(jax.vmap(lambda row: trained(resolved, KINDS[kind], row)))(arrays)
    for i, row in enumerate(rows):
        due = jax.jit(lambda: trained(resolved, KINDS[kind], row))()  # noqa: B023
        named = name_leaves(jax.tree.map(lambda x: x[i], together))  # noqa: B023
        for path, x in name_leaves(due).items():
            np.testing.assert_allclose(named[path], x, rtol=2e-4, atol=2e-5, err_msg=f"member {i}: {path}")
    assert len(np.unique(together[-1]["loss"][:, -1])) == members, "members must differ"


def test_what_decides_structure_is_not_traced() -> None:
    resolved = config.parse({**COMMON, **CASES["mlp"][1]}, "mlp")

    def steps(key: str) -> Any:
        return lambda x: assemble(resolved.with_values({key: x}), KINDS["classification"]).start(0).steps

    with pytest.raises(jax.errors.ConcretizationTypeError):  # not a ConfigError, as of a wrong number
        limited = config.parse({**COMMON, "model": MLP, "optimizer": {"name": "lbfgs"}}, "lbfgs")
        jax.eval_shape(
            lambda x: assemble(limited.with_values({"optimizer.history": x}), KINDS["classification"]).steps,
            np.int32(3),
        )
    for key, x in {"training.batch": np.int32(8), "model.batch_norm": np.bool_(True)}.items():
        with pytest.raises(jax.errors.ConcretizationTypeError):
            jax.eval_shape(steps(key), x)
    with pytest.raises(ConfigError, match="test_share is traced"):
        jax.eval_shape(steps("data.test_share"), np.float32(0.5))


def test_batches_of_a_traced_seed_are_not_drawn() -> None:
    resolved = config.parse({**COMMON, **CASES["mlp"][1]}, "mlp")

    def draw(seed: Any) -> Any:
        sampler = assemble(resolved.with_values({"seed": seed}), KINDS["classification"]).sampler
        assert (sampler.size, sampler.batches_per_epoch) == (32, 4)
        return next(sampler)

    with pytest.raises(jax.errors.TracerArrayConversionError):
        jax.eval_shape(draw, np.uint32(0))


@pytest.mark.parametrize("seed", [int(x) for x in SEEDS])
def test_a_traced_seed_gives_the_same_key(seed: int) -> None:
    network, optimizer = nn.mlp(3, 2, [2]), optim.sgd()
    due = jax.jit(lambda: begin(network, optimizer, seed))()
    found = jax.jit(lambda x: begin(network, optimizer, x))(np.uint32(seed))
    for a, b in zip(jax.tree.leaves(found.optimizer), jax.tree.leaves(due.optimizer), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(jax.random.key_data(found.key), jax.random.key_data(due.key))


def test_load_data_and_assemble_are_build() -> None:
    resolved = config.parse({**COMMON, **CASES["mlp"][1], "preprocessing": ["standardize"]}, "mlp")
    data, notes = load_data(resolved)
    apart, whole = assemble(resolved, data, notes), build(resolved)
    assert apart.notes == whole.notes == notes and apart.steps == whole.steps and apart.sampler == whole.sampler
    jax.tree.map(np.testing.assert_array_equal, apart.data[:2], whole.data[:2])


def test_initial_scale() -> None:
    """Kernels alone, also of scanned blocks; 1 is not even an operation; what is rounded is rounded once."""
    network, optimizer = nn.transformer(7, 8, **{k: v for k, v in GPT.items() if k != "architecture"}), optim.sgd()

    def start(*given: Any) -> Any:
        return begin(network, optimizer, 3, *given).optimizer.params

    def each() -> Any:
        return start(), start(None, 2.0), start(None, 1.1), start(jnp.bfloat16, 1.1)

    plain, doubled, longer, narrow = jax.jit(each)()
    for path, x in name_leaves(plain).items():
        kernel = path.endswith(("kernel", "qkv", "out", "table"))
        np.testing.assert_array_equal(name_leaves(doubled)[path], 2 * x if kernel else x, err_msg=path)
    jax.tree.map(np.testing.assert_array_equal, narrow, jax.jit(lambda x: start(jnp.bfloat16, x))(1.1))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(jnp.bfloat16)), narrow, longer)
    multiplied = [str(jax.make_jaxpr(lambda x=x: start(None, x))()).count(" mul ") for x in (1.0, 2.0)]
    assert multiplied[0] < multiplied[1]


def test_initial_scale_of_a_config() -> None:
    resolved = config.parse({**COMMON, **CASES["mlp"][1], "initialization": {"scale": 2.0}}, "mlp")
    doubled, plain = (
        name_leaves(assemble(x, KINDS["classification"]).start(0).optimizer.params)
        for x in (resolved, resolved.with_values({"initialization.scale": 1.0}))
    )
    for path, x in plain.items():
        np.testing.assert_array_equal(doubled[path], 2 * x if path.endswith("kernel") else x, err_msg=path)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), True])
def test_initial_scales_that_are_none(scale: Any) -> None:
    with pytest.raises(ConfigError, match=r"\[initialization\]: scale"):
        config.parse({**COMMON, **CASES["mlp"][1], "initialization": {"scale": scale}}, "mlp")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("optimizer.learning_rat", "unknown key learning_rat in [optimizer]; did you mean learning_rate?"),
        ("optimzer.beta_1", "unknown key optimzer; did you mean optimizer?"),
        ("penalty.l3", "unknown key l3 in [penalty]; did you mean l2?"),
        ("optimizer", "this is a section"),
        ("penalty", "this is a section"),
        ("loss", "this is a section"),
        ("wrappers", "this is a section"),
        ("wrappers.0", "this is a section"),
        ("optimizer.name", "says which keys there are"),
        ("optimizer.beta_1.x", "optimizer.beta_1 is a value, not a section"),
        ("loss.delta", "this config has no [loss]"),
        ("wrappers.2.decay", "'2' is no entry of a list of 2, counted from 0"),
        ("wrappers.decay", "'decay' is no entry of a list of 2"),
        ("wrappers.1.decai", "unknown key decai in [wrappers.1]; did you mean decay?"),
        ("schedule.", "this is a section"),
        ("", "unknown key"),
    ],
)
def test_keys_that_are_not_there(key: str, words: str) -> None:
    resolved = config.parse({**COMMON, **{k: x for k, x in CASES["mlp"][1].items() if k != "loss"}}, "mlp")
    with pytest.raises(ConfigError) as caught:
        resolved.with_values({key: 1.0})
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_values_are_put_into_a_copy_as_they_are() -> None:
    resolved = config.parse({**COMMON, **CASES["mlp"][1]}, "mlp")
    values = {
        "optimizer.beta_1": "x",
        "wrappers.1.decay": -1,
        "model.hidden.0": 7,
        "schedule.steps": 5,
        "seed": 2,
    }
    new = resolved.with_values(values)
    assert (new.seed, new.optimizer.beta_1, new.schedule.steps) == (2, "x", 5)  # type: ignore[attr-defined,union-attr]
    assert (new.model.hidden, new.wrappers[1].decay) == ((7,), -1)  # type: ignore[attr-defined]
    assert new.wrappers[0] == resolved.wrappers[0] and new.data == resolved.data
    assert resolved == config.parse({**COMMON, **CASES["mlp"][1]}, "mlp")
    assert resolved.with_values({}) == resolved
