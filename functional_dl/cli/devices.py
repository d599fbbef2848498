"""What a population runs on: each core of a host as a device of its own."""

from __future__ import annotations

import os

import jax

__all__ = ["count_cores", "divide_cores", "machine"]


def count_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def divide_cores() -> None:
    """Make each core a device, if nobody said how many there are to be and JAX has not started.

    Members are divided among devices.  One device that uses all cores splits single operations of small networks
    instead: a step of the digits MLP took 95 µs a member with one device on two cores, 45 µs with two.

    Where JAX finds an accelerator it runs on that, whatever number of devices the host has.  So it need not be known
    here if there is one; asking would start JAX, and then it would be too late.
    """
    said = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if said or jax.config.jax_num_cpu_devices >= 0:  # type: ignore[attr-defined]  # known to JAX at run time
        return
    try:
        jax.config.update("jax_num_cpu_devices", count_cores())
    except RuntimeError:  # it has started
        return


def machine() -> str:
    """What JAX runs on, in words."""
    devices = jax.devices()
    many = f" as {len(devices)} devices" if len(devices) > 1 else ""
    if devices[0].platform == "cpu":
        return f"a CPU of {count_cores()} cores{many}, JAX {jax.__version__}"
    return f"{devices[0].device_kind}{many}, JAX {jax.__version__}"
