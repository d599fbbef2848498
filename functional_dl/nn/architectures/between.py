"""What stands between an architecture's layers, as named parts for `serial`; what is off leaves no name behind."""

from __future__ import annotations

from functional_dl.nn.activations import ACTIVATIONS, maxout, parametric_relu
from functional_dl.nn.batch_norm import batch_norm
from functional_dl.nn.dropout import dropout
from functional_dl.nn.network import Network, function
from functional_dl.traced import is_zero

__all__ = ["activated", "dropped", "normed", "widened"]


def widened(activation: str, channels: int, pieces: int) -> int:
    """How many features the layer before an activation makes, so that ``channels`` come out of it."""
    return channels * pieces if activation == "maxout" else channels


def activated(name: str, activation: str, channels: int, pieces: int = 1) -> dict[str, Network]:
    """An activation under ``name``: one of `ACTIVATIONS`, ``"parametric_relu"`` or ``"maxout"``.

    Raises:
      ValueError: no activation is called that.
    """
    if activation == "maxout":
        return {name: maxout(pieces)}
    if activation == "parametric_relu":
        return {name: parametric_relu(channels)}
    if activation not in ACTIVATIONS:
        known = ", ".join((*ACTIVATIONS, "parametric_relu", "maxout"))
        raise ValueError(f"unknown activation {activation!r}; known: {known}.")
    return {name: function(ACTIVATIONS[activation])}


def dropped(name: str, rate: float) -> dict[str, Network]:
    """Dropout under ``name``, unless its rate is known to be 0."""
    return {} if is_zero(rate) else {name: dropout(rate)}


def normed(name: str, channels: int, wanted: bool) -> dict[str, Network]:
    """Batch norm under ``name``, if it is wanted."""
    return {name: batch_norm(channels)} if wanted else {}
