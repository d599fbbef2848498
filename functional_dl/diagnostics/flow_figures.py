"""A Flow as plain numbers: a figure per layer and per time step, which width, batch and image size do not move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import jax
import numpy as np

from functional_dl.diagnostics.flow import Flow, Measures, Place
from functional_dl.trees import name_leaves

__all__ = ["Figures", "Kernel", "averaged", "figures"]

# A unit is called saturated where its mean slope is under this share of the steepest its activation can be: what comes
# through it is then a twentieth at most, while a sigmoid at its best, at 0, lets everything of its 0.25 through.
SATURATED = 0.05


@dataclass(frozen=True)
class Kernel:
    """The figures of a layer's largest parameter.

    Attributes:
      path: its path.
      parameter, gradient: norms of it and of ∂L/∂w.
      ratio: ‖update‖/‖parameter‖; ``None`` without an optimizer, or for a parameter that is zero.
    """

    path: str
    parameter: float
    gradient: float
    ratio: float | None


@dataclass(frozen=True)
class Figures:
    """The figures of one place; of a loop with parameters for each iteration, those of one iteration.

    Attributes:
      place: what was measured.
      name: the place's, with ``[3]`` after it for the fourth iteration of scanned layers.
      value, activation: the root mean square of the entries of a and of Φ(a).
      delta: ‖δ‖/√units.  What a unit has over examples, positions and times is added up in squares: so a layer's width
        does not matter, nor does a pooling that hands on one position of four.
      kernel: the largest of its parameters; ``None`` for a place without.
      slope, steepest: of each unit, as in `Measures`.
      over_time: δ as above at each iteration of a loop whose parameters are shared, as they run; else ``None``.
    """

    place: Place
    name: str
    value: float
    activation: float
    delta: float
    kernel: Kernel | None
    slope: np.ndarray | None
    steepest: np.ndarray | None
    over_time: np.ndarray | None

    @property
    def dead(self) -> tuple[int, ...] | None:
        """Units through which no gradient goes for any example; ``None`` if that was not measured."""
        return None if self.steepest is None else tuple(int(i) for i in np.flatnonzero(self.steepest == 0))

    @property
    def dead_share(self) -> float | None:
        """The share of units that are dead."""
        return None if self.steepest is None else float(np.mean(self.steepest == 0))

    @property
    def saturated_share(self) -> float | None:
        """The share of units whose mean slope is under `SATURATED`, without the dead ones."""
        if self.slope is None or self.steepest is None:
            return None
        return float(np.mean((self.slope < SATURATED) & (self.steepest != 0)))

    @property
    def finite(self) -> bool:
        """Whether all norms are finite."""
        kernel = () if self.kernel is None else (self.kernel.parameter, self.kernel.gradient)
        return bool(np.isfinite([self.value, self.activation, self.delta, *kernel]).all())


def figures(flow: Flow) -> tuple[Figures, ...]:
    """The figures of all places, in the order of the forward pass; scanned layers iteration by iteration."""
    grads = name_leaves(flow.grads)
    found: list[Figures] = []
    pairs = list(zip(flow.places, flow.measures, strict=True))
    # Places that follow each other in one loop take turns: all of the first iteration, then all of the second.
    for (times, _), group in groupby(pairs, _loop):
        members = list(group)
        if times is None:
            found += [_figures(flow, grads, place, measures, None) for place, measures in members]
        else:
            running = range(times)[:: -1 if members[0][0].reverse else 1]
            found += [_figures(flow, grads, place, measures, i) for i in running for place, measures in members]
    return tuple(found)


def _loop(pair: tuple[Place, Measures]) -> tuple[int | None, bool]:
    """What places of one loop with parameters for each iteration have in common."""
    place = pair[0]
    return (place.times, place.reverse) if place.stacked else (None, False)


def _figures(flow: Flow, grads: dict[str, Any], place: Place, measures: Measures, iteration: int | None) -> Figures:
    own = jax.tree.map(lambda x: np.asarray(x, np.float64), measures)
    if iteration is not None:
        own = jax.tree.map(lambda x: x[iteration], own)
    delta = own.delta / np.sqrt(max(1, _units(place, own)))
    looped = place.times is not None and not place.stacked
    return Figures(
        place=place,
        name=place.name if iteration is None else f"{place.name}[{iteration}]",
        value=_over_all(own.value) / np.sqrt(max(1, place.entries)),
        activation=_over_all(own.activation) / np.sqrt(max(1, place.entries)),
        delta=float(np.sqrt(np.sum(delta**2))),
        kernel=_kernel(flow, grads, place, iteration),
        slope=None if own.slope is None else own.slope.mean(0) if looped else own.slope,
        steepest=None if own.steepest is None else own.steepest.max(0) if looped else own.steepest,
        over_time=(delta[::-1] if place.reverse else delta) if looped else None,
    )


def _units(place: Place, measures: Measures) -> int:
    """As many as there are slopes, if these are of one axis; else the last axis is taken to be that of the units."""
    if measures.slope is not None and measures.slope.shape[-1] in place.shape:
        return int(measures.slope.shape[-1])
    return place.shape[-1] if place.shape else 1


def _over_all(norms: Any) -> float:
    """The root mean square of the norms of a loop's iterations; the norm itself outside loops."""
    return float(np.sqrt(np.mean(norms**2)))


def _kernel(flow: Flow, grads: dict[str, Any], place: Place, iteration: int | None) -> Kernel | None:
    paths = [path for path in place.parameters if path in flow.shares]
    if not paths:
        return None
    path = max(paths, key=lambda path: np.size(grads[path]) if path in grads else 0)
    share = flow.shares[path]
    parameter, gradient = float(share.parameter), float(share.gradient)
    if iteration is not None and path in grads:  # the share is that of all iterations
        gradient = float(np.linalg.norm(np.asarray(grads[path][iteration], np.float64)))
    known = share.update is not None and parameter != 0
    return Kernel(path, parameter, gradient, float(share.update) / parameter if known else None)


def averaged(flows: Sequence[Flow]) -> Flow:
    """One flow for several batches of one network: norms in the root mean square, units over all examples.

    The gradient and what concerns parameters are those of the first batch, with which a step would be made.
    """
    first = flows[0]

    def joined(parts: Sequence[Measures]) -> Measures:
        def square(name: str) -> Any:
            return np.sqrt(np.mean([np.asarray(getattr(m, name), np.float64) ** 2 for m in parts], axis=0))

        with_units = parts[0].slope is not None
        return Measures(
            square("value"),
            square("activation"),
            square("delta"),
            np.mean([np.asarray(m.slope) for m in parts], axis=0) if with_units else None,
            np.max([np.asarray(m.steepest) for m in parts], axis=0) if with_units else None,
        )

    return Flow.of(
        loss=np.mean([float(flow.loss) for flow in flows]),
        aux=first.aux,
        grads=first.grads,
        places=first.places,
        measures=tuple(joined(parts) for parts in zip(*(flow.measures for flow in flows), strict=True)),
        shares=first.shares,
    )
