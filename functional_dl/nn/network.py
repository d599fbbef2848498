"""What a network is: pure functions over parameters and a state, and how networks are put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

__all__ = ["EVALUATION", "Mode", "Network", "flatten", "function", "layer", "residual", "serial"]


class Mode(NamedTuple):
    """What a network is run for.

    Attributes:
      training: whether batch statistics are taken and units dropped.
      key: what random layers draw from in training; ``None`` in evaluation.
    """

    training: bool
    key: jax.Array | None = None

    def part(self, i: int) -> Mode:
        """The mode of the i-th part, whose key is its own."""
        return self if self.key is None else Mode(self.training, jax.random.fold_in(self.key, i))


EVALUATION = Mode(False)


def _no_state() -> Any:
    return {}


@dataclass(frozen=True)
class Network:
    """Pure functions; most networks are made by `layer`, `function`, `serial` and the like.

    Attributes:
      init: ``init(key) -> params``, a pytree of arrays under readable names.
      forward: ``forward(params, state, x, mode) -> (y, new state)``.
      state: ``state() -> state`` at the beginning, statistics that no gradient moves, such as batch norm's; ``{}``
        where there are none.
      random: whether training draws random numbers, such as dropout's.

    Example:
      >>> import jax, functional_dl.nn as nn
      >>> network = nn.mlp(inputs=4, outputs=3, hidden=[8])
      >>> params = network.init(jax.random.key(0))
      >>> network.apply(params, jax.numpy.ones((2, 4))).shape
      (2, 3)
    """

    init: Callable[[Any], Any]
    forward: Callable[[Any, Any, Any, Mode], tuple[Any, Any]]
    state: Callable[[], Any] = field(default=_no_state)
    random: bool = False

    def apply(self, params: Any, x: Any, state: Any = None) -> Any:
        """Evaluate: y, from running statistics (those of the beginning if none are given), nothing dropped."""
        return self.forward(params, self.state() if state is None else state, x, EVALUATION)[0]

    def train(self, params: Any, x: Any, state: Any = None, key: Any = None) -> tuple[Any, Any]:
        """Run for training: y and the new state.

        Raises:
          ValueError: the network draws random numbers and there is no key.
        """
        if self.random and key is None:
            raise ValueError("this network draws random numbers in training (dropout): train needs a key.")
        own = self.state() if state is None else state
        return self.forward(params, own, x, Mode(True, key if self.random else None))


def layer(init: Callable[[Any], Any], apply: Callable[[Any, Any], Any]) -> Network:
    """A network that is the same in training and evaluation: ``apply(params, x) -> y``."""
    return Network(init, lambda params, state, x, mode: (apply(params, x), state))


def function(fun: Callable[[Any], Any]) -> Network:
    """A network without parameters that applies ``fun``, such as an activation."""
    return layer(lambda key: {}, lambda params, x: fun(x))


def flatten() -> Network:
    """All axes but the first made one."""
    return function(lambda x: x.reshape(x.shape[0], -1))


def serial(**parts: Network) -> Network:
    """Networks one after the other; parameters and states stand under their names, empty ones are left out."""

    def forward(params: Any, state: Any, x: Any, mode: Mode) -> tuple[Any, Any]:
        new: dict[str, Any] = {}
        for i, name in enumerate(parts):
            x = _run(parts, i, name, params, state, x, mode, new)
        return x, new

    return _composed(parts, forward)


def residual(inner: Network, shortcut: Network | None = None) -> Network:
    """x + inner(x) (He et al. 2016, eq. 1); where shapes change, shortcut(x) + inner(x) (eq. 2)."""
    if shortcut is None:

        def forward(params: Any, state: Any, x: Any, mode: Mode) -> tuple[Any, Any]:
            y, state = inner.forward(params, state, x, mode)
            return x + y, state

        return Network(inner.init, forward, inner.state, inner.random)
    parts = {"inner": inner, "shortcut": shortcut}

    def forward_both(params: Any, state: Any, x: Any, mode: Mode) -> tuple[Any, Any]:
        new: dict[str, Any] = {}
        y, across = (_run(parts, i, name, params, state, x, mode, new) for i, name in enumerate(parts))
        return across + y, new

    return _composed(parts, forward_both)


def _composed(parts: Mapping[str, Network], forward: Callable[..., tuple[Any, Any]]) -> Network:
    """A network of named parts that ``forward`` runs."""

    def init(key: Any) -> Any:
        keys = jax.random.split(key, len(parts))
        return _occupied({name: part.init(k) for (name, part), k in zip(parts.items(), keys, strict=True)})

    def state() -> Any:
        return _occupied({name: part.state() for name, part in parts.items()})

    return Network(init, forward, state, any(part.random for part in parts.values()))


def _occupied(named: dict[str, Any]) -> dict[str, Any]:
    return {name: tree for name, tree in named.items() if jax.tree.leaves(tree)}


def _run(
    parts: Mapping[str, Network],
    i: int,
    name: str,
    params: Any,
    state: Any,
    x: Any,
    mode: Mode,
    new: dict[str, Any],
) -> Any:
    """The output of one part; its new state, if it has one, goes into ``new``."""
    part = parts[name]
    own = mode.part(i) if part.random else mode
    y, after = part.forward(params.get(name, {}), state.get(name, {}), x, own)
    if name in state:
        new[name] = after
    return y
