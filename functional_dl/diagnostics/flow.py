"""What is measured of a backward pass, layer by layer: a pytree of norms that can be returned from a jitted step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax

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
    """

    name: str
    kind: Literal["layer", "named"]
    parameters: tuple[str, ...]
    line: str
    activation: str
    shape: tuple[int, ...]
    times: int | None = None
    stacked: bool = False

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
    data_fields=["loss", "aux", "grads", "measures", "shares"],
    meta_fields=["places"],
)
@dataclass(frozen=True)
class Flow:
    """A backward pass, measured.

    Attributes:
      loss: the loss.
      aux: what the loss gave besides, ``None`` without ``has_aux``.
      grads: the gradient, a pytree like the parameters: a step that measures need not differentiate twice.
      places: what was measured, in the order of the forward pass.
      measures: for each place.
      shares: for each parameter, by its path.
    """

    loss: Any
    aux: Any
    grads: Any
    places: tuple[Place, ...]
    measures: tuple[Measures, ...]
    shares: Mapping[str, Share]
