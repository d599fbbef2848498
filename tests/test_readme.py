"""README and docs say what is so: the two commands stand first and alone, and Python prints what it is said to."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_first_two_commands() -> None:
    commands = [body.strip() for kind, body in BLOCKS if kind == "sh"]
    assert commands[:2] == ["make train", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert "\ntrain: $(VENV)/installed" in makefile and "\ntest: $(VENV)/installed" in makefile
    # With a space behind it, the default run; what it leaves out runs too.
    assert all(f"make {target} " in (ROOT / ".ci/run").read_text() for target in ("test", "test-thorough"))


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_python_prints_what_it_shows(page: str) -> None:
    """The Python of a page is one program, block after block; each block prints what stands below it."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for (kind, code), (below, output) in itertools.pairwise([*blocks, ("", "")]):
        if kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, page, "exec"), names)
            assert printed.getvalue() == (output if below == "output" else ""), code


def test_every_config_has_its_row() -> None:
    for path in (ROOT / "configs").rglob("*.toml"):
        command = "tune" if path.parent.name == "tuning" else "train"
        assert f"functional-dl {command} {path.relative_to(ROOT)}`" in README


def test_the_tests_that_the_notes_name_are_there() -> None:
    named = set(re.findall(r"\btest_\w+(?!\w*\.py)", (ROOT / "docs/notes.md").read_text(encoding="utf-8")))
    files = list((ROOT / "tests").rglob("test_*.py"))
    defined = {name for path in files for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
    assert len(named) > 20 and named <= defined | {path.stem for path in files}
