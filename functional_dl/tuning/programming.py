"""The programs that members of one kind need, by rows and chunk, and which of them is the fastest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from functional_dl.tuning.members import Members, begun, taken
from functional_dl.tuning.memory import bytes_needed
from functional_dl.tuning.problem import Prepared
from functional_dl.tuning.programs import Programs

__all__ = ["Programming"]

# On a CPU it is measured, over this many steps, how fast members run side by side and one after the other.
TRIAL_STEPS = 4
# More side by side gain nothing there: an Adam step of the digits MLP took 102, 97, 96, 97, 95 and 91 µs a member with
# 1, 4, 8, 16, 32 and 64 of them (JAX 0.10.2, two cores).
SIDE_BY_SIDE_ON_CPU = 16


class Programming:
    """The compiled programs for one settled program, by rows and chunk, and the choice among them.

    On an accelerator members run side by side, all that fit.  On a CPU, where that gains little, some side by side and
    one by one are both measured, and each rung is run in the way that is the faster for its number of members.

    Args:
      ready: the settled problem.
      score: ``score(metrics)``, lower is better.
      devices: what to run on.
      limit: the bytes that a device may hold.
      paces: what was measured before: seconds of a step of so many members side by side.
    """

    def __init__(
        self,
        ready: Prepared,
        score: Callable[..., Any],
        devices: Sequence[Any],
        limit: int,
        paces: Mapping[int, float] | None = None,
    ) -> None:
        self.ready, self.devices, self.paces = ready, tuple(devices), dict(paces or {})
        self.on_host = self.devices[0].platform == "cpu"
        self.room: int | None = None  # how many members' states may be on the devices at once, once it is known
        self._score, self._limit = score, limit
        self._made: dict[tuple[int, int], Programs] = {}
        self.arranged = jax.jit(self._arranged)

    def _for(self, needed: int, chunk: int) -> Programs:
        """For ``needed`` rows at least, in chunks of ``chunk``; on an accelerator equal ones, which are as few."""
        length = -(-needed // len(self.devices))
        if not self.on_host:
            chunk = -(-length // -(-length // chunk))
        return self._of(-(-length // chunk) * chunk * len(self.devices), chunk)

    def _of(self, rows: int, chunk: int) -> Programs:
        if (rows, chunk) not in self._made:
            self._made[rows, chunk] = Programs(self.ready, self._score, rows, chunk, self.devices)
        return self._made[rows, chunk]

    def avals(self, rows: int, numbers: Mapping[str, Any]) -> Members:
        """What the arrays of so many members with such numbers are."""
        like = {k: jax.ShapeDtypeStruct((), x.dtype) for k, x in numbers.items()}
        one = jax.eval_shape(partial(begun, self.ready), jax.ShapeDtypeStruct((), jnp.uint32), like)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((rows, *x.shape), x.dtype), one)

    def _arranged(self, members: Members, rows: Any, first: Any, stop: Any, seeds: Any, numbers: Any) -> Members:
        """The members of ``rows`` in this order, and in the rows from ``first`` up to ``stop`` new ones.

        Args:
          members: a population, of any number of rows.
          rows: (n,) where each comes from.
          first, stop: which rows are filled anew.
          seeds, numbers: (n,) of the new ones; what the other entries are does not matter.
        """

        def fill(i: Any, population: Members) -> Members:
            new = begun(self.ready, seeds[i], taken(numbers, i))
            return jax.tree.map(lambda xs, x: xs.at[i].set(x), population, new)

        return lax.fori_loop(first, stop, fill, taken(members, rows))

    def fitting(self, needed: int, jobs: int, numbers: Mapping[str, Any]) -> Programs:
        """Programs for ``needed`` rows of which ``jobs`` will train, whose rung keeps within the limit; compiled.

        Raises:
          ValueError: not even members run one by one fit.
        """
        chunk = max(self.paces, default=self._widest(needed, jobs))
        while True:
            programs = self._for(needed, chunk)
            took = bytes_needed(programs.compiled_rung(self.avals(programs.rows, numbers)))
            if took <= self._limit:
                self.paces = {n: pace for n, pace in self.paces.items() if n <= programs.chunk}
                return programs
            if programs.chunk == 1:
                raise ValueError(
                    f"a population of {programs.rows} members takes {took:,} bytes on a device even if they are "
                    f"trained one by one; it may hold {self._limit:,}. Train fewer at once, or smaller ones."
                )
            chunk = programs.chunk // 2

    def _widest(self, needed: int, jobs: int) -> int:
        most = min(jobs, SIDE_BY_SIDE_ON_CPU * len(self.devices)) if self.on_host else needed
        return -(-most // len(self.devices))

    def measure(self, needed: int, jobs: int, members: Callable[[int], Members], numbers: Mapping[str, Any]) -> None:
        """On a CPU, measure the paces, if they are not known, with ``members(rows)``."""
        if self.paces or not self.on_host or self._widest(needed, jobs) == 1:
            return
        wide = self._for(needed, self._widest(needed, jobs))
        # Compiling is most of what a short search takes: both rungs and the beginning of members at once.
        with ThreadPoolExecutor() as others:
            for programs in (wide, self._of(wide.rows, 1)):
                programs.compile_beside(self.avals(wide.rows, numbers), others)
            tried = members(wide.rows)
        wide = self.fitting(needed, jobs, numbers)
        tried = tried if len(tried.seeds) == wide.rows else members(wide.rows)
        self.paces = {x.chunk: self._pace(x, tried, jobs) for x in (self._of(wide.rows, 1), wide)}

    def _pace(self, programs: Programs, members: Members, occupied: int) -> float:
        """Seconds of a step of one chunk on each device: the best of two short rungs after one that warms up."""
        took = []
        for _ in range(3):
            clock = time.perf_counter()
            jax.block_until_ready(programs.rung(members, occupied, TRIAL_STEPS).metrics)
            took.append(time.perf_counter() - clock)
        return min(took[1:]) / TRIAL_STEPS / self._chunks(occupied, programs.chunk)

    def _chunks(self, occupied: int, chunk: int) -> int:
        return -(-occupied // (chunk * len(self.devices)))

    def suited(self, programs: Programs, occupied: int) -> Programs:
        """Those of the same rows that run so many members the fastest."""
        if not self.paces:
            return programs
        return self._of(programs.rows, min(self.paces, key=lambda x: (self._chunks(occupied, x) * self.paces[x], x)))
