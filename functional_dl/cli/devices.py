"""What a population runs on: each core of a host as a device of its own."""

from __future__ import annotations

import os

import jax

__all__ = ["count_cores", "divide_cores", "machine"]

# At the end of a rung devices exchange members, and the first to be there waits for the others.  After 40 seconds XLA
# takes that for a deadlock and ends the process.  But with three members on two devices one waits for a whole training,
# and on a busy machine with two: so a CNN on Fashion-MNIST was ended.  As options of a compilation these have no effect
# (JAX 0.10.2).
PATIENCE = (
    "xla_cpu_collective_call_terminate_timeout_seconds",
    "xla_cpu_collective_call_warn_stuck_timeout_seconds",
)
FOREVER = 1_000_000


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
    said = os.environ.get("XLA_FLAGS", "")
    for flag in PATIENCE:
        if flag not in said:
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{flag}={FOREVER}".strip()
    if "xla_force_host_platform_device_count" in said or jax.config.jax_num_cpu_devices >= 0:  # type: ignore[attr-defined]
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
