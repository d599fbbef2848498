"""One training step as one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from functional_dl.autodiff.transforms import value_and_grad
from functional_dl.nn import Network
from functional_dl.nn.losses import is_weight
from functional_dl.optim import Optimizer, State
from functional_dl.traced import is_traced
from functional_dl.trees import global_norm, path_name

__all__ = ["Training", "begin", "network_step", "train_step"]


class Training(NamedTuple):
    """All that a training of a network carries from step to step.

    Attributes:
      optimizer: the optimizer's state, which holds the parameters.
      network: the network's state, such as batch norm's statistics.
      key: what each step's random numbers are made from, together with ``steps``.
      steps: int32, how many batches were seen.
    """

    optimizer: State
    network: Any
    key: jax.Array
    steps: jax.Array


def begin(network: Network, optimizer: Optimizer, seed: Any, dtype: Any = None, scale: Any = 1.0) -> Training:
    """The first state of a training, everything in it from ``seed``.

    Args:
      network, optimizer: of what.
      seed: a whole number below 2³², or a traced one of uint32, which gives the same state.
      dtype: of the parameters; ``None``: their own.
      scale: by what initial kernels are multiplied: what has two axes or more and is no stack of biases or gains.
    """
    key = jax.random.key(seed)
    params = network.init(key)
    if is_traced(scale) or scale != 1:
        params = jax.tree_util.tree_map_with_path(partial(_scaled, scale), params)
    if dtype is not None:
        params = jax.tree.map(lambda x: x.astype(dtype), params)
    # `init` splits the key into its layers'; the number is far from theirs.
    return Training(optimizer.init(params), network.state(), jax.random.fold_in(key, 2**31), jnp.zeros((), jnp.int32))


def _scaled(scale: Any, path: Any, leaf: Any) -> Any:
    kernel = jnp.ndim(leaf) >= 2 and is_weight(path_name(path), leaf)
    return leaf * jnp.asarray(scale, leaf.dtype) if kernel else leaf


def train_step(
    loss: Callable[..., Any], optimizer: Optimizer, has_aux: bool = False, memory: str | int = "auto"
) -> Callable[[State, tuple[Any, ...]], tuple[State, dict[str, Any]]]:
    """Compile ``(state, batch) -> (state, metrics)`` on our own reverse mode; the state given is donated.

    Args:
      loss: ``loss(params, *batch) -> scalar``, or with ``has_aux`` a pair of it and a dict of further metrics.
      optimizer: whose ``update`` makes the new state, from the gradient at its ``eval_params``.
      has_aux: whether ``loss`` returns such a pair.
      memory: what is kept of the forward for the backward, as in `functional_dl.value_and_grad`: ``"auto"``,
        ``"keep"``, ``"least"``, or the bytes that intermediates may take.

    Returns:
      The jitted step.  Metrics: ``loss``, ``gradient_norm``, ``update_ratio`` (norm of the parameters' change over
      their norm), and those of the loss.  Its first call raises `BudgetError` if ``memory`` is a number of bytes that
      cannot be met.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> from functional_dl.training import train_step
      >>> optimizer = optim.sgd(0.5)
      >>> step = train_step(lambda w, x: jnp.sum((w - x) ** 2) / 2, optimizer)
      >>> state, metrics = step(optimizer.init(jnp.zeros(2)), (jnp.ones(2),))
      >>> print(state.params, metrics["loss"])
      [0.5 0.5] 1.0
    """

    def with_metrics(params: Any, *batch: Any) -> tuple[Any, Any]:
        return loss(params, *batch) if has_aux else (loss(params, *batch), {})

    move = _mover(with_metrics, optimizer, memory)

    def step(state: State, batch: tuple[Any, ...]) -> tuple[State, dict[str, Any]]:
        new, metrics, extra = move(state, *batch)
        return new, {**metrics, **extra}

    return jax.jit(step, donate_argnums=0)


def network_step(
    loss: Callable[..., Any], optimizer: Optimizer, memory: str | int = "auto"
) -> Callable[[Training, tuple[Any, ...]], tuple[Training, dict[str, Any]]]:
    """Compile ``(training, batch) -> (training, metrics)`` for a network that has a state or draws random numbers.

    Args:
      loss: ``loss(params, network_state, key, *batch) -> (scalar, (new network_state, metrics))``; the key is this
        step's own.
      optimizer, memory: as of `train_step`, whose metrics it also gives.
    """
    move = _mover(loss, optimizer, memory)

    def step(training: Training, batch: tuple[Any, ...]) -> tuple[Training, dict[str, Any]]:
        key = jax.random.fold_in(training.key, training.steps)
        state, metrics, (network, extra) = move(training.optimizer, training.network, key, *batch)
        return Training(state, network, training.key, training.steps + 1), {**metrics, **extra}

    return jax.jit(step, donate_argnums=0)


def _mover(loss: Callable[..., Any], optimizer: Optimizer, memory: str | int) -> Callable[..., Any]:
    """``(state, *args) -> (new state, metrics, what the loss gave besides)``."""

    def scaled(params: Any, factor: Any, *args: Any) -> tuple[Any, Any]:
        value, extra = loss(params, *args)
        return (value if factor is None else value * factor), (value, extra)

    slope = value_and_grad(scaled, has_aux=True, memory=memory)

    def move(state: State, *args: Any) -> tuple[State, dict[str, Any], Any]:
        factor = None if optimizer.loss_scale is None else optimizer.loss_scale(state)
        (_, (value, extra)), grads = slope(optimizer.eval_params(state), factor, *args)
        # Laid out once, so that norms and wrappers cost a kernel for each array, not for each leaf.
        packed = state.layout.pack(grads, own_types=True)
        new = optimizer.update(state, packed)
        wide = (
            jax.tree.map(lambda x: x.astype(jnp.promote_types(x.dtype, jnp.float32)), s.packed) for s in (new, state)
        )
        change = jax.tree.map(jnp.subtract, *wide)
        metrics = {
            "loss": value,
            "gradient_norm": global_norm(packed) / (1 if factor is None else factor),
            "update_ratio": global_norm(change) / global_norm(state.packed),
        }
        return new, metrics, extra

    return move
