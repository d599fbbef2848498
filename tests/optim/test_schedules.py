"""Schedules against float64 tables, PyTorch's among them, and as constants in the state."""

from __future__ import annotations

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_dl as fdl
from functional_dl import optim
from functional_dl.optim import schedules
from functional_dl.optim.schedules import Schedule

T = np.arange(0, 130)


def table(schedule: Schedule) -> np.ndarray:
    constants = optim.optimizer.scalars(**schedule.constants)
    return np.asarray(jax.vmap(lambda t: schedule.factor(t, constants) * jnp.float32(1))(jnp.asarray(T, jnp.int32)))


def half_cosine(a: float, b: float, x: float) -> float:
    return b + (a - b) / 2 * (1 + np.cos(np.pi * x))


def torch_one_cycle(t: int, steps: int, part: float, values: list[float], cosine: bool, three_phase: bool) -> float:
    """As `OneCycleLR` documents it: phases end at float(part · steps) − 1, (2 · part · steps) − 2, steps − 1."""
    ends = [part * steps - 1, *([2 * part * steps - 2] if three_phase else []), steps - 1]
    begin = 0.0
    for i, end in enumerate(ends):
        if t <= end or i == len(ends) - 1:
            x = min((t - begin) / (end - begin), 1.0)
            a, b = values[i], values[i + 1]
            return half_cosine(a, b, x) if cosine else a + (b - a) * x
        begin = end
    raise AssertionError


def stable(t: int, f: Callable[[float], float]) -> float:
    x = min(max((t - 70) / 30, 0.0), 1.0)
    return (t + 1) / 10 if t < 10 else 0.1 + 0.9 * f(x)


