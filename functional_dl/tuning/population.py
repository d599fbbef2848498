"""A population of trainings: members sorted by what program they need, run together, held, stored and restored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from functional_dl.tuning.memory import bytes_of, device_bytes
from functional_dl.tuning.pool import Pool
from functional_dl.tuning.problem import Prepared, Problem
from functional_dl.tuning.programming import Programming

__all__ = ["Member", "Population"]

# Of a device's bytes, what the members' states may take: a rung holds them twice, before and after, and works besides.
SHARE_OF_STATES = 0.3


class Member(NamedTuple):
    """A training to be: its hyperparameters, and the seed of all that is random in it."""

    values: Mapping[str, Any]
    seed: int


class Population:
    """Trains members of a problem side by side.

    Members whose hyperparameters differ in numbers only share a program and lie in one pool; where their states do not
    all fit on the device, in several, of which one at a time is there.

    Args:
      problem: what is trained.
      numbers: which hyperparameters are numbers; the others say which program it is.
      member: ``member(id)``, always the same for an id.
      devices: what to run on, each its share of the members; by default all there are.
      limit: the bytes that a device may hold; by default most of an accelerator's, half of a host's.
      capacity: room to begin with, if there is one pool.
      paces: by kind of member, what was measured of it, as `paces` of an earlier population said.
    """

    def __init__(
        self,
        problem: Problem,
        numbers: Collection[str],
        member: Callable[[int], Member],
        devices: Sequence[Any] | None = None,
        limit: int | None = None,
        capacity: int = 1,
        paces: Mapping[str, Mapping[int, float]] | None = None,
    ) -> None:
        self.problem, self.member = problem, member
        self.devices = tuple(jax.devices() if devices is None else devices)
        host = self.devices[0].platform == "cpu"  # whose devices share its memory
        self._limit = limit or device_bytes(self.devices[0]) // (len(self.devices) if host else 1)
        self._numbers, self._capacity = frozenset(numbers), capacity
        self._known = dict(paces or {})
        self._programming: dict[str, Programming] = {}
        self._pools: dict[tuple[str, int], Pool] = {}
        self._places: dict[int, tuple[str, int]] = {}
        self._counts: dict[str, int] = {}

    # --- which pool a member belongs to -------------------------------------------------------------------------------

    def kind(self, member: int) -> str:
        """What says which program a member needs; empty where nothing does."""
        values = self.member(member).values
        return ", ".join(f"{key}={values[key]!r}" for key in sorted(values) if key not in self._numbers)

    def prepared(self, member: int) -> Prepared:
        """The settled problem of a member."""
        return self._programs_of(member).ready

    def length(self, member: int) -> int:
        """The steps of its whole training."""
        return self.prepared(member).steps

    def _programs_of(self, member: int) -> Programming:
        kind = self.kind(member)
        if kind not in self._programming:
            settled = {k: x for k, x in self.member(member).values.items() if k not in self._numbers}
            ready = self.problem.prepare(settled)
            self._programming[kind] = Programming(
                ready, self.problem.score, self.devices, self._limit, self._known.get(kind)
            )
        return self._programming[kind]

    def _place(self, member: int) -> tuple[str, int]:
        if member not in self._places:
            kind = self.kind(member)
            number = self._counts.get(kind, 0)
            self._counts[kind] = number + 1
            self._places[member] = (kind, number // self._room(member))
        return self._places[member]

    def _room(self, member: int) -> int:
        """How many members' states may be on the devices at once."""
        programming = self._programs_of(member)
        if programming.room is None:
            start = programming.ready.recipe(self._numbers_of(member)).start
            one = bytes_of(jax.eval_shape(lambda seed: start(seed)._replace(key=seed), jnp.uint32(0)))
            share = int(SHARE_OF_STATES * self._limit) * len(self.devices)
            programming.room = max(len(self.devices), share // max(one, 1))
        return programming.room

    def _numbers_of(self, member: int) -> dict[str, Any]:
        return {k: x for k, x in self.member(member).values.items() if k in self._numbers}

    def _seed_of(self, member: int) -> int:
        return self.member(member).seed

    def _pool(self, place: tuple[str, int], member: int) -> Pool:
        if place not in self._pools:
            programming = self._programs_of(member)
            capacity = min(self._capacity, self._room(member))
            self._pools[place] = Pool(programming, self._numbers_of, self._seed_of, capacity)
        return self._pools[place]

    def _sorted(self, ids: Sequence[int]) -> dict[tuple[str, int], list[int]]:
        found: dict[tuple[str, int], list[int]] = {}
        for member in ids:
            found.setdefault(self._place(member), []).append(member)
        return found

    # --- what is done with members ----------------------------------------------------------------------------------

    def run(self, steps: Mapping[int, int]) -> dict[int, dict[str, float]]:
        """Train members further, each by its number of steps; those not held begin anew.  Returns their metrics."""
        metrics: dict[int, dict[str, float]] = {}
        # A program's members make equally many steps: a bound of their own would be a mask over every operation.
        for count in sorted(set(steps.values())):
            for place, ids in self._sorted([i for i, n in steps.items() if n == count]).items():
                metrics.update(self._pool(place, ids[0]).run(ids, count))
                self._leave(place)
        return metrics

    def test(self, ids: Sequence[int]) -> dict[int, dict[str, float]]:
        """The metrics of members on the test part."""
        metrics: dict[int, dict[str, float]] = {}
        for place, own in self._sorted(ids).items():
            data = self.prepared(own[0]).parts.test
            if data is not None:
                metrics.update(self._pool(place, own[0]).measure(own, data))
                self._leave(place)
        return metrics

    def _leave(self, place: tuple[str, int]) -> None:
        if any(other[0] == place[0] and other != place for other in self._pools):
            self._pools[place].to_host()

    def retain(self, ids: Collection[int]) -> None:
        """Let go of all members but these."""
        for pool in self._pools.values():
            pool.retain(ids)

    @property
    def held(self) -> set[int]:
        """Who is held."""
        return {i for pool in self._pools.values() for i in pool.ids}

    # --- storing ----------------------------------------------------------------------------------------------------

    @property
    def paces(self) -> dict[str, dict[int, float]]:
        """By kind of member what was measured: seconds of a step of so many side by side."""
        return {kind: dict(x.paces) for kind, x in self._programming.items()}

    def stored(self) -> tuple[dict[str, Any], list[list[int]]]:
        """The members held, on the host: arrays by pool, and whose they are."""
        arrays: dict[str, Any] = {}
        ids: list[list[int]] = []
        for pool in self._pools.values():
            own, members = pool.stored()
            if own:
                arrays[str(len(ids))] = members
                ids.append(own)
        return arrays, ids

    def like(self, ids: Sequence[Sequence[int]]) -> dict[str, Any]:
        """What `stored` gave for these members, abstract."""
        return {str(k): self._pool(self._place(own[0]), own[0]).like(own) for k, own in enumerate(ids)}

    def restore(self, arrays: Mapping[str, Any], ids: Sequence[Sequence[int]]) -> None:
        """Hold what `stored` gave."""
        for k, own in enumerate(ids):
            place = self._place(own[0])
            for member in own:
                self._places[member] = place
            self._pool(place, own[0]).restore(own, arrays[str(k)])
