"""Numbers of optimizers, wrappers and schedules may be traced, which is how many trainings are one program."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import Any, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl import optim
from functional_dl.optim import OPTIMIZERS, WRAPPERS
from functional_dl.optim.schedules import SCHEDULES
from tests.optim.case import pull

NUMBERS = {float, float | None, int, bool, int | None, bool | None}
TABLES: dict[str, dict[str, Callable[..., Any]]] = {"optimizer": OPTIMIZERS, "wrapper": WRAPPERS, "schedule": SCHEDULES}

# Three values for each: by parameter, and by function and parameter where those would change nothing in three steps.
SHARES, COUNTS = (0.25, 0.5, 0.75), (1, 2, 3)
VALUES: dict[str, Any] = {
    "lamb.shortest": (2.0, 3.0, 4.0), "smallest_scale": (1.0, 2.0, 3.0), "adafactor.epsilon": (1.0, 2.0, 4.0),
    "lbfgs.decrease": (-20.0, -1.0, 0.1), "lbfgs.curvature": (-20.0, 0.01, 0.9), "lbfgs.trials": COUNTS,
    "muon.steps": COUNTS, "soap.frequency": COUNTS,
    "clip_adaptively.epsilon": (2.0, 3.0, 4.0), "accumulate.every": COUNTS, "swa.start": (0, 1, 2),
    "swa.every": COUNTS, "scale_loss.initial": (1.0, 2.0, 1024.0), "growth_interval": COUNTS, "seed": COUNTS,
    "steps": (3, 4, 6), "step.every": COUNTS, "schedule_free_sgd.warmup": COUNTS, "schedule_free_adamw.warmup": COUNTS,
    "warmup_cosine.warmup": COUNTS, "warmup_stable_decay.warmup": COUNTS, "warmup_stable_decay.decay": COUNTS,
    "one_cycle.start": (2.0, 3.0, 4.0), "one_cycle.end": (2.0, 3.0, 4.0),
    "boundaries": ((1, 2), (0, 1), (2, 3)), "values": ((1.0, 0.5, 0.25), (1.0, 0.75, 0.5), (0.5, 1.0, 2.0)),
}  # fmt: skip

# What the others are while one is traced, if not their defaults.
OTHERS: dict[str, Any] = {
    "soap.frequency": 1, "lamb.longest": 1e3, "lion.learning_rate": 2.0, "lion.beta_2": 0.25,
    "scale_loss.initial": 1.0,
    "warmup_cosine.warmup": 1, "warmup_stable_decay.steps": 3, "one_cycle.steps": 3, "one_cycle.warmup": 0.75,
    "one_cycle.end": 2.0, "one_cycle_momentum.steps": 3,
}  # fmt: skip

# What decides which arrays there are, or which operations: not to be traced.
STRUCTURE = {
    "adafactor.relative": "chooses a formula", "adafactor.scaled": "chooses a formula",
    "adafactor.smallest_factored": "decides the shapes of moments", "rmsprop.centered": "decides which moments are",
    "muon.bfloat16": "decides a dtype", "soap.largest": "decides which moments are",
    "lbfgs.history": "is the length of an axis", "clip_by_global_norm.always": "chooses a formula",
    "clip_by_leaf_norm.always": "chooses a formula", "decay_weights.coupled": "chooses what is wrapped how",
    "average.debias": "chooses a formula", "average.warmup": "chooses a formula",
    "one_cycle.three_phase": "decides how many corners are", "one_cycle_momentum.three_phase": "the same",
}  # fmt: skip


def parameters(make: Callable[..., Any]) -> list[str]:
    """What of a function's parameters is a number, or several."""
    hints = get_type_hints(make)
    return [p for p in inspect.signature(make).parameters if hints[p] in NUMBERS or p in ("boundaries", "values")]


