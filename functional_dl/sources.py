"""Where equations come from: the user's lines, and the scopes that profilers show."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from jax.extend.source_info_util import register_exclusion, summarize

__all__ = ["reverse_source", "source_line"]

_COLUMN = re.compile(r":(\d+):\d+ \(")

# The engine's own frames are not the user's lines.
for _room in ("autodiff", "rules", "jaxprs.py", "avals.py"):
    register_exclusion(str(Path(__file__).parent / _room))


def source_line(eqn: Any) -> str:
    """The user's line that an equation came from, as ``file:line (function)``."""
    return _COLUMN.sub(r":\1 (", str(summarize(eqn.source_info)))


@lru_cache(maxsize=4096)
def _reverse_names(stack: Any) -> Any:
    return type(stack)().transform("vjp") + stack


def reverse_source(info: Any) -> Any:
    """The source of an equation as that of its reverse pass, which profilers show as ``vjp(scope)``."""
    return info.replace(name_stack=_reverse_names(info.name_stack))
