"""Whole networks by name, as configs ask for them."""

from __future__ import annotations

from collections.abc import Callable

from functional_dl.nn.architectures.flat import autoencoder, mlp
from functional_dl.nn.architectures.images import cnn, resnet
from functional_dl.nn.architectures.sequences import rnn, transformer
from functional_dl.nn.network import Network

__all__ = ["ARCHITECTURES", "autoencoder", "cnn", "mlp", "resnet", "rnn", "transformer"]

ARCHITECTURES: dict[str, Callable[..., Network]] = {
    f.__name__: f for f in (mlp, cnn, resnet, rnn, autoencoder, transformer)
}
