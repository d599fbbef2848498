"""Networks as pairs of pure functions over parameter pytrees; this package knows nothing of differentiation."""

from functional_dl.nn import activations, initializers, losses
from functional_dl.nn.architectures import ARCHITECTURES, autoencoder, cnn, mlp, rnn, transformer
from functional_dl.nn.attention import self_attention
from functional_dl.nn.convolution import average_pool, convolution, max_pool
from functional_dl.nn.dense import dense, embedding
from functional_dl.nn.network import Network, flatten, function, residual, serial
from functional_dl.nn.normalization import layer_norm
from functional_dl.nn.recurrent import gru_cell, recurrent, vanilla_cell

__all__ = [
    "ARCHITECTURES", "Network", "activations", "autoencoder", "average_pool", "cnn", "convolution", "dense",
    "embedding", "flatten", "function", "gru_cell", "initializers", "layer_norm", "losses", "max_pool", "mlp",
    "recurrent", "residual", "rnn", "self_attention", "serial", "transformer", "vanilla_cell",
]  # fmt: skip
