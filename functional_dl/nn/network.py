"""What a network is: a pair of pure functions, and how networks are put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

__all__ = ["Network", "flatten", "function", "residual", "serial"]


class Network(NamedTuple):
    """A pair of pure functions.

    Attributes:
      init: ``init(key) -> params``, a pytree of arrays under readable names.
      apply: ``apply(params, x) -> y``.

    Example:
      >>> import jax, functional_dl.nn as nn
      >>> network = nn.mlp(inputs=4, outputs=3, hidden=[8])
      >>> params = network.init(jax.random.key(0))
      >>> network.apply(params, jax.numpy.ones((2, 4))).shape
      (2, 3)
    """

    init: Callable[[Any], Any]
    apply: Callable[[Any, Any], Any]


def function(fun: Callable[[Any], Any]) -> Network:
    """A network without parameters that applies ``fun``, such as an activation."""
    return Network(lambda key: {}, lambda params, x: fun(x))


def flatten() -> Network:
    """All axes but the first made one."""
    return function(lambda x: x.reshape(x.shape[0], -1))


def serial(**parts: Network) -> Network:
    """Networks one after the other; their parameters stand under their names, those without any are left out."""

    def init(key: Any) -> Any:
        keys = jax.random.split(key, len(parts))
        made = {name: part.init(k) for (name, part), k in zip(parts.items(), keys, strict=True)}
        return {name: params for name, params in made.items() if jax.tree.leaves(params)}

    def apply(params: Any, x: Any) -> Any:
        for name, part in parts.items():
            x = part.apply(params.get(name, {}), x)
        return x

    return Network(init, apply)


def residual(inner: Network) -> Network:
    """x + inner(x) (He et al. 2016)."""
    return Network(inner.init, lambda params, x: x + inner.apply(params, x))
