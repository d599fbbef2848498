"""The contract of all optimizers: what they equal, how they descend, and what their states are good for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_dl as fdl
from functional_dl import data, nn, optim
from functional_dl.training import snapshots
from functional_dl.trees import name_leaves
from tests.optim import cases_matrix, cases_pointwise
from tests.optim.case import Case, Descent, pull

CASES = cases_pointwise.CASES | cases_matrix.CASES
# Variants of an optimizer, such as other conventions, are called after it: what does not depend on the formula is
# tested with the optimizer alone.
OPTIMIZERS = {name: case for name, case in CASES.items() if "-" not in name}
SHAPES = {"scalar": (), "vector": (5,), "matrix": (3, 2), "tensor": (4, 2, 3), "other": (3, 2)}

REFERENCED = {name: case for name, case in CASES.items() if case.reference}

each_optimizer = pytest.mark.parametrize("case", OPTIMIZERS.values(), ids=OPTIMIZERS)


def mixed(dtype: Any = np.float64, shapes: dict[str, tuple[int, ...]] = SHAPES) -> dict[str, np.ndarray]:
    """Parameters of mixed shapes."""
    rng = np.random.default_rng(0)
    return {name: np.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}


def jaxed(tree: Any) -> Any:
    """The same as JAX's arrays."""
    return jax.tree.map(jnp.asarray, tree)


def loop(optimizer: optim.Optimizer, state: optim.State, steps: int) -> optim.State:
    """Steps along `pull`, as one loop."""

    def step(state: optim.State, t: Any) -> tuple[optim.State, None]:
        return optimizer.update(state, pull(optimizer.eval_params(state), t)), None

    return jax.lax.scan(step, state, state.step + jnp.arange(1, steps + 1))[0]


def walk(optimizer: optim.Optimizer, state: optim.State, steps: int) -> optim.State:
    """The same, compiled."""
    return jax.jit(lambda s: loop(optimizer, s, steps))(state)


def descend(case: Case, settings: Descent, loss: Callable[[Any], Any], start: Any) -> float:
    """The loss of the result after the steps."""
    optimizer = case.make()
    state = optimizer.init(start)
    state = state.replace(hyperparameters=settings.hyperparameters)
    slope = fdl.value_and_grad(loss)

    def step(state: optim.State, _: None) -> tuple[optim.State, None]:
        grads = slope(optimizer.eval_params(state))[1]
        return optimizer.update(state, grads), None

    run = jax.jit(lambda s: loss(optimizer.result(jax.lax.scan(step, s, None, settings.steps)[0])))
    return float(run(state))


@pytest.mark.parametrize(("name", "double"), [
    *((name, True) for name in REFERENCED), *((name, False) for name in REFERENCED if name in OPTIMIZERS),
])  # fmt: skip
def test_fifty_steps_equal_the_reference(name: str, double: bool) -> None:
    """In float64 all of them, in float32 each optimizer."""
    case = REFERENCED[name]
    assert case.reference is not None
    with jax.enable_x64(double):
        due = case.reference(pull, mixed(), 50)
        optimizer = case.make()
        state = walk(optimizer, optimizer.init(jaxed(mixed(np.float64 if double else np.float32))), 50)
        assert int(state.step) == 50
        for leaf, x in state.params.items():
            assert x.dtype == (jnp.float64 if double else jnp.float32)
            rtol, atol = case.close if double else case.single
            np.testing.assert_allclose(x, due[leaf], rtol, atol, err_msg=leaf)


@each_optimizer
def test_large_leaves_equal_the_reference(case: Case) -> None:
    """Those that lie alone: the same formula on another shape."""
    if case.reference is None:
        pytest.skip("no reference")
    with jax.enable_x64(True):
        start = mixed(shapes={"large": (70_000,), "bias": (3,)})
        optimizer = case.make()
        state = optimizer.init(jaxed(start))
        assert not any(group.kind == "flat" and len(group.members) > 1 for group in state.layout.groups)
        state = walk(optimizer, state, 3)
        due = case.reference(pull, start, 3)
        for name, x in state.params.items():
            np.testing.assert_allclose(x, due[name], *case.close)


@each_optimizer
def test_parabola(case: Case) -> None:
    assert descend(case, case.parabola, lambda w: jnp.sum(w * w), jnp.array([1.0, -2.0])) < case.parabola.below


