"""How JAX lays out the operands of a loop."""

from __future__ import annotations

from typing import Any

__all__ = ["carried", "scan_layout"]


def scan_layout(params: dict[str, Any]) -> tuple[int, int]:
    """How many operands of a ``scan`` are constants and how many are carried; the rest are scanned over."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = (len(part) for part in params["ft_in"].unpack())  # from JAX 0.11 on
    return consts, carry


def carried(eqn: Any) -> list[Any]:
    """The outputs of a ``scan`` that are the carry at its end; the others are stacked."""
    return eqn.outvars[: scan_layout(eqn.params)[1]]
