"""Every rule under its contract: JAX's own gradient, central differences, linearity, and the second order."""

from __future__ import annotations

import importlib
import pkgutil

import jax
import numpy as np
import pytest

import functional_dl as fdl
import tests.rules
from functional_dl import rules
from tests.rules.contract import Case, assert_recorded, assert_traced

MODULES = [m.name for m in pkgutil.iter_modules(tests.rules.__path__) if m.name.startswith("cases_")]
TABLES = [importlib.import_module(f"tests.rules.{name}") for name in MODULES]
CASES: list[Case] = [c for table in TABLES for c in table.CASES]
KINKS: list[Case] = [c for table in TABLES for c in getattr(table, "KINKS", [])]


# What stands for a primitive in the default run: the first of its cases with the most oracles.
FIRST: dict[str, Case] = {}
for _case in sorted(CASES + KINKS, key=lambda c: (not c.numeric, -c.order, -c.refused)):
    FIRST.setdefault(_case.primitive, _case)


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """All of them in the thorough run, one for each primitive in the default run."""
    marks = [() if FIRST[c.primitive] is c else (pytest.mark.thorough,) for c in cases]
    params = [pytest.param(c, id=str(c), marks=m) for c, m in zip(cases, marks, strict=True)]
    return pytest.mark.parametrize("case", params)


@pytest.mark.parametrize("case", CASES + KINKS, ids=str)
def test_rule(case: Case) -> None:
    assert_traced(case, 1)


@each(CASES + KINKS)
def test_rule_outside_jit(case: Case) -> None:
    """Each operation is compiled by itself there, and several times where it is a loop: five times as long."""
    assert_recorded(case)


@each([case for case in CASES + KINKS if case.order > 1])
def test_rule_at_second_order(case: Case) -> None:
    assert_traced(case, 2)


def test_every_rule_has_a_case() -> None:
    """A rule nobody checks is a rumour.  Primitives that this JAX lacks are told by the cases being absent."""
    covered = {c.primitive for c in CASES + KINKS}
    ruled = {name for name, rule in rules.entries().items() if rule.kind in ("vjp", "structural") and not rule.user}
    since = {
        "log2": (0, 11), "one_minus_square": (0, 11), "scaled_matmul_wrapper": (0, 11), "polynomial": (0, 12),
        "call_hi_primitive": (0, 11), "eval_jaxpr": (0, 11),
        "pbroadcast_dynamic": (0, 12), "vary_unreduced_cast": (0, 12), "reduced_vary_cast": (0, 12),
    }  # fmt: skip
    until = {
        "call": (0, 11), "closed_call": (0, 11), "shard_alike": (0, 11),
        "vary_unreduced_cast_p": (0, 12), "reduced_vary_cast_p": (0, 12),
    }  # fmt: skip
    absent = {name for name, version in since.items() if jax.__version_info__ < version}
    absent |= {name for name, version in until.items() if jax.__version_info__ >= version}
    assert ruled - covered - absent == set()


def test_a_broken_rule_is_caught() -> None:
    """The oracles can fail: the same contract refuses a sine whose derivative is off by a thousandth."""

    @jax.custom_vjp
    def sine(x: jax.Array) -> jax.Array:
        return jax.lax.sin(x)

    sine.defvjp(lambda x: (sine(x), x), lambda x, ct: (1.001 * ct * jax.lax.cos(x),))
    with pytest.raises(fdl.GradientError, match=r"args\[0\]"):
        fdl.check_vjp(sine, (np.linspace(0.1, 1.0, 6).reshape(2, 3),))