ALL = [(kind, name, p) for kind, table in TABLES.items() for name, make in table.items() for p in parameters(make)]
TRACED = [case for case in ALL if f"{case[1]}.{case[2]}" not in STRUCTURE]
# The test of one number traces all the others of its function too, at one value each: the first stands for them in the
# default run.
FIRST = {case[:2]: case for case in reversed(TRACED)}
EACH = [pytest.param(*c, id="-".join(c), marks=() if FIRST[c[:2]] is c else (pytest.mark.thorough,)) for c in TRACED]


def three(name: str, parameter: str) -> Any:
    return VALUES.get(f"{name}.{parameter}", VALUES.get(parameter, SHARES))


def others(kind: str, name: str) -> dict[str, Any]:
    """A value for everything that may be traced."""
    made = {}
    for _, _, p in (case for case in TRACED if case[:2] == (kind, name)):
        default = inspect.signature(TABLES[kind][name]).parameters[p].default
        given = default if default not in (inspect.Parameter.empty, None) else three(name, p)[1]
        made[p] = OTHERS.get(f"{name}.{p}", given)
    return made


def run(kind: str, name: str, values: dict[str, Any]) -> Any:
    """Where three steps lead."""
    make = partial(TABLES[kind][name], **values)
    optimizer = (
        make()
        if kind == "optimizer"
        else make(optim.sgd(0.5, 0.5))
        if kind == "wrapper"
        else optim.sgd(0.5, 0.5, schedule=make())
    )
    dtype = jnp.bfloat16 if name == "stochastic_rounding" else jnp.float32
    start = {"matrix": jnp.array([[1.0, -0.5], [0.25, 0.75], [-1.0, 2.0]], dtype), "vector": jnp.ones(3, dtype)}

    def step(state: optim.State, t: Any) -> tuple[optim.State, None]:
        return optimizer.update(state, pull(optimizer.eval_params(state), t)), None

    state = jax.lax.scan(step, optimizer.init(start), jnp.arange(1, 4))[0]
    return optimizer.result(state), optimizer.eval_params(state), state.moments


@cache
def compiled(kind: str, name: str) -> tuple[Any, Any]:
    """With everything traced: one run, and several at once."""
    one = partial(run, kind, name)
    return jax.jit(one), jax.jit(jax.vmap(one))


def assert_close(found: Any, due: Any) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(due), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("kind", "name", "parameter"), EACH)
def test_traced(kind: str, name: str, parameter: str) -> None:
    rest = others(kind, name)
    rows = [{**rest, parameter: value} for value in three(name, parameter)]
    one, several = compiled(kind, name)
    arrays = [{k: np.asarray(x, np.float32 if isinstance(rest[k], float) else None) for k, x in row.items()}
              for row in rows]  # fmt: skip
    alone = [one(row) for row in arrays]
    assert_close(alone[0], jax.jit(lambda: run(kind, name, rows[0]))())
    together = several(jax.tree.map(lambda *xs: np.stack(xs), *arrays))
    for i, due in enumerate(alone):
        assert_close(jax.tree.map(lambda x: x[i], together), due)  # noqa: B023
    apart = [np.ptp(np.asarray(x, np.float32), axis=0).max() for x in jax.tree.leaves(together) if x.size]
    assert max(apart) > 1e-4, f"{parameter} changes nothing here"


@pytest.mark.parametrize("key", STRUCTURE)
def test_what_decides_structure_is_not_traced(key: str) -> None:
    name, parameter = key.split(".")
    kind = next(kind for kind, table in TABLES.items() if name in table)
    assert (kind, name, parameter) in ALL
    whole = get_type_hints(TABLES[kind][name])[parameter] in (int, int | None)
    rest = others(kind, name)
    with pytest.raises(jax.errors.ConcretizationTypeError):
        jax.eval_shape(lambda x: run(kind, name, {**rest, parameter: x}), np.int32(2) if whole else np.bool_(True))


def test_a_known_scale_of_the_loss_is_still_checked() -> None:
    with pytest.raises(ValueError, match="power of two"):
        optim.scale_loss(optim.sgd(), initial=3.0)