TABLES: dict[str, tuple[Schedule, Callable[[int], float]]] = {
    "constant": (schedules.constant(), lambda t: 1.0),
    "exponential": (schedules.exponential(0.1), lambda t: np.exp(-0.1 * t)),
    "torch ExponentialLR(.9)": (schedules.exponential(-np.log(0.9)), lambda t: 0.9**t),
    "inverse time": (schedules.inverse_time(0.25), lambda t: 1 / (1 + 0.25 * t)),
    "torch StepLR(30, .1)": (schedules.step(30), lambda t: 0.1 ** (t // 30)),
    "step of 7": (schedules.step(7, 0.5), lambda t: 0.5 ** (t // 7)),
    "torch PolynomialLR(100, 2)": (schedules.polynomial(100, 2.0), lambda t: (1 - min(t, 100) / 100) ** 2),
    "torch LinearLR(1, .25, 100)": (
        schedules.polynomial(100, end=0.25),
        lambda t: 1 + (0.25 - 1) * min(t, 100) / 100,
    ),
    "torch CosineAnnealingLR(100, .1)": (
        schedules.cosine(100, 0.1),
        lambda t: 0.1 + (1 - 0.1) * (1 + np.cos(np.pi * min(t, 100) / 100)) / 2,
    ),
    "warm-up and cosine": (
        schedules.warmup_cosine(100, 20, 0.05),
        lambda t: (t + 1) / 20 if t < 20 else half_cosine(1.0, 0.05, min((t - 20) / 80, 1.0)),
    ),
    "warm-up alone": (schedules.warmup_cosine(20, 20), lambda t: (t + 1) / 20 if t < 20 else float(t == 20)),
    "stable, linear": (schedules.warmup_stable_decay(100, 10, 30, 0.1), lambda t: stable(t, lambda x: 1 - x)),
    "stable, cosine": (
        schedules.warmup_stable_decay(100, 10, 30, 0.1, "cosine"),
        lambda t: stable(t, lambda x: half_cosine(1.0, 0.0, x)),
    ),
    "stable, 1 − sqrt": (
        schedules.warmup_stable_decay(100, 10, 30, 0.1, "sqrt"),
        lambda t: stable(t, lambda x: 1 - np.sqrt(x)),
    ),
    "torch OneCycleLR": (
        schedules.one_cycle(100),
        lambda t: torch_one_cycle(t, 100, 0.3, [1 / 25, 1.0, 1 / 25e4], True, False),
    ),
    "torch OneCycleLR, linear, three phases, uneven": (
        schedules.one_cycle(101, warmup=0.33, start=10, end=100, anneal="linear", three_phase=True),
        lambda t: torch_one_cycle(t, 101, 0.33, [0.1, 1.0, 0.1, 1e-3], False, True),
    ),
    "torch OneCycleLR, momentum": (
        schedules.one_cycle_momentum(100),
        lambda t: torch_one_cycle(t, 100, 0.3, [0.95, 0.85, 0.95], True, False) / 0.95,
    ),
    "torch OneCycleLR, momentum, three phases": (
        schedules.one_cycle_momentum(100, three_phase=True),
        lambda t: torch_one_cycle(t, 100, 0.3, [0.95, 0.85, 0.95, 0.95], True, True) / 0.95,
    ),
    "torch MultiStepLR([30, 80], .1)": (
        schedules.piecewise([30, 80], [1, 0.1, 0.01]),
        lambda t: 0.1 ** (int(t >= 30) + int(t >= 80)),
    ),
    "torch SequentialLR": (
        schedules.joined(
            [schedules.constant(), schedules.exponential(0.1), schedules.joined([schedules.step(7)] * 2, [20])],
            [20, 60],
        ),
        lambda t: 1.0 if t < 20 else np.exp(-0.1 * (t - 20)) if t < 60 else 0.1 ** ((t - 60) % 20 // 7)
        if t < 80 else 0.1 ** ((t - 80) // 7),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_table(name: str) -> None:
    schedule, due = TABLES[name]
    np.testing.assert_allclose(table(schedule), [due(int(t)) for t in T], rtol=2e-5, atol=2e-7)


def test_all_by_name() -> None:
    assert {name for name in schedules.__all__ if name.islower()} - {"joined"} == schedules.SCHEDULES.keys()
    assert schedules.SCHEDULES["one_cycle"](steps=10).constants["steps"] == 10


def test_optimizers_take_the_factor() -> None:
    optimizer = optim.sgd(2.0, schedule=schedules.exponential(0.1))
    state = optimizer.init(jnp.zeros(1)).replace(step=jnp.int32(7))
    np.testing.assert_allclose(optimizer.update(state, jnp.ones(1)).params, [-2 * np.exp(-0.7)], rtol=1e-6)


def test_both_halves_of_a_cycle() -> None:
    both = {"learning_rate": schedules.one_cycle(20), "momentum": schedules.one_cycle_momentum(20)}
    optimizer = optim.sgd(0.1, momentum=0.95, schedule=both)
    update, state, w, v = jax.jit(optimizer.update), optimizer.init(jnp.zeros(1)), 0.0, 0.0
    for t in range(20):
        a = 0.1 * torch_one_cycle(t, 20, 0.3, [1 / 25, 1.0, 1 / 25e4], True, False)
        v = torch_one_cycle(t, 20, 0.3, [0.95, 0.85, 0.95], True, False) * v - a
        w, state = w + v, update(state, jnp.ones(1))
    np.testing.assert_allclose(state.params, [w], rtol=1e-5)


def test_constants_are_hyperparameters() -> None:
    """Other constants, also of a joined schedule, do not recompile."""
    chex.clear_trace_counter()
    schedule = schedules.joined([schedules.constant(), schedules.step(10)], [5])
    optimizer = optim.sgd(1.0, schedule=schedule)
    update = jax.jit(chex.assert_max_traces(optimizer.update, n=1))
    state = optimizer.init(jnp.zeros(1)).replace(step=jnp.int32(15))
    np.testing.assert_allclose(update(state, jnp.ones(1)).params, [-0.1], rtol=1e-6)
    changed = state.replace(hyperparameters={"schedule_boundary_0": 15, "schedule_1_gamma": 0.5})
    np.testing.assert_allclose(update(changed, jnp.ones(1)).params, [-1.0], rtol=1e-6)
    assert {"schedule_1_every", "schedule_1_gamma", "schedule_boundary_0"} <= state.hyperparameters.keys()


@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt"])
def test_gradients_by_the_constants_are_finite(shape: str) -> None:
    schedule = schedules.warmup_stable_decay(100, 10, 30, shape=shape)  # type: ignore[arg-type]
    constants = optim.optimizer.scalars(**schedule.constants)
    for t in (0, 10, 50, 70, 71, 100, 120):
        slope = fdl.grad(lambda c, t=t: schedule.factor(jnp.int32(t), c))(constants)
        assert all(np.isfinite(x) for x in slope.values()), (t, slope)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.piecewise([1], [1.0]), "1 values for 1 boundaries"),
        (lambda: schedules.joined([schedules.constant()], [1]), "1 schedules for 1 boundaries"),
        (lambda: schedules.warmup_stable_decay(9, 1, 1, shape="root"), "'root'.*'sqrt'"),
        (lambda: schedules.one_cycle(9, anneal="cos"), "'cos'.*'linear'"),
    ],
)
def test_faults_are_named(make: Callable[[], Schedule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_schedule_of_what_is_not_there() -> None:
    with pytest.raises(KeyError, match="momentun.*momentum"):
        optim.sgd(schedule={"momentun": schedules.constant()}).init(jnp.zeros(1))
