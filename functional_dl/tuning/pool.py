"""Members that share a program, in the rows of one population on the device: who is where, and who goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from functional_dl.tuning.members import Members, begun, taken
from functional_dl.tuning.memory import bytes_needed
from functional_dl.tuning.problem import Prepared
from functional_dl.tuning.programs import Programs

__all__ = ["Pool", "Programming", "as_number"]

# On a CPU it is measured, over this many steps, whether members run faster side by side or one after the other.
TRIAL_STEPS = 4
# More side by side gain nothing there: an Adam step of the digits MLP took 102, 97, 96, 97, 95 and 91 µs a member with
# 1, 4, 8, 16, 32 and 64 of them (JAX 0.10.2, two cores).  A population in small chunks is never compiled again for
# fewer members.
SIDE_BY_SIDE_ON_CPU = 16


def as_number(value: Any) -> np.ndarray:
    """A hyperparameter as what a program takes: float32, or int32 for whole numbers."""
    return np.asarray(value, np.float32 if isinstance(value, float) else np.int32)


class Programming:
    """The compiled programs for one settled program, by rows and chunk, and the choice among them.

    Args:
      ready: the settled problem.
      score: ``score(metrics)``, lower is better.
      devices: what to run on.
      limit: the bytes that a device may hold.
      chunk: how many members run side by side, if that is known from before; else it is found: all that fit on an
        accelerator, and on a CPU all that fit or one, whichever is measured faster.
    """

    def __init__(
        self, ready: Prepared, score: Callable[..., Any], devices: Sequence[Any], limit: int, chunk: int | None = None
    ) -> None:
        self.ready, self.devices, self.chunk = ready, tuple(devices), chunk
        self.on_host = self.devices[0].platform == "cpu"
        self.room: int | None = None  # how many members' states may be on the devices at once, once it is known
        self._score, self._limit = score, limit
        self._made: dict[tuple[int, int], Programs] = {}
        self.arranged = jax.jit(self._arranged)

    def _programs(self, needed: int, chunk: int) -> Programs:
        """For ``needed`` rows at least, in equal chunks of at most ``chunk``."""
        length = -(-needed // len(self.devices))
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

    def fitting(self, needed: int, numbers: Mapping[str, Any]) -> Programs:
        """Programs for ``needed`` members whose rung keeps within the limit, compiled.

        Raises:
          ValueError: not even members run one by one fit.
        """
        most = SIDE_BY_SIDE_ON_CPU if self.on_host else needed
        chunk = min(self.chunk or most, -(-needed // len(self.devices)))
        while True:
            programs = self._programs(needed, chunk)
            took = bytes_needed(programs.compiled_rung(self.avals(programs.rows, numbers)))
            if took <= self._limit:
                return programs
            if programs.chunk == 1:
                raise ValueError(
                    f"a population of {programs.rows} members takes {took:,} bytes on a device even if they are "
                    f"trained one by one; it may hold {self._limit:,}. Train fewer at once, or smaller ones."
                )
            chunk = programs.chunk // 2

    def choose(self, needed: int, members: Callable[[int], Members], numbers: Mapping[str, Any]) -> None:
        """Settle how many members run side by side, by trying with ``members(rows)``."""
        if self.chunk is not None or not self.on_host:
            return
        best = self._programs(needed, min(SIDE_BY_SIDE_ON_CPU, -(-needed // len(self.devices))))
        if best.chunk == 1:
            return  # of a single member nothing can be said
        # Compiling is most of what a short search takes: both rungs and the beginning of members at once.
        with ThreadPoolExecutor() as others:
            for programs in (best, self._of(best.rows, 1)):
                programs.compile_beside(self.avals(best.rows, numbers), others)
            tried = members(best.rows)
        best = self.fitting(needed, numbers)
        tried = tried if len(tried.seeds) == best.rows else members(best.rows)
        if self._seconds(self._of(best.rows, 1), tried, needed) < self._seconds(best, tried, needed):
            self.chunk = 1
        else:
            is_all = best.chunk * len(self.devices) >= needed
            self.chunk = SIDE_BY_SIDE_ON_CPU if is_all else best.chunk

    def _seconds(self, programs: Programs, members: Members, occupied: int) -> float:
        """The time of a short rung, the best of two after one that warms up."""
        took = []
        for _ in range(3):
            clock = time.perf_counter()
            jax.block_until_ready(programs.rung(members, occupied, TRIAL_STEPS).metrics)
            took.append(time.perf_counter() - clock)
        return min(took[1:])


class Pool:
    """Members of one program, each in a row.

    Args:
      programming: the programs.
      values, seed: ``values(id)`` and ``seed(id)`` of a member; of the values those that are numbers.
      capacity: how many rows to begin with, at least.
    """

    def __init__(
        self,
        programming: Programming,
        values: Callable[[int], Mapping[str, Any]],
        seed: Callable[[int], int],
        capacity: int = 1,
    ) -> None:
        self.programming, self.capacity = programming, capacity
        self._values, self._seed = values, seed
        self._programs: Programs | None = None
        self._members: Members | None = None
        self._ids: list[int | None] = []  # by row

    @property
    def ids(self) -> set[int]:
        """Who is held."""
        return {i for i in self._ids if i is not None}

    def retain(self, ids: Collection[int]) -> None:
        """Let go of all members but these."""
        self._ids = [i if i in ids else None for i in self._ids]

    def run(self, ids: Sequence[int], steps: int) -> dict[int, dict[str, float]]:
        """Train members further by so many steps; those not held begin anew.  Returns their metrics."""
        self._arrange(ids)
        programs, members = self._programs, self._members
        assert programs is not None and members is not None
        n = len(ids)
        rung = programs.rung(members, n, steps)
        metrics, order = jax.device_get((rung.metrics, rung.order))
        found = {self._id(row): {k: float(x[row]) for k, x in metrics.items()} for row in range(n)}
        self._ids = [self._ids[row] for row in order]
        self._members = rung.members
        return found

    def measure(self, ids: Sequence[int], data: tuple[Any, ...]) -> dict[int, dict[str, float]]:
        """The metrics of members on other data."""
        self._arrange(ids)
        programs, members = self._programs, self._members
        assert programs is not None and members is not None
        metrics = jax.device_get(programs.measure(members, len(ids), data))
        return {self._id(row): {k: float(x[row]) for k, x in metrics.items()} for row in range(len(ids))}

    def _id(self, row: int) -> int:
        found = self._ids[row]
        assert found is not None
        return found

    # --- rows -------------------------------------------------------------------------------------------------------

    def _numbers(self, ids: Sequence[int | None], rows: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Seeds and numbers by row; where nobody is, those of somebody."""
        known = [i for i in ids if i is not None]
        filled = [i if i is not None else known[0] for i in ids] + [known[0]] * (rows - len(ids))
        seeds = np.asarray([self._seed(i) for i in filled], np.uint32)
        each = [self._values(i) for i in filled]
        return seeds, {key: np.stack([as_number(x[key]) for x in each]) for key in each[0]}

    def _arrange(self, ids: Sequence[int]) -> None:
        """Put ``ids`` into the first rows, those who wait behind them."""
        everyone = len(self.ids.union(ids))
        if self._programs is not None and set(self._ids[: len(ids)]) == set(ids) and not self._too_wide(everyone):
            return
        held = {i: row for row, i in enumerate(self._ids) if i is not None}
        going, fresh = [i for i in ids if i in held], [i for i in ids if i not in held]
        wanted = [*going, *fresh, *[i for i in held if i not in set(ids)]]
        one = {k: x[0] for k, x in self._numbers(wanted[:1], 1)[1].items()}
        needed = max(len(wanted), self.capacity if self._members is None else 1)
        before = self._members

        def arranged(rows: int) -> Members:
            seeds, numbers = self._numbers(wanted, rows)
            sources = np.zeros(rows, np.int32)
            sources[: len(wanted)] = [held.get(i, 0) for i in wanted]
            old = _nobody(self.programming.avals(1, one)) if before is None else before
            first, stop = np.int32(len(going)), np.int32(len(going) + len(fresh))
            return self.programming.arranged(old, sources, first, stop, seeds, numbers)

        self.programming.choose(needed, arranged, one)
        if self._programs is None or len(wanted) > self._programs.rows or self._too_wide(len(wanted)):
            self._programs = self.programming.fitting(needed, one)
        self._members = arranged(self._programs.rows)
        self._ids = [*wanted, *[None] * (self._programs.rows - len(wanted))]

    def _too_wide(self, needed: int) -> bool:
        """Whether all run side by side in rows of which half would be vacant, at as much cost as if they were not."""
        programs = self._programs
        if programs is None or self.programming.on_host or programs.rows > programs.chunk * len(programs.devices):
            return False
        return programs.chunk > 1 and 2 * needed <= programs.rows

    # --- storing ----------------------------------------------------------------------------------------------------

    def stored(self) -> tuple[list[int], Any]:
        """Who is held, and their members on the host."""
        rows = [row for row, i in enumerate(self._ids) if i is not None]
        if not rows:
            return [], None
        return [self._id(row) for row in rows], jax.tree.map(lambda x: np.asarray(x)[rows], self._members)

    def like(self, ids: Sequence[int]) -> Any:
        """What `stored` gives for these members, abstract."""
        numbers = self._numbers(ids[:1], 1)[1]
        return self.programming.avals(len(ids), {k: x[0] for k, x in numbers.items()})

    def restore(self, ids: Sequence[int], members: Any) -> None:
        """Hold what `stored` gave."""
        self._members, self._ids, self._programs = jax.tree.map(jnp.asarray, members), list(ids), None

    def to_host(self) -> None:
        """Let the device go, members wait in the host's memory."""
        if self._members is not None:
            self._members = jax.device_get(self._members)


def _nobody(avals: Members) -> Members:
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), avals)
