"""The floors of the house: imports point down, and nothing reaches for JAX's private modules or its own gradients."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import functional_dl

ROOT = Path(functional_dl.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
FLOORS = {
    "avals": 1, "dependence": 1, "jaxprs": 1, "loops": 1, "sources": 1, "traced": 1, "trees": 1,
    "nn": 1, "optim": 1, "data": 1, "strategies": 1,
    "rules": 2, "planner": 2,
    "autodiff": 3, "diagnostics": 3, "config": 3,
    "training": 4, "tuning": 4,
    "cli": 5, "__init__": 5,
}  # fmt: skip
BARRED = [("rules", "planner"), ("planner", "rules"), ("training", "tuning")]
LEAN = {
    "avals", "dependence", "jaxprs", "loops", "sources", "traced", "trees", "rules", "autodiff", "planner", "nn",
    "optim", "data", "strategies",
}  # fmt: skip
FOUNDATION = {"jax", "numpy", "scipy", "functional_dl", *sys.stdlib_module_names}
GRADIENTS = {"grad", "value_and_grad", "vjp", "linearize", "linear_transpose", "jacrev", "jacobian", "hessian"}
# The oracle of `functional-dl check`, which is what that file is.
ORACLE = Path("training/gradient_check.py")


def room(path: Path) -> str:
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_file(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    here, faults = room(path), []
    assert here in FLOORS, f"{path.name}: which floor is {here} on?"
    for name, line in imports(tree):
        parts = name.split(".")
        if parts[:2] == ["jax", "_src"]:
            faults.append(f"{line}: imports {name}; nothing may reach into jax._src")
        if parts[0] == "optax":
            faults.append(f"{line}: imports optax, a rival")
        if here in LEAN and parts[0] not in FOUNDATION:
            faults.append(f"{line}: {here} imports {parts[0]}; it may import jax, numpy and scipy only")
        if parts[0] == "functional_dl" and len(parts) > 1 and parts[1] in FLOORS:
            there = parts[1]
            if there != here and (FLOORS[there] > FLOORS[here] or (here, there) in BARRED):
                faults.append(f"{line}: {here} (floor {FLOORS[here]}) imports {there} (floor {FLOORS[there]})")
            if here in {"nn", "optim", "data", "strategies", "tuning"} and there in {"autodiff", "rules", "planner"}:
                faults.append(f"{line}: {here} knows of differentiation")
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and ast.unparse(node.value) == "jax"
            and node.attr in GRADIENTS
            and path.relative_to(ROOT) != ORACLE
        ):
            faults.append(f"{node.lineno}: jax.{node.attr} is the oracle, not a part")
        if isinstance(node, ast.Attribute) and node.attr in {"primitive_jvps", "primitive_transposes"}:
            faults.append(f"{node.lineno}: {node.attr} is JAX's own rule table")
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            inner = [n for n in ast.walk(node) if isinstance(n, (ast.Import, ast.ImportFrom))]
            faults += [f"{n.lineno}: import inside a function" for n in inner]
    assert not faults, "\n".join(f"{path.relative_to(ROOT)}:{fault}" for fault in faults)


def test_files_are_of_readable_size() -> None:
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text("utf-8").splitlines())) > 400}
    assert not long, f"longer than 400 lines, a wall is missing: {long}"


def test_every_file_says_what_it_is() -> None:
    for path in FILES:
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert doc and doc.splitlines()[0].endswith("."), f"{path}: the first line is a sentence that says what it is"
