"""Gradients of shared weights by hand, ∂L/∂w = Σᵢ ∂L/∂wᵢ: tied autoencoder, convolution, recurrent network.

A weight that is used T times is taken for T independent ones; their gradients add up (Aggarwal, Neural Networks and
Deep Learning, section 3.2.9).  Every function here returns both, so that the terms of the sum can be looked at; that
costs T times the memory that `functional_dl.grad` takes.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from functional_dl.nn.activation_derivatives import DERIVATIVES
from functional_dl.nn.activations import ACTIVATIONS
from functional_dl.nn.backprop import pre_activation

__all__ = ["Shared", "convolution_gradient", "recurrent_gradient", "tied_autoencoder_gradient"]


class Shared(NamedTuple):
    """A gradient, and the terms that it is the sum of.

    Attributes:
      gradient: ∂L/∂w, in the structure of the parameters.
      uses: ∂L/∂wᵢ, in the same structure, with leading axes over the uses.
    """

    gradient: Any
    uses: Any


def tied_autoencoder_gradient(
    params: Mapping[str, Any], x: Any, loss: str = "squared_error", activation: str = "tanh"
) -> Shared:
    """Of a tied autoencoder's parameters, whose kernel is used twice: x → Φ(x W₁ + b) → h W₂ᵀ + c with W₁ = W₂ = W.

    As a dense network with kernels W₁ … and … W₂ᵀ of their own, by the pre-activation pass.

    Args:
      params: those of `functional_dl.nn.autoencoder` if tied: ``kernel`` (inputs, code), ``encoder_bias`` and
        ``decoder_bias``; of more layers one such dict each, ``layer_0`` and so on.
      x: (N, …), both input and target.
      loss: by its name in `functional_dl.nn.backprop.LOSS_SLOPES`.
      activation: Φ of all layers but the decoder's last.

    Returns:
      A `Shared`; the uses of a kernel are (2, inputs, code), the encoder's and the decoder's.  Biases have one use.

    Raises:
      ValueError: parameters of another network.

    Example:
      >>> import jax, jax.numpy as jnp, functional_dl.nn as nn
      >>> params = nn.autoencoder(6, code=2).init(jax.random.key(0))
      >>> found = tied_autoencoder_gradient(params, jnp.ones((3, 6)))
      >>> found.uses["kernel"].shape, jnp.allclose(found.uses["kernel"].sum(0), found.gradient["kernel"]).item()
      ((2, 6, 2), True)
    """
    names = [f"layer_{i}" for i in range(len(params))]
    layers = [params[name] for name in names] if set(names) == set(params) else [params]
    for layer in layers:
        if set(layer) != {"kernel", "encoder_bias", "decoder_bias"}:
            raise ValueError(
                f"tied_autoencoder_gradient got a layer with {', '.join(layer)}; due are kernel, encoder_bias and "
                "decoder_bias. Where the decoder has kernels of its own nothing is shared: take functional_dl.grad."
            )
    n = len(layers)
    untied = [{"kernel": layer["kernel"], "bias": layer["encoder_bias"]} for layer in layers]
    untied += [{"kernel": layer["kernel"].T, "bias": layer["decoder_bias"]} for layer in reversed(layers)]
    flat = jnp.reshape(x, (jnp.shape(x)[0], -1))
    dense = {f"dense_{r}": layer for r, layer in enumerate(untied)}
    found = list(pre_activation(dense, flat, flat, loss, activation).gradient.values())
    uses = [
        {
            "kernel": jnp.stack([encoder["kernel"], decoder["kernel"].T]),
            "encoder_bias": encoder["bias"][None],
            "decoder_bias": decoder["bias"][None],
        }
        for encoder, decoder in zip(found[:n], reversed(found[n:]), strict=True)
    ]
    return _summed(uses[0] if "kernel" in params else dict(zip(names, uses, strict=True)), axes=1)


def convolution_gradient(
    params: Mapping[str, Any],
    x: Any,
    output_slope: Any,
    stride: int | Sequence[int] = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    dilation: int | Sequence[int] = 1,
) -> Shared:
    """Of a convolution's parameters, which are used at each position p: ∂L/∂W = Σ_p Σ_n patch(x_n, p)ᵀ ∂L/∂y_{n,p}.

    Args:
      params: those of `functional_dl.nn.convolution` with one group: ``kernel`` (…window, inputs, outputs), over one
        axis of space or two, and ``bias`` if there is one.
      x: (N, …space, inputs).
      output_slope: ∂L/∂y, (N, …positions, outputs).
      stride, dilation: a number, or one for each axis.
      padding: ``"SAME"``, ``"VALID"`` or pairs.

    Returns:
      A `Shared`; ``uses["kernel"]`` is (…positions, …window, inputs, outputs), ``uses["bias"]`` (…positions, outputs).

    Raises:
      ValueError: shapes that do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> params, x = {"kernel": jnp.ones((2, 1, 1))}, jnp.array([[[1.0], [2.0], [3.0]]])
      >>> found = convolution_gradient(params, x, jnp.array([[[1.0], [10.0]]]), padding="VALID")
      >>> found.uses["kernel"][..., 0, 0].tolist(), found.gradient["kernel"][:, 0, 0].tolist()
      ([[1.0, 2.0], [20.0, 30.0]], [21.0, 32.0])
    """
    kernel = params["kernel"]
    window, axes = kernel.shape[:-2], kernel.ndim - 2
    strides, dilations = ((s,) * axes if isinstance(s, int) else tuple(s) for s in (stride, dilation))
    if x.ndim != axes + 2 or x.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            f"convolution_gradient got inputs {x.shape} for a kernel {kernel.shape}; due is (N, {axes} axes of space, "
            f"{kernel.shape[-2]}). A convolution in groups is one of several convolutions."
        )
    spans = [(k - 1) * d + 1 for k, d in zip(window, dilations, strict=True)]
    pads = lax.padtype_to_pads(x.shape[1:-1], spans, strides, padding) if isinstance(padding, str) else padding
    patches = jnp.pad(x, [(0, 0), *pads, (0, 0)])
    positions = []
    for axis, (k, span, s, d) in enumerate(zip(window, spans, strides, dilations, strict=True)):
        size = patches.shape[1 + 2 * axis]
        positions.append((size - span) // s + 1)
        entries = s * np.arange(positions[-1])[:, None] + d * np.arange(k)[None, :]
        patches = jnp.take(patches, entries, axis=1 + 2 * axis)  # an axis of space becomes positions and window
    due = (x.shape[0], *positions, kernel.shape[-1])
    if output_slope.shape != due:
        raise ValueError(f"convolution_gradient got an output_slope {output_slope.shape}; the output is {due}.")
    p, w = string.ascii_lowercase[:axes], string.ascii_uppercase[:axes]
    pairs = "".join(itertools.chain(*zip(p, w, strict=True)))
    uses = {"kernel": jnp.einsum(f"n{pairs}i,n{p}o->{p}{w}io", patches, output_slope)}
    if "bias" in params:
        uses["bias"] = jnp.sum(output_slope, axis=0)
    return _summed(uses, axes)


def recurrent_gradient(params: Mapping[str, Any], x: Any, state_slope: Any, activation: str = "tanh") -> Shared:
    """Of a simple recurrent network's parameters, which are used at each time: backpropagation through time.

    h_t = Φ(a_t), a_t = x_t U + h_{t−1} W + b from h₀ = 0;   δ_t = Φ'(a_t) (∂L/∂h_t + δ_{t+1} Wᵀ);   at time t,
    ∂L/∂U = x_tᵀ δ_t, ∂L/∂W = h_{t−1}ᵀ δ_t, ∂L/∂b = Σ_n δ_t.

    Args:
      params: those of `functional_dl.nn.vanilla_cell`: ``input_kernel`` (I, H), ``recurrent_kernel`` (H, H), ``bias``.
      x: (N, T, I).
      state_slope: ∂L/∂h_T, (N, H), where the loss reads the last state; or the loss's own ∂L/∂h_t of all, (N, T, H).
      activation: Φ.

    Returns:
      A `Shared`; the uses' leading axis is time.

    Raises:
      ValueError: shapes that do not fit.

    Source: Aggarwal, Neural Networks and Deep Learning, sections 3.2.9 and 7.2.2; Werbos 1990.

    Example:
      >>> import jax.numpy as jnp
      >>> one = jnp.ones((1, 1))
      >>> params = {"input_kernel": one, "recurrent_kernel": 2 * one, "bias": jnp.zeros(1)}
      >>> found = recurrent_gradient(params, jnp.ones((1, 3, 1)), one, activation="identity")
      >>> found.uses["input_kernel"][:, 0, 0].tolist(), found.gradient["input_kernel"].item()
      ([4.0, 2.0, 1.0], 7.0)
    """
    inner, outer, bias = params["recurrent_kernel"], params["input_kernel"], params["bias"]
    n, times, width = x.shape[0], x.shape[1], inner.shape[0]
    if state_slope.shape == (n, width):
        state_slope = jnp.zeros((n, times, width), state_slope.dtype).at[:, -1].set(state_slope)
    if state_slope.shape != (n, times, width):
        raise ValueError(
            f"recurrent_gradient got a state_slope {state_slope.shape}; due is {(n, width)}, or {(n, times, width)}."
        )
    states, before = [jnp.zeros((n, width), x.dtype)], []
    for t in range(times):
        before.append(x[:, t] @ outer + states[-1] @ inner + bias[None])
        states.append(ACTIVATIONS[activation](before[-1]))
    delta = jnp.zeros((n, width), x.dtype)
    uses = []
    for t in reversed(range(times)):
        delta = DERIVATIVES[activation](before[t]) * (state_slope[:, t] + delta @ inner.T)
        uses.append(
            {
                "input_kernel": x[:, t].T @ delta,
                "recurrent_kernel": states[t].T @ delta,
                "bias": jnp.sum(delta, axis=0),
            }
        )
    return _summed(jax.tree.map(lambda *terms: jnp.stack(terms), *reversed(uses)), axes=1)


def _summed(uses: Any, axes: int) -> Shared:
    return Shared(jax.tree.map(lambda terms: jnp.sum(terms, axis=tuple(range(axes))), uses), uses)
