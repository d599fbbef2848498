"""`import functional_dl` brings differentiation; the other rooms are loaded when they are first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import functional_dl as fdl

PROGRAM = """
import sys
import functional_dl as fdl

assert not any(name.split(".")[0] in ("pydantic", "rich", "matplotlib") for name in sys.modules)
assert "functional_dl.tuning" not in sys.modules and "tuning" in dir(fdl)
assert callable(fdl.tuning.search) and callable(fdl.diagnostics.gradient_flow) and callable(fdl.nn.mlp)
"""


def test_rooms_are_loaded_when_they_are_used() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)


def test_what_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'functional_dl' has no attribute 'tunning'"):
        fdl.tunning  # noqa: B018
