"""Strictness for all tests: CPU, float64 where the engine is tested, no silent rank promotion."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight devices that are one CPU, for the tests of sharding; and machine code made fast rather than fast machine code,
# which takes a fifth off the suite's processor time (46 s against 36 s on cases of linear algebra).
for flag, value in [
    ("--xla_force_host_platform_device_count", "8"),
    ("--xla_backend_optimization_level", "0"),
    ("--xla_llvm_disable_expensive_passes", "true"),
]:
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}={value}".strip()

import jax
import pytest
from hypothesis import settings

settings.register_profile("repository", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("repository")

DOUBLE = {"rules", "autodiff"}


@pytest.fixture(autouse=True)
def strict(request: pytest.FixtureRequest) -> Iterator[None]:
    """Rank promotion raises everywhere; float64 in the tests of rules and transforms."""
    double = Path(request.path).parent.name in DOUBLE and "tests" in Path(request.path).parts
    with jax.numpy_rank_promotion("raise"), jax.enable_x64(double):
        yield
