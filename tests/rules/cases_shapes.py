"""Cases of the rules in `functional_dl.rules.shapes`: every parameter, size-1 and size-0 axes, negative padding."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from tests.oracles import complex_normal, normal
from tests.rules.contract import Case, case

__all__ = ["CASES"]

X, Y = normal(3, 5), normal(2, 3, 4)


def _pad(*config):
    """x and the padding value, both differentiated."""
    return lambda x, v: lax.pad(x, v, config)


CASES: list[Case] = [
    case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (3, 2, 5), (0, 2)), X, label="new axis"),
    case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (3, 5), (0, 1)), normal(1, 5), label="size 1"),
    case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 3, 4, 5), (1, 3)), normal(3, 1), label="both"),
    case("broadcast_in_dim", lambda x: x[:, None], X, label="axis of size 1"),
    case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (0, 3), (1,)), normal(3), label="to nothing"),
    case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (2, 3), ()), normal(), label="scalar"),
    case("broadcast_in_dim", lambda x: lax.broadcast_in_dim(x, (3, 2), (0,)), complex_normal(3), label="complex"),
    case("reshape", lambda x: lax.reshape(x, (5, 3)), X),
    case("reshape", lambda x: lax.reshape(x, (3, 8), dimensions=(1, 2, 0)), Y, label="dimensions"),
    case("reshape", lambda x: lax.reshape(x, (0, 7)), normal(0, 3), label="empty"),
    case("squeeze", lambda x: lax.squeeze(x, (0, 2)), normal(1, 3, 1, 5)),
    case("transpose", lambda x: lax.transpose(x, (2, 0, 1)), Y),
    case("transpose", lambda x: x.T, complex_normal(3, 5), label="complex"),
    case("rev", lambda x: lax.rev(x, (0, 2)), Y),
    case("slice", lambda x: lax.slice(x, (0, 1, 1), (2, 3, 3)), Y),
    case("slice", lambda x: lax.slice(x, (1, 0), (6, 4), (2, 3)), normal(7, 5), label="strided"),
    case("slice", lambda x: lax.slice(x, (1, 0), (7, 5), (3, 2)), normal(7, 5), label="strided to the edge"),
    case("slice", lambda x: lax.slice(x, (2, 1), (2, 3)), X, label="empty"),
    case("slice", lambda x: lax.slice(x, (1, 0), (1, 5), (2, 2)), X, label="empty strided"),
    case("pad", _pad((1, 2, 0), (0, 1, 0)), X, normal(), label="edges"),
    case("pad", _pad((1, 0, 2), (0, 2, 1)), X, normal(), label="interior"),
    case("pad", _pad((-1, 2, 0), (1, -2, 0)), X, normal(), label="negative"),
    case("pad", _pad((-2, -1, 1), (-1, 3, 2)), X, normal(), label="negative interior"),
    case("pad", _pad((5, -3, 0), (-2, 4, 1)), X, normal(), label="cut into padding"),
    case("pad", _pad((0, 0, 0), (0, 0, 0)), X, normal(), label="none"),
    case("pad", _pad((2, 1, 1), (0, 1, 0)), normal(0, 3), normal(), label="empty"),
    case("pad", _pad((1, 1, 1), (0, 0, 0)), complex_normal(3, 5), complex_normal(), label="complex"),
    case("concatenate", lambda x, y: lax.concatenate([x, y, x], 1), X, normal(3, 2)),
    case("concatenate", lambda x, y: lax.concatenate([x, y], 0), X, normal(0, 5), label="empty operand"),
    case("concatenate", lambda x: lax.concatenate([X[:2], x, X], 0), normal(2, 5), label="one active"),
    case("split", lambda x: lax.split(x, (2, 1, 2), 1), X, label="all read"),
    case("split", lambda x: lax.split(x, (2, 1, 2), 1)[0], X, label="first read"),
    case("split", lambda x: lax.split(x, (1, 1, 1, 2), 1)[1:3], X, label="middle read"),
    case("split", lambda x: lax.split(x, (1, 1, 1), 0)[::2], X, label="outer read"),
    case("split", lambda x: lax.split(x, (0, 3), 0), X, label="empty part"),
    case("stack", lambda x, y: lax.stack([x, y, x], 1), X, normal(3, 5, seed=1)),
    case("unstack", lambda x: lax.unstack(x, 1), Y),
    case("unstack", lambda x: lax.unstack(x, -1)[1], Y, label="one read"),
    case("tile", lambda x: lax.tile(x, (2, 1)), X),
    case("tile", lambda x: lax.tile(x, (3, 2, 4)), Y, label="every axis"),
    case("tile", lambda x: lax.tile(x, (0, 2)), X, label="to nothing"),
    case("tile", lambda x: jnp.tile(x, (2, 1, 3)), X, label="new axis"),
    case("optimization_barrier", lambda x, y: lax.optimization_barrier((jnp.sin(x), y)), X, Y),
]
