"""Networks as pairs of pure functions over parameter pytrees; this package knows nothing of differentiation."""

from functional_dl.nn import activations, backprop, initializers, losses, shared_weights
from functional_dl.nn.activations import ACTIVATIONS, maxout, parametric_relu
from functional_dl.nn.architectures import ARCHITECTURES, autoencoder, cnn, mlp, resnet, rnn, transformer
from functional_dl.nn.attention import block, rotate, self_attention, swiglu
from functional_dl.nn.batch_norm import batch_norm
from functional_dl.nn.convolution import convolution, transposed_convolution
from functional_dl.nn.dense import dense, embedding
from functional_dl.nn.dropout import dropout
from functional_dl.nn.initializers import INITIALIZERS
from functional_dl.nn.losses import LOSSES
from functional_dl.nn.network import Mode, Network, flatten, function, layer, residual, serial
from functional_dl.nn.normalization import group_norm, layer_norm, rms_norm
from functional_dl.nn.pooling import average_pool, global_average_pool, max_pool
from functional_dl.nn.recurrent import CELLS, Cell, bidirectional, gru_cell, lstm_cell, recurrent, vanilla_cell
from functional_dl.nn.repetition import repeated

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "CELLS",
    "INITIALIZERS",
    "LOSSES",
    "Cell",
    "Mode",
    "Network",
    "activations",
    "autoencoder",
    "average_pool",
    "backprop",
    "batch_norm",
    "bidirectional",
    "block",
    "cnn",
    "convolution",
    "dense",
    "dropout",
    "embedding",
    "flatten",
    "function",
    "global_average_pool",
    "group_norm",
    "gru_cell",
    "initializers",
    "layer",
    "layer_norm",
    "losses",
    "lstm_cell",
    "max_pool",
    "maxout",
    "mlp",
    "parametric_relu",
    "recurrent",
    "repeated",
    "residual",
    "resnet",
    "rms_norm",
    "rnn",
    "rotate",
    "self_attention",
    "serial",
    "shared_weights",
    "swiglu",
    "transformer",
    "transposed_convolution",
    "vanilla_cell",
]  # fmt: skip