@each_optimizer
def test_rosenbrock(case: Case) -> None:
    def loss(w: Any) -> Any:
        return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2

    assert descend(case, case.rosenbrock, loss, jnp.array([-1.0, 1.0])) < case.rosenbrock.below


@each_optimizer
def test_digits(case: Case) -> None:
    x, y = (jnp.asarray(part[:256]) for part in data.digits().train[:2])
    network = nn.mlp(inputs=64, outputs=10, hidden=[32])

    def loss(params: Any) -> Any:
        return nn.losses.cross_entropy(network.apply(params, x), y)

    assert descend(case, case.digits, loss, network.init(jax.random.key(0))) < case.digits.below


@each_optimizer
def test_structure_and_types_stay(case: Case) -> None:
    """Moments are float32 for narrower parameters and float64 for those."""
    optimizer = case.make()
    narrow = jaxed(mixed(np.float32)) | {"narrow": jnp.ones((2, 2), jnp.bfloat16)}
    state = optimizer.init(narrow)
    grads = jax.tree.map(lambda x: 0.5 * x + 1, narrow)
    new = jax.jit(optimizer.update)(state, grads)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, new)
    chex.assert_trees_all_equal_shapes_and_dtypes(narrow, new.params, optimizer.eval_params(new), optimizer.result(new))
    assert {x.dtype for x in jax.tree.leaves(new.moments)} == {jnp.dtype(jnp.float32)} or not new.moments
    assert list(name_leaves(new.unpacked()["params"])) == sorted(narrow)
    for name in new.moments:
        assert set(name_leaves(new.unpacked()["moments"][name])) <= set(narrow)
    with jax.enable_x64(True):
        state = optimizer.init(jaxed(mixed()))
        assert {x.dtype for x in jax.tree.leaves(state.moments)} <= {jnp.dtype(jnp.float64)}
        shape = jax.eval_shape(optimizer.update, state, jaxed(mixed()))
        chex.assert_trees_all_equal_shapes_and_dtypes(state, shape)


@each_optimizer
def test_jitted_equals_eager(case: Case) -> None:
    optimizer = case.make()
    params = {"matrix": jnp.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])}
    state = optimizer.init(params)
    jitted = jax.jit(optimizer.update)(state, pull(optimizer.eval_params(state), 1))
    eager = optimizer.update(state, pull(optimizer.eval_params(state), 1))
    chex.assert_trees_all_close(jitted, eager, rtol=1e-4, atol=1e-6)


@each_optimizer
def test_new_hyperparameters_do_not_recompile(case: Case) -> None:
    chex.clear_trace_counter()
    optimizer = case.make()
    params = jaxed(mixed(np.float32))
    update = jax.jit(chex.assert_max_traces(optimizer.update, n=1))
    first = state = update(optimizer.init(params), params)
    assert "learning_rate" in state.hyperparameters
    for name, value in state.hyperparameters.items():
        assert isinstance(value, jax.Array)
        first = update(state.replace(hyperparameters={name: 0.5 * float(value)}), params)
    chex.assert_tree_all_finite(first.params)


@each_optimizer
def test_rates_can_be_batched(case: Case) -> None:
    optimizer = case.make()
    state = optimizer.init(jaxed(mixed(np.float32)))

    def thrice(rate: Any) -> Any:
        return loop(optimizer, state.replace(hyperparameters={"learning_rate": rate}), 3).params

    rates = jnp.array([0.01, 0.02])
    together = jax.jit(jax.vmap(thrice))(rates)
    alone = [jax.jit(thrice)(rate) for rate in rates]
    chex.assert_trees_all_close(together, jax.tree.map(lambda *xs: jnp.stack(xs), *alone), rtol=1e-4, atol=1e-6)
    assert not np.allclose(together["matrix"][0], together["matrix"][1])


@each_optimizer
def test_saved_and_restored_mid_run(case: Case, tmp_path: Path) -> None:
    """Bit for bit the same run, through a file."""
    optimizer = case.make()
    start = jaxed(mixed(np.float32)) | {"narrow": jnp.ones((2, 3), jnp.bfloat16)}

    five = jax.jit(lambda s: loop(optimizer, s, 5))
    middle = five(optimizer.init(start))
    snapshots.store(tmp_path / "state.safetensors", middle.unpacked(), {})
    fresh = optimizer.init(jax.tree.map(jnp.zeros_like, start))
    tree, _ = snapshots.restore(tmp_path / "state.safetensors", fresh.unpacked())
    again = fresh.packed_again(tree)
    chex.assert_trees_all_equal(middle, again)
    chex.assert_trees_all_equal_shapes_and_dtypes(middle, again)
    chex.assert_trees_all_equal(five(middle), five(again))


