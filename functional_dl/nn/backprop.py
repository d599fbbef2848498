"""Backpropagation through dense layers by hand: the post-activation pass (Δ) and the pre-activation pass (δ).

They teach, and check what `functional_dl.grad` finds; notation is that of Aggarwal, Neural Networks and Deep Learning,
sections 3.2.3 and 3.2.4: a are pre-activations, h = Φ(a) post-activations, h₀ = x the inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from functional_dl.nn.activation_derivatives import DERIVATIVES
from functional_dl.nn.activations import ACTIVATIONS

__all__ = ["LOSS_SLOPES", "Backward", "Forward", "forward", "post_activation", "pre_activation"]


class Forward(NamedTuple):
    """What the forward phase leaves.

    Attributes:
      pre: a₁ … a_k of the k layers, each (N, width).
      post: h₀ = x, h₁ … h_k, of which the last is the network's output o.
    """

    pre: tuple[jax.Array, ...]
    post: tuple[jax.Array, ...]


class Backward(NamedTuple):
    """What a backward phase finds.

    Attributes:
      gradient: ∂L/∂w, in the structure of the parameters.
      slopes: of the post-activation pass Δ(h_r) = ∂L/∂h_r for h₀ (the inputs) to h_k; of the pre-activation pass
        δ(h_r) = ∂L/∂a_r for a₁ to a_k.  Each is (N, width), and carries the 1/N of a mean over examples.
    """

    gradient: Any
    slopes: tuple[jax.Array, ...]


def forward(params: Mapping[str, Any], x: Any, activation: str = "relu", output: str = "identity") -> Forward:
    """a_r = h_{r−1} W_r + b_r, h_r = Φ(a_r), layer by layer.

    Args:
      params: those of dense layers as `functional_dl.nn.mlp` has them, ``{"dense_0": {"kernel", "bias"}, …}``; kernels
        are (inputs, outputs), biases may be missing.
      x: (N, …), an example in each row.
      activation: Φ of all layers but the last, by its name in ``ACTIVATIONS``.
      output: Φ of the last.

    Raises:
      ValueError: parameters of other layers; an activation that does not act entry by entry or is unknown.
    """
    layers = _layers(params)
    a, h = [], [jnp.reshape(x, (jnp.shape(x)[0], -1))]
    for layer, name in zip(layers, _activations(len(layers), activation, output), strict=True):
        b = layer["bias"][None] if "bias" in layer else 0
        a.append(h[-1] @ layer["kernel"] + b)
        h.append(ACTIVATIONS[name](a[-1]))
    return Forward(tuple(a), tuple(h))


def post_activation(
    params: Mapping[str, Any],
    x: Any,
    targets: Any,
    loss: str = "cross_entropy",
    activation: str = "relu",
    output: str = "identity",
) -> Backward:
    """Backpropagation along post-activations.

    Δ(o) = ∂L/∂o,   Δ(h_r) = Σ_h Φ'(a_h) w(h_r, h) Δ(h),   ∂L/∂w(h_{r−1}, h_r) = h_{r−1} Φ'(a_{h_r}) Δ(h_r), summed
    over the examples; for biases the same with h_{r−1} = 1.

    Args:
      params, x, activation, output: as for `forward`.
      targets: what the loss compares the output with.
      loss: by its name in `LOSS_SLOPES`, a mean over examples as in `functional_dl.nn.losses`.

    Raises:
      ValueError: as `forward`; an unknown loss.

    Source: Aggarwal, Neural Networks and Deep Learning, section 3.2.3.

    Example:
      >>> import jax, jax.numpy as jnp, functional_dl as fdl, functional_dl.nn as nn
      >>> network = nn.mlp(4, 3, hidden=[5, 6], activation="tanh")
      >>> params, x, labels = network.init(jax.random.key(0)), jnp.eye(4), jnp.array([0, 2, 1, 2])
      >>> found = post_activation(params, x, labels, "cross_entropy", "tanh")
      >>> [slope.shape for slope in found.slopes]
      [(4, 4), (4, 5), (4, 6), (4, 3)]
      >>> due = fdl.grad(lambda params: nn.losses.cross_entropy(network.apply(params, x), labels))(params)
      >>> jax.tree.all(jax.tree.map(lambda a, b: jnp.allclose(a, b, atol=1e-6).item(), found.gradient, due))
      True
    """
    layers, names = _layers(params), _activations(len(params), activation, output)
    a, h = forward(params, x, activation, output)
    slopes = [_slope(loss)(h[-1], targets)]  # Δ(h_r), the last first
    gradients = []
    for r in reversed(range(len(layers))):
        through = DERIVATIVES[names[r]](a[r]) * slopes[-1]
        gradients.append(_gradient(layers[r], h[r], through))
        slopes.append(through @ layers[r]["kernel"].T)
    return Backward(_named(gradients), tuple(reversed(slopes)))


def pre_activation(
    params: Mapping[str, Any],
    x: Any,
    targets: Any,
    loss: str = "cross_entropy",
    activation: str = "relu",
    output: str = "identity",
) -> Backward:
    """Backpropagation along pre-activations.

    δ(o) = Φ'(a_o) ∂L/∂o,   δ(h_r) = Φ'(a_{h_r}) Σ_h w(h_r, h) δ(h),   ∂L/∂w(h_{r−1}, h_r) = h_{r−1} δ(h_r), summed over
    the examples; for biases the same with h_{r−1} = 1.  With softmax and cross-entropy, which here are the loss of the
    logits a_o, δ(o) = softmax(a_o) − y.

    Arguments and errors are those of `post_activation`.

    Source: Aggarwal, Neural Networks and Deep Learning, section 3.2.4.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"dense_0": {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}}
      >>> found = pre_activation(params, jnp.array([[1.0, -2.0]]), jnp.array([0]))
      >>> print(found.slopes[0], found.gradient["dense_0"]["kernel"].tolist())  # softmax (0.5, 0.5) − (1, 0)
      [[-0.5  0.5]] [[-0.5, 0.5], [1.0, -1.0]]
    """
    layers, names = _layers(params), _activations(len(params), activation, output)
    a, h = forward(params, x, activation, output)
    slopes = [DERIVATIVES[names[-1]](a[-1]) * _slope(loss)(h[-1], targets)]  # δ(h_r), the last first
    for r in reversed(range(1, len(layers))):
        slopes.append(DERIVATIVES[names[r - 1]](a[r - 1]) * (slopes[-1] @ layers[r]["kernel"].T))
    gradients = [_gradient(layers[r], h[r], slopes[-1 - r]) for r in reversed(range(len(layers)))]
    return Backward(_named(gradients), tuple(reversed(slopes)))


def _squared_error(o: Any, targets: Any) -> Any:
    """2 (o − t), over the number of entries."""
    return 2 * (o - jnp.reshape(targets, o.shape)) / o.size


def _softmax_cross_entropy(o: Any, probabilities: Any) -> Any:
    """softmax(o) − y, over the number of examples."""
    return (jax.nn.softmax(o, axis=-1) - probabilities) / o.shape[0]


def _cross_entropy(o: Any, labels: Any) -> Any:
    return _softmax_cross_entropy(o, jax.nn.one_hot(labels, o.shape[-1], dtype=o.dtype))


def _binary_cross_entropy(o: Any, targets: Any) -> Any:
    """σ(o) − t, over the number of entries."""
    return (jax.nn.sigmoid(o) - jnp.reshape(targets, o.shape)) / o.size


LOSS_SLOPES: dict[str, Callable[[Any, Any], Any]] = {
    "squared_error": _squared_error,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
}
"""∂L/∂o of losses in `functional_dl.nn.losses` by name: functions of the network's output o and the targets."""


