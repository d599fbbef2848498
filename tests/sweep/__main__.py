"""Writes docs/coverage.md for the JAX at hand and prints its counts: ``python -m tests.sweep``."""

from __future__ import annotations

from tests.sweep.report import PATH, render

text = render(PATH.read_text(encoding="utf-8") if PATH.exists() else "")
PATH.write_text(text, encoding="utf-8")
print("\n".join(line for line in text.splitlines() if line.startswith("|")))
print(f"written: {PATH}")
