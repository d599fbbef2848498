"""Which carries of a loop are differentiated: what goes round may reach others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from functional_dl.dependence import dependent_outputs

__all__ = ["carried_activity", "settled"]


def carried_activity(body: Any, active: Sequence[bool], consts: int, carry: int) -> tuple[bool, ...]:
    """Which operands of a loop's body are active once the activity of the carry has gone round."""
    now = list(active)
    while True:
        out = dependent_outputs(body, now)
        grown = [a or o for a, o in zip(now[consts : consts + carry], out[:carry], strict=True)]
        if grown == now[consts : consts + carry]:
            return tuple(now)
        now[consts : consts + carry] = grown


def settled(reverse: Callable[..., Any], seeds: tuple[bool, ...], consts: int) -> tuple[Any, tuple[bool, ...]]:
    """The reverse pass of a loop's body, and which carries get a cotangent: at the end, or as it sends them one."""
    while True:
        inner = reverse(seeds)
        grown = tuple(s or (consts + i) in inner.targets for i, s in enumerate(seeds))
        if grown == seeds:
            return inner, seeds
        seeds = grown
