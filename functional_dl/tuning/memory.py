"""How many members fit on a device at once."""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np

__all__ = ["bytes_needed", "bytes_of", "device_bytes"]

# Of what there is: the runtime, other processes and fragmentation want the rest.
SHARE_OF_DEVICE, SHARE_OF_HOST = 0.9, 0.5


def device_bytes(device: Any) -> int:
    """The bytes that a population may take on a device: most of an accelerator's memory, half of the host's."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(SHARE_OF_DEVICE * stats["bytes_limit"])
    return int(SHARE_OF_HOST * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def bytes_needed(compiled: Any) -> int:
    """The bytes of a compiled program on each device: operands, results, and what lies between."""
    memory = compiled.memory_analysis()
    return int(memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes)


def bytes_of(tree: Any) -> int:
    """The bytes of all leaves, which may be abstract."""
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))
