"""The README says what is so: its two commands stand first and alone, and its Python prints what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_first_two_commands() -> None:
    commands = [body.strip() for kind, body in BLOCKS if kind == "sh"]
    assert commands[:2] == ["make train", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    assert "\ntrain: $(VENV)/installed" in makefile and "\ntest: $(VENV)/installed" in makefile
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_python_prints_what_it_shows() -> None:
    (code,) = [body for kind, body in BLOCKS if kind == "python"]
    (output,) = [body for kind, body in BLOCKS if kind == "output"]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == output


def test_every_config_has_its_row() -> None:
    for path in (ROOT / "configs").glob("*.toml"):
        assert f"`functional-dl train configs/{path.name}`" in README
