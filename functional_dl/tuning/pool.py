"""Members that share a program, in the rows of one population on the device: who is where, and who goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from functional_dl.tuning.members import Members
from functional_dl.tuning.programming import Programming
from functional_dl.tuning.programs import Programs

__all__ = ["Pool", "as_number"]


def as_number(value: Any) -> np.ndarray:
    """A hyperparameter as what a program takes: float32, or int32 for whole numbers."""
    return np.asarray(value, np.float32 if isinstance(value, float) else np.int32)


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
        rung = self.programming.suited(programs, n).rung(members, n, steps)
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

        self.programming.measure(needed, len(ids), arranged, one)
        if self._programs is None or len(wanted) > self._programs.rows or self._too_wide(len(wanted)):
            self._programs = self.programming.fitting(needed, len(ids), one)
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