@each_optimizer
def test_zero_gradients(case: Case) -> None:
    """From the first step on, and after others."""
    optimizer = case.make()
    params = jaxed(mixed(np.float32)) | {"zero": jnp.zeros((2, 2)), "origin": jnp.zeros(())}
    zero = jax.tree.map(jnp.zeros_like, params)

    twice = jax.jit(lambda s, grads: optimizer.update(optimizer.update(s, grads), zero))
    first = optimizer.init(params)
    still, moved = twice(first, zero), twice(first, params)
    chex.assert_tree_all_finite((still.params, still.moments, moved.params, moved.moments))
    assert not any(jnp.any(jnp.isnan(x)) for x in (*still.scalars.values(), *moved.scalars.values()))
    if case.rests:
        chex.assert_trees_all_equal(still.params, params)


@each_optimizer
def test_gradients_that_are_not_numbers_are_skipped(case: Case) -> None:
    optimizer = optim.skip_nonfinite(case.make())
    params = jaxed(mixed(np.float32))
    update = jax.jit(optimizer.update)
    state = update(optimizer.init(params), pull(params, 1))
    bad = pull(params, 2) | {"vector": jnp.array([1.0, jnp.nan, 1.0, 1.0, 1.0])}
    after = update(state, bad)
    assert int(after.scalars["skipped"]) == 1
    chex.assert_trees_all_equal(after.replace(scalars={"skipped": state.scalars["skipped"]}), state)


@each_optimizer
def test_second_moments_of_narrow_parameters_do_not_stall(case: Case) -> None:
    """They are those of float32 parameters with the same gradients, whose squares bfloat16 does not hold."""
    optimizer = case.make()
    states = [optimizer.init(jnp.zeros(2, dtype)) for dtype in (jnp.bfloat16, jnp.float32)]
    if "second" not in states[0].moments:
        pytest.skip("no second moment")

    def step(state: optim.State) -> optim.State:
        return optimizer.update(state, jnp.full(2, 0.3, jnp.bfloat16).astype(state.params.dtype))

    @jax.jit
    def run(state: optim.State) -> Any:
        return jax.lax.fori_loop(0, 300, lambda _, s: step(s), state).moments["second"]

    np.testing.assert_allclose(run(states[0]), run(states[1]), rtol=1e-6)
    # Compiled, XLA may leave out the rounding of a product in bfloat16.
    eager = [step(state).moments["second"] for state in states]
    np.testing.assert_allclose(eager[0], eager[1], rtol=1e-6)


def test_adam_in_bfloat16_does_not_stall() -> None:
    """With β₂ = .999 and g = 1 the second moment reaches 1 − .999²⁰⁰⁰ = 0.865; kept in bfloat16 it stops at 0.5."""
    optimizer = optim.adam()
    state = optimizer.init(jnp.zeros(1, jnp.bfloat16))
    state = jax.lax.fori_loop(0, 2000, lambda _, s: optimizer.update(s, jnp.ones(1, jnp.bfloat16)), state)
    np.testing.assert_allclose(state.moments["second"], 0.865, atol=1e-3)


def test_unknown_hyperparameter_is_refused() -> None:
    with pytest.raises(KeyError, match="learning_rat.*learning_rate, momentum"):
        optim.sgd().init(jnp.ones(1)).replace(hyperparameters={"learning_rat": 1.0})


