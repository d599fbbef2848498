"""Networks that read images, channels last: a plain convolutional one, and residual ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from functional_dl.nn.architectures.between import activated, dropped, normed, widened
from functional_dl.nn.batch_norm import batch_norm
from functional_dl.nn.convolution import convolution
from functional_dl.nn.dense import dense
from functional_dl.nn.network import Network, flatten, function, residual, serial
from functional_dl.nn.pooling import global_average_pool, max_pool

__all__ = ["cnn", "resnet"]

# Images from this side on are halved twice before the first block, where nearly all work would be otherwise.
LARGE = 96


def cnn(
    shape: Sequence[int],
    outputs: int,
    channels: Sequence[int] = (16, 32),
    hidden: int = 64,
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
    pieces: int = 2,
) -> Network:
    """Convolutions 3×3, each followed by pooling 2×2, then two dense layers: (N, H, W[, C]) → (N, outputs).

    Args:
      shape: (H, W) or (H, W, C).
      outputs: entries of what is made of an image, not activated.
      channels: of each convolution.
      hidden: the width of the first dense layer.
      activation: of convolutions and of the first dense layer: a name in `ACTIVATIONS`, ``"parametric_relu"`` or
        ``"maxout"``.
      dropout: the share dropped in training of what each of the dense layers reads (Srivastava et al. 2014).
      batch_norm: whether convolutions are normalised over the batch before their activation (Ioffe & Szegedy 2015);
        they then have no bias of their own.
      pieces: of maxout.

    Raises:
      ValueError: an image too small to be halved so often, an unknown activation.
    """
    height, width, depth = _sizes("cnn", shape)
    parts = {"image": _image()}
    for i, m in enumerate(channels):
        made = widened(activation, m, pieces)
        parts[f"convolution_{i}"] = convolution(depth, made, bias=not batch_norm)
        parts |= normed(f"norm_{i}", made, batch_norm)
        parts |= activated(f"activation_{i}", activation, m, pieces)
        parts[f"pool_{i}"] = max_pool(2)
        height, width, depth = height // 2, width // 2, m
    if not height * width:
        raise ValueError(f"cnn: an image of {tuple(shape)} cannot be halved {len(channels)} times.")
    return serial(
        **parts,
        flatten=flatten(),
        **dropped("dropout_flat", dropout),
        dense=dense(height * width * depth, widened(activation, hidden, pieces)),
        **activated("activation", activation, hidden, pieces),
        **dropped("dropout", dropout),
        head=dense(hidden, outputs),
    )


def resnet(
    shape: Sequence[int],
    outputs: int,
    blocks: Sequence[int] = (3, 3, 3),
    width: int = 16,
    bottleneck: bool = False,
    stem: Literal["auto", "small", "large"] = "auto",
    activation: str = "relu",
    dropout: float = 0.0,
) -> Network:
    """A residual network (He et al. 2016) with batch norm: (N, H, W[, C]) → (N, outputs).

    As it stands it is the paper's ResNet-20 for small images (section 4.2); ``blocks=(2, 2, 2, 2), width=64`` are the
    stages of ResNet-18 and ``blocks=(3, 4, 6, 3), width=64, bottleneck=True`` those of ResNet-50 (table 1).  Each stage
    but the first halves the image and doubles the width.  Where a block changes the shape its shortcut is a 1×1
    convolution with batch norm (option B of the paper); a bottleneck halves at its 3×3 convolution, as PyTorch's does,
    not at the first 1×1 one.  Convolutions have no bias.

    Args:
      shape: (H, W) or (H, W, C).
      outputs: entries of what is made of an image.
      blocks: how many in each stage.
      width: of the first stage; bottlenecks give out four times as much.
      bottleneck: blocks of 1×1, 3×3 and 1×1 convolutions instead of two of 3×3.
      stem: what comes before the stages: ``"small"``, a 3×3 convolution; ``"large"``, one of 7×7 and maxima over 3×3,
        which halve the image each; ``"auto"``, large where both sides have 96 pixels or more.
      activation: as for `cnn`, without maxout.
      dropout: the share dropped in training of what the dense layer reads.

    Example:
      >>> import jax, functional_dl.nn as nn
      >>> from functional_dl.trees import count
      >>> network = nn.ARCHITECTURES["resnet"]((224, 224, 3), 1000, blocks=(3, 4, 6, 3), width=64, bottleneck=True)
      >>> count(jax.eval_shape(network.init, jax.random.key(0)))
      25557032
    """
    if activation == "maxout":
        raise ValueError("resnet: maxout changes the number of channels; it has no place in a residual block.")
    height, across, depth = _sizes("resnet", shape)
    if stem not in ("auto", "small", "large"):
        raise ValueError(f"resnet: unknown stem {stem!r}; known: auto, small, large.")
    large = stem == "large" or (stem == "auto" and min(height, across) >= LARGE)
    window, stride = (7, 2) if large else (3, 1)
    first = _convolved("", depth, width, window, stride, activation)
    pool = {"pool": max_pool(3, stride=2, padding="SAME")} if large else {}
    parts = {"image": _image(), "stem": serial(**first, **pool)}
    depth = width
    for i, count in enumerate(blocks):
        stage = {}
        for j in range(count):
            stage[f"block_{j}"], depth = _block(depth, width * 2**i, 2 if i and not j else 1, bottleneck, activation)
        parts[f"stage_{i}"] = serial(**stage)
    return serial(**parts, pool=global_average_pool(), **dropped("dropout", dropout), head=dense(depth, outputs))


def _sizes(who: str, shape: Sequence[int]) -> tuple[int, int, int]:
    if len(shape) not in (2, 3):
        raise ValueError(f"{who}: shape = {tuple(shape)}; due is (height, width) or (height, width, channels).")
    height, width, depth = (*shape, 1)[:3]
    return height, width, depth


def _image() -> Network:
    """Grey images get their one channel."""
    return function(lambda x: x if x.ndim == 4 else x[..., None])


def _convolved(
    suffix: str, inputs: int, outputs: int, window: int, stride: int, activation: str | None
) -> dict[str, Network]:
    """A convolution, batch norm, and the activation if there is one."""
    parts = {
        f"convolution{suffix}": convolution(inputs, outputs, window, stride=stride, bias=False),
        f"norm{suffix}": batch_norm(outputs),
    }
    return parts | (activated(f"activation{suffix}", activation, outputs) if activation else {})


def _block(inputs: int, width: int, stride: int, bottleneck: bool, activation: str) -> tuple[Network, int]:
    """A residual block and the channels that it gives out."""
    outputs = 4 * width if bottleneck else width
    if bottleneck:
        inner: dict[str, Any] = {
            **_convolved("_0", inputs, width, 1, 1, activation),
            **_convolved("_1", width, width, 3, stride, activation),
            **_convolved("_2", width, outputs, 1, 1, None),
        }
    else:
        inner = {
            **_convolved("_0", inputs, width, 3, stride, activation),
            **_convolved("_1", width, width, 3, 1, None),
        }
    same = stride == 1 and inputs == outputs
    shortcut = None if same else serial(**_convolved("", inputs, outputs, 1, stride, None))
    return serial(sum=residual(serial(**inner), shortcut), **activated("activation", activation, outputs)), outputs
