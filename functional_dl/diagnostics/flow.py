"""What is measured of a backward pass, layer by layer: a pytree of norms that can be returned from a jitted step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Flow", "Measures", "Place", "Share"]


@dataclass(frozen=True)
class Place:
    """A value of the forward pass that is measured; places stand in the order in which the forward makes them.

    Attributes:
      name: a layer's is the pytree path of its parameters (``"dense_0"``), a named intermediate's the name that
        `jax.ad_checkpoint.checkpoint_name` gave it.  Where two would have the same name, ``"dense_0#2"`` is the second.
      kind: whether a contraction with parameters makes it, or the user named it.
      parameters: paths of the parameters that make it: ``("dense_0/kernel", "dense_0/bias")``.
      line: the user's line, ``file:line (function)``.
      activation: what is applied to it, by the name in the program (``"relu"``, ``"logistic"``, ``"tanh"``, …); empty
        where the next operation is none.
      shape: of the value, without the axis of a loop.
      times: how often a loop makes it, ``None`` outside loops; its measures then have an axis of that length in front.
      stacked: in a loop, whether each iteration has parameters of its own (scanned layers) or all share them (time).
      reverse: whether the loop runs from its last iteration to its first; measures stand where iterations stand.
    """

    name: str
    kind: Literal["layer", "named"]
    parameters: tuple[str, ...]
    line: str
    activation: str
    shape: tuple[int, ...]
    times: int | None = None
    stacked: bool = False
    reverse: bool = False

    @property
    def entries(self) -> int:
        """How many numbers the value has, in one iteration."""
        total = 1
        for n in self.shape:
            total *= n
        return total


@partial(jax.tree_util.register_dataclass, data_fields=["value", "activation", "delta", "slope", "steepest"],
         meta_fields=[])  # fmt: skip
@dataclass(frozen=True)
class Measures:
    """What is measured at a place, float32; each with an axis for a loop's iterations in front.

    Attributes:
      value: the norm of the value itself, a (the pre-activation).
      activation: the norm of Φ(a); of a where nothing is applied.
      delta: the norm of δ = ∂L/∂a, the cotangent that the backward pass carries there.
      slope: (units,) for each unit, an index along the last axis (of a convolution along its channels, of ``W @ x``
        along the rows of ``W``), the mean of |Φ'(a)| over all the rest, in shares of the largest that Φ' can be;
        ``None`` if only norms were asked for, or nothing is applied.
      steepest: (units,) the largest of |Φ'(a)| instead of the mean: where it is 0, the unit is dead on these data.
    """

    value: Any
    activation: Any
    delta: Any
    slope: Any = None
    steepest: Any = None


@partial(jax.tree_util.register_dataclass, data_fields=["parameter", "gradient", "update"], meta_fields=[])
@dataclass(frozen=True)
class Share:
    """Norms of one parameter, float32 scalars.

    Attributes:
      parameter: of the parameter itself.
      gradient: of ∂L/∂w.
      update: of the optimizer's step; ``None`` without an optimizer.
    """

    parameter: Any
    gradient: Any
    update: Any = None


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["loss", "aux", "grads", "norms", "slopes"],
    meta_fields=["places", "paths", "has_updates"],
)
@dataclass(frozen=True)
class Flow:
    """A backward pass, measured.

    All norms lie in one array: to return fifty numbers from a small step by themselves takes longer than the step.

    Attributes:
      loss: the loss.
      aux: what the loss gave besides, ``None`` without ``has_aux``.
      grads: the gradient, a pytree like the parameters: a step that measures need not differentiate twice.
      norms: (n,) float32, what `measures` and `shares` read, in their order.
      slopes: for each place slope and steepest slope of its units, or a pair of ``None``.
      places: what was measured, in the order of the forward pass.
      paths: of the parameters.
      has_updates: whether the optimizer's updates were measured.
    """

    loss: Any
    aux: Any
    grads: Any
    norms: Any
    slopes: tuple[tuple[Any, Any], ...]
    places: tuple[Place, ...]
    paths: tuple[str, ...]
    has_updates: bool

    @classmethod
    def of(
        cls,
        loss: Any,
        aux: Any,
        grads: Any,
        places: Sequence[Place],
        measures: Sequence[Measures],
        shares: Mapping[str, Share],
    ) -> Flow:
        """A flow of single norms."""
        norms = []
        for place, found in zip(places, measures, strict=True):
            norms += [found.value, *([found.activation] if place.activation else []), found.delta]
        has_updates = any(share.update is not None for share in shares.values())
        for share in shares.values():
            norms += [share.parameter, share.gradient, *([share.update] if has_updates else [])]
        flat = [jnp.asarray(x, jnp.float32).reshape(-1) for x in norms]
        together = jnp.concatenate(flat) if flat else jnp.zeros(0)
        slopes = tuple((found.slope, found.steepest) for found in measures)
        return cls(loss, aux, grads, together, slopes, tuple(places), tuple(shares), has_updates)

    @property
    def measures(self) -> tuple[Measures, ...]:
        """For each place what was measured there."""
        read, made = self._reader(), []
        for place, slopes in zip(self.places, self.slopes, strict=True):
            value = read(place.times)
            activation = read(place.times) if place.activation else value
            made.append(Measures(value, activation, read(place.times), *slopes))
        return tuple(made)

    @property
    def shares(self) -> dict[str, Share]:
        """For each parameter, by its path, its norms."""
        read = self._reader()
        for place in self.places:
            for _ in range(3 if place.activation else 2):
                read(place.times)
        return {path: Share(read(None), read(None), read(None) if self.has_updates else None) for path in self.paths}

    def _reader(self) -> Callable[[int | None], Any]:
        """What reads the norms one after the other: a loop's ``times`` of them, or one."""
        norms = self.norms if isinstance(self.norms, jax.core.Tracer) else np.asarray(self.norms)
        at = 0

        def read(times: int | None) -> Any:
            nonlocal at
            at += times or 1
            return norms[..., at - 1] if times is None else norms[..., at - times : at]

        return read