DEFAULTS = [
    (optim.adagrad, "paper", {"initial": 0, "epsilon": 1e-10}),
    (optim.adagrad, "torch", {"initial": 0, "epsilon": 1e-10, "learning_rate": 0.01}),
    (optim.adagrad, "optax", {"initial": 0.1, "epsilon": 1e-7}),
    (optim.adagrad, "keras", {"initial": 0.1, "epsilon": 1e-7}),
    (optim.rmsprop, "paper", {"rho": 0.9, "epsilon": 0}),
    (optim.rmsprop, "torch", {"rho": 0.99, "epsilon": 1e-8}),
    (optim.rmsprop, "optax", {"rho": 0.9, "epsilon": 1e-8}),
    (optim.rmsprop, "keras", {"rho": 0.9, "epsilon": 1e-7}),
    (optim.adadelta, "paper", {"rho": 0.95, "epsilon": 1e-6, "learning_rate": 1}),
    (optim.adadelta, "torch", {"rho": 0.9, "epsilon": 1e-6, "learning_rate": 1}),
    (optim.adadelta, "optax", {"rho": 0.9, "epsilon": 1e-6, "learning_rate": 1}),
    (optim.adadelta, "keras", {"rho": 0.95, "epsilon": 1e-7, "learning_rate": 1e-3}),
    (optim.adam, "paper", {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0}),
    (optim.adam, "keras", {"epsilon": 1e-7}),
    (optim.adamw, "torch", {"weight_decay": 1e-2}),
    (optim.adamw, "optax", {"weight_decay": 1e-4}),
    (optim.nadam, "torch", {"learning_rate": 2e-3, "momentum_decay": 4e-3, "epsilon": 1e-8}),
    (optim.nadam, "keras", {"momentum_decay": 1, "epsilon": 1e-7}),
    (optim.amsgrad, "paper", {"epsilon": 0}),
    (optim.amsgrad, "torch", {"epsilon": 1e-8}),
    (optim.lion, "paper", {"beta_1": 0.9, "beta_2": 0.99, "weight_decay": 0}),
    (optim.lion, "optax", {"weight_decay": 1e-3}),
    (optim.lamb, "paper", {"epsilon": 1e-6}),
    (optim.adafactor, "paper", {"learning_rate": 1e-2, "epsilon": 1e-30, "smallest_scale": 1e-3, "update_clip": 1}),
    (optim.adafactor, "torch", {"learning_rate": 1e-2, "epsilon": 2**-23}),
    (optim.adafactor, "keras", {"learning_rate": 1e-3}),
]  # fmt: skip


@pytest.mark.parametrize(("make", "convention", "due"), DEFAULTS)
def test_defaults_of_the_conventions(make: Callable[..., Any], convention: str, due: dict[str, float]) -> None:
    held = make(convention=convention).init(jnp.ones(1)).hyperparameters
    assert {name: held[name] for name in due} == {name: np.float32(value) for name, value in due.items()}


@pytest.mark.parametrize(
    "make", [optim.sgd, optim.nesterov, optim.adagrad, optim.rmsprop, optim.rmsprop_nesterov, optim.adadelta,
             optim.adam, optim.adamw, optim.nadam, optim.amsgrad, optim.lion, optim.lamb, optim.adafactor],
)  # fmt: skip
def test_unknown_convention_is_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"tensorflow.*'paper', "):
        make(convention="tensorflow")


def test_adadelta_descends_with_default_arguments() -> None:
    """In all conventions but Keras's, whose rate hardly moves it; optax's own ascends."""
    for convention in ("paper", "torch", "optax", "keras"):
        case = Case(lambda convention=convention: optim.adadelta(convention=convention))  # type: ignore[misc]
        end = descend(case, Descent(0, 3000, {}), lambda w: jnp.sum(w * w), jnp.array([1.0, -2.0]))
        assert end < (4.9999 if convention == "keras" else 0.01), convention


def test_factored_moments_are_rows_and_columns() -> None:
    state = optim.adafactor(momentum=0.9).init(jaxed(mixed(np.float32)))
    shapes = jax.tree.map(jnp.shape, state.moments)
    assert shapes["rows"]["tensor"] == (4, 2, 1) and shapes["columns"]["tensor"] == (4, 1, 3)
    assert shapes["second"]["tensor"] is None and shapes["second"]["vector"] == (5,)
    assert "velocity" not in optim.adafactor().init(jnp.ones(2)).moments


def test_schedule_of_decay_without_the_rate() -> None:
    """AdamW's η multiplies both the step and the decay."""
    schedule = optim.schedules.inverse_time(0.5)
    optimizer = optim.adamw(0.25, weight_decay=0.5, schedule=schedule, convention="paper")
    state = optimizer.init(jnp.ones(1))
    for t in range(3):
        new = optimizer.update(state, jnp.zeros(1))
        np.testing.assert_allclose(new.params, state.params * (1 - 0.5 / (1 + 0.5 * t)), rtol=1e-6)
        state = new
