"""Convolution over one to three axes, and its transpose; channels last."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from functional_dl.nn.axes import Padding, PerAxis, along_channels, check_space, fit, per_axis
from functional_dl.nn.initializers import Initializer, he_normal
from functional_dl.nn.network import Network, layer

__all__ = ["convolution", "transposed_convolution"]

LAYOUTS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def convolution(
    inputs: int,
    outputs: int,
    window: PerAxis = 3,
    dimensions: int = 2,
    stride: PerAxis = 1,
    padding: Padding = "SAME",
    groups: int = 1,
    dilation: PerAxis = 1,
    bias: bool = True,
    init: Initializer = he_normal,
) -> Network:
    """y[n, i, o] = b[o] + Σ x[n, i·stride + k·dilation − padding, c] W[k, c, o]: (N, …, inputs) → (N, …', outputs).

    ``kernel`` is (…window, inputs/groups, outputs): the outputs of a group, which stand together, see its inputs only.
    What is called convolution in this field is correlation: the kernel is not turned round.

    Args:
      window, stride, dilation: a number, or one for each axis.
      dimensions: axes of space, 1 to 3.
      padding: ``"SAME"`` (⌈size/stride⌉ outputs), ``"VALID"``, a number for both ends of all axes, or pairs.
      init: draws the kernel of each group apart, so that fan-in and fan-out are those of its own.

    Raises:
      ValueError: a setting out of range; groups that do not divide inputs and outputs; an input of another shape, or
        too small for one window.

    Example:
      >>> import jax, functional_dl.nn as nn
      >>> network = nn.convolution(16, 33, window=(3, 5), stride=(2, 1), padding=[(4, 4), (2, 2)], dilation=(3, 1))
      >>> params = network.init(jax.random.key(0))
      >>> jax.eval_shape(network.apply, params, jax.ShapeDtypeStruct((20, 50, 100, 16), "float32")).shape
      (20, 26, 100, 33)
    """
    sizes = per_axis("convolution", "window", window, dimensions)
    strides = per_axis("convolution", "stride", stride, dimensions)
    dilations = per_axis("convolution", "dilation", dilation, dimensions)
    spans = [(k - 1) * d + 1 for k, d in zip(sizes, dilations, strict=True)]
    if groups < 1 or inputs % groups or outputs % groups:
        raise ValueError(f"convolution: {inputs} inputs and {outputs} outputs are not divisible into {groups} groups.")

    def make(key: Any) -> Any:
        shape = (*sizes, inputs // groups, outputs // groups)
        if groups == 1:
            kernel = init(key, shape)
        else:
            kernel = jnp.concatenate(jax.vmap(lambda k: init(k, shape))(jax.random.split(key, groups)), axis=-1)
        return {"kernel": kernel, "bias": jnp.zeros(outputs)} if bias else {"kernel": kernel}

    def apply(params: Any, x: Any) -> Any:
        check_space("convolution", x, dimensions, inputs)
        y = lax.conv_general_dilated(
            *_alike(x, params["kernel"]),
            strides,
            fit("convolution", padding, x.shape[1:-1], spans, strides),
            rhs_dilation=dilations,
            dimension_numbers=LAYOUTS[dimensions],
            feature_group_count=groups,
        )
        return y + along_channels(params["bias"], y.ndim) if bias else y

    return layer(make, apply)


def transposed_convolution(
    inputs: int,
    outputs: int,
    window: PerAxis = 3,
    dimensions: int = 2,
    stride: PerAxis = 1,
    padding: str = "SAME",
    bias: bool = True,
    init: Initializer = he_normal,
) -> Network:
    """y[n, i·stride + k − padding, o] += x[n, i, c] W[k, c, o]: (N, …, inputs) → (N, …', outputs), upwards in size.

    The transpose, as a linear map, of the convolution outputs → inputs with the same settings and the kernel's channels
    swapped (Zeiler et al. 2010). Without bias, sizes are n · stride for ``"SAME"`` and (n − 1) stride + window for
    ``"VALID"`` (PyTorch's ``padding=0``).

    Raises:
      ValueError: as `convolution`.
    """
    who = "transposed_convolution"
    sizes = per_axis(who, "window", window, dimensions)
    strides = per_axis(who, "stride", stride, dimensions)
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"{who}: padding = {padding!r}; due is 'SAME' or 'VALID'.")
    pads = []
    for k, s in zip(sizes, strides, strict=True):
        # What the convolution from n · s entries to n adds before the first of them.
        before = max(k - s, 0) // 2 if padding == "SAME" else 0
        low = k - 1 - before
        pads.append((low, k + s - 2 - low if padding == "SAME" else k - 1))

    def make(key: Any) -> Any:
        params = {"kernel": init(key, (*sizes, inputs, outputs))}
        return {**params, "bias": jnp.zeros(outputs)} if bias else params

    def apply(params: Any, x: Any) -> Any:
        check_space(who, x, dimensions, inputs)
        y = lax.conv_general_dilated(
            *_alike(x, jnp.flip(params["kernel"], range(dimensions))),
            (1,) * dimensions,
            pads,
            lhs_dilation=strides,
            dimension_numbers=LAYOUTS[dimensions],
        )
        return y + along_channels(params["bias"], y.ndim) if bias else y

    return layer(make, apply)


def _alike(x: Any, kernel: Any) -> tuple[Any, Any]:
    """Both in one dtype, which `lax` insists on and `jnp` sees to by itself."""
    dtype = jnp.result_type(x, kernel)
    return x.astype(dtype), kernel.astype(dtype)