def _slope(loss: str) -> Callable[[Any, Any], Any]:
    if loss not in LOSS_SLOPES:
        raise ValueError(f"backprop: loss is {loss!r}; those with a slope are {', '.join(LOSS_SLOPES)}.")
    return LOSS_SLOPES[loss]


def _gradient(layer: Mapping[str, Any], h: Any, through: Any) -> dict[str, Any]:
    """Of a layer's parameters, from its inputs h_{r−1} (N, inputs) and ∂L/∂a_r (N, outputs)."""
    gradient = {"kernel": h.T @ through}
    return {**gradient, "bias": jnp.sum(through, axis=0)} if "bias" in layer else gradient


def _named(gradients: Sequence[Any]) -> dict[str, Any]:
    """The last layer's first."""
    return {f"dense_{r}": gradient for r, gradient in enumerate(reversed(gradients))}


def _layers(params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    names = [f"dense_{r}" for r in range(len(params))]
    if not names or set(names) != set(params) or any("kernel" not in params[name] for name in names):
        raise ValueError(
            f"backprop differentiates dense layers alone, dense_0, dense_1, … with a kernel each; it got "
            f"{', '.join(params) or 'none'}. For other layers take functional_dl.grad."
        )
    return [params[name] for name in names]


def _activations(count: int, activation: str, output: str) -> list[str]:
    for name in (activation, output):
        if name not in ACTIVATIONS or name not in DERIVATIVES:
            raise ValueError(
                f"backprop: {name!r} is not among the activations that act entry by entry and have no parameters of "
                f"their own: {', '.join(DERIVATIVES)}. For others take functional_dl.grad."
            )
    return [*[activation] * (count - 1), output]
