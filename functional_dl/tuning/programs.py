"""The compiled program of a rung, for any number of members.

A rung is one program: members train, each on its own batches, are measured and ranked, and are put in the order of
their ranks, so that those who go on stand in front.  How many rows are occupied and how many steps are made are
operands: a population that is halved again and again is compiled once.  Rows lie in chunks: within a chunk members run
side by side (`jax.vmap`), chunks run one after the other, each device its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from functional_dl.tuning.members import Members, measured, taken, trained
from functional_dl.tuning.problem import Arrays, Prepared

__all__ = ["Programs", "Rung"]


class Rung(NamedTuple):
    """What a rung's program returns.

    Attributes:
      members: in the order of their ranks, unoccupied rows last.
      order: (rows,) int32, the row in which each of them was before.
      metrics: by name (rows,) float32, by the rows from before; with ``score``, lower is better.
    """

    members: Members
    order: Any
    metrics: dict[str, Any]


class Programs:
    """The programs for populations of so many rows.

    Args:
      ready: what the members train.
      score: ``score(metrics)``, lower is better.
      rows: for how many members there is room, a multiple of ``chunk`` times the number of devices.
      chunk: how many run side by side on one device.
      devices: among which rows are divided.
    """

    def __init__(
        self,
        ready: Prepared,
        score: Callable[[Mapping[str, Any]], Any],
        rows: int,
        chunk: int,
        devices: Sequence[Any],
    ) -> None:
        if rows % (chunk * len(devices)):
            raise ValueError(f"{rows} rows cannot be divided into chunks of {chunk} on {len(devices)} devices.")
        self.ready, self.rows, self.chunk, self.devices = ready, rows, chunk, tuple(devices)
        self._score = score
        self._mesh = Mesh(np.array(self.devices), ("members",))
        self._compiled: Any = None

    # --- a rung ---------------------------------------------------------------------------------------------------

    def rung(self, members: Members, occupied: int, steps: int) -> Rung:
        """Run a rung.

        Args:
          members: the population.
          occupied: how many rows from the first are members.
          steps: how many steps they make.
        """
        operands = (members, np.int32(occupied), np.int32(steps), *self._data)
        compiled = self.compiled_rung(members)
        return Rung(*compiled(*jax.device_put(operands, compiled.input_shardings[0])))

    def compiled_rung(self, members: Members) -> Any:
        """The compiled program; ``members`` may be abstract."""
        if self._compiled is None:
            self._compiled = self.lowered_rung(members).compile()
        elif isinstance(self._compiled, Future):
            self._compiled = self._compiled.result()
        return self._compiled

    def lowered_rung(self, members: Members) -> Any:
        """The program before it is compiled."""
        number = jax.ShapeDtypeStruct((), jnp.int32)
        return jax.jit(self._rung).lower(members, number, number, *self._data)

    def compile_beside(self, members: Members, others: Executor) -> None:
        """Begin to compile it in another thread; it is traced in this one, whose settings are its own."""
        if self._compiled is None:
            self._compiled = others.submit(self.lowered_rung(members).compile)

    @cached_property
    def _data(self) -> tuple[Arrays, Arrays]:
        parts = self.ready.parts
        return jax.device_put((parts.train, parts.validation))

    def _rung(self, members: Members, occupied: Any, steps: Any, train: Arrays, validation: Arrays) -> tuple[Any, ...]:
        def whole(member: Members) -> tuple[Members, dict[str, Any]]:
            after = trained(self.ready, member, train, steps)
            metrics = measured(self.ready, after, validation)
            return after, {**metrics, "score": jnp.asarray(self._score(metrics), jnp.float32)}

        members, metrics = self._over(whole, members, occupied)
        vacant = jnp.arange(self.rows) >= occupied
        # As `functional_dl.strategies.strategy.ranked` has it: whoever came to NaN in either is behind all others.
        keys = [metrics["loss"], metrics["score"]]
        diverged = jnp.isnan(keys[0]) | jnp.isnan(keys[1])
        keys = [jnp.where(diverged, jnp.inf, key) for key in keys]
        order = jnp.lexsort((*keys, diverged, vacant)).astype(jnp.int32)
        return taken(members, order), order, metrics

    # --- tests --------------------------------------------------------------------------------------------------------

    def measure(self, members: Members, occupied: int, data: Arrays) -> dict[str, Any]:
        """Measure on other data, by row."""

        def measure(members: Members, occupied: Any, data: Arrays) -> dict[str, Any]:
            return self._over(lambda member: (member, measured(self.ready, member, data)), members, occupied)[1]

        return jax.jit(measure)(members, np.int32(occupied), data)

    # --- chunks and devices -------------------------------------------------------------------------------------------

    def _over(self, fun: Callable[..., Any], members: Members, occupied: Any) -> tuple[Members, dict[str, Any]]:
        """``fun(member) -> (member, metrics)`` for all occupied rows; the metrics of the others are NaN.

        Rows are dealt out to the devices in turn, so that each has as many occupied ones as the others.
        """
        count, chunk = len(self.devices), self.chunk
        length = self.rows // count

        def dealt(xs: Any) -> Any:
            return jax.tree.map(lambda x: x.reshape(length, -1, *x.shape[1:]), xs)

        def collected(xs: Any) -> Any:
            return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), xs)

        def local(block: Any, occupied: Any) -> tuple[Members, Any]:
            """On one device: its rows, each array (length, 1, …) as they were dealt out."""
            device = lax.axis_index("members") if count > 1 else 0
            mine = (occupied - device + count - 1) // count

            def run(members: Members, first: Any) -> Any:
                if chunk == 1:
                    # A single row without the axis: unbatched operations are faster.
                    row = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, first, keepdims=False), members)
                    return jax.tree.map(lambda x: x[None], fun(row))
                rows = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, chunk), members)
                after, metrics = jax.vmap(fun)(rows)
                # Those who wait in the last chunk's other rows have not moved.
                moved = first + jnp.arange(chunk) < mine
                return jax.tree.map(partial(_where, moved), (after, metrics), (rows, jax.tree.map(_unknown, metrics)))

            def once(i: Any, done: Any) -> Any:
                first = i * chunk
                new = run(done[0], first)
                return jax.tree.map(lambda xs, x: lax.dynamic_update_slice_in_dim(xs, x, first, 0), done, new)

            members = collected(block)
            shapes = jax.eval_shape(run, members, jnp.int32(0))[1]
            unknown = jax.tree.map(lambda x: _unknown(jax.ShapeDtypeStruct((length, *x.shape[1:]), x.dtype)), shapes)
            return dealt(lax.fori_loop(0, (mine + chunk - 1) // chunk, once, (members, unknown)))

        if count > 1:
            by_row, same = PartitionSpec(None, "members"), PartitionSpec()
            local = jax.shard_map(local, mesh=self._mesh, in_specs=(by_row, same), out_specs=by_row, check_vma=False)
        return collected(local(dealt(members), occupied))


def _where(rows: Any, x: Any, y: Any) -> Any:
    return jnp.where(rows.reshape(-1, *[1] * (x.ndim - 1)), x, y)


def _unknown(x: Any) -> Any:
    return jnp.full(x.shape, jnp.nan, x.dtype)
