"""Measure how a gradient flows: the norms of values, of δ, and of parameters with their gradients, layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.source_info_util import register_exclusion
from jax.tree_util import tree_flatten, tree_flatten_with_path, tree_leaves, tree_unflatten

from functional_dl.autodiff.arguments import as_array
from functional_dl.autodiff.gradients import value_and_grad
from functional_dl.autodiff.tracing import Flat
from functional_dl.diagnostics.flow import Flow, Measures, Place, Share
from functional_dl.diagnostics.origins import Origin
from functional_dl.diagnostics.probes import Probe, probed, squares
from functional_dl.jaxprs import evaluate, trace
from functional_dl.optim import Optimizer, State
from functional_dl.trees import path_name

__all__ = ["gradient_flow"]

register_exclusion(str(Path(__file__).parent))  # the engine's errors point at lines of the user's, not at these


def gradient_flow(
    loss: Callable[..., Any],
    params: Any,
    batch: Sequence[Any],
    *,
    has_aux: bool = False,
    optimizer: Optimizer | None = None,
    state: State | None = None,
    units: bool = True,
    memory: str | int = "auto",
) -> Flow:
    """The gradient of a loss, and how it flowed: norms of values and of δ at each layer, and of each parameter.

    The loss is traced, and its layers are found in the program, whoever wrote it.  A layer is a contraction
    (``dot_general``, a convolution, ``ragged_dot``) of parameters with what depends on data, or a row taken from a
    table of parameters.  Its value a stands after the bias, if one is added, and after the sum with other layers if
    that comes next (x U + h W + b is one layer).  Its activation Φ is the largest part of the program that is a
    function of each entry of a by itself; where a is split along the last axis first (the gates of an LSTM), there is
    one for each part.  Where a is normalised first (batch, layer or group norm; a scale and a shift for each channel),
    Φ is what is applied to the result, and Φ' is taken there: a channel stays a channel, and where Φ' is 0 for all
    examples, the unit is dead all the same.  What `jax.ad_checkpoint.checkpoint_name` names is measured too.

    Loops are looked into: at each iteration of a ``scan`` the measures are its own, of loops in loops those of all
    iterations one after the other.  So are compiled functions and `jax.checkpoint`.  Not looked into, though
    differentiated as ever: ``while``, ``cond``, ``shard_map``, functions with derivative rules of the user's own.

    δ is not computed apart: its norm is read off our own backward pass as it goes by.  Under `jax.jit` all of it is
    one program, which may run at every step of a training.

    Args:
      loss: ``loss(params, *batch) -> scalar``, or with ``has_aux`` a pair of it and anything.
      params: a pytree of floating arrays; with an optimizer, its ``eval_params(state)``.
      batch: the loss's other arguments, pytrees of arrays.
      has_aux: whether ``loss`` returns a pair.
      optimizer, state: whose update is to be measured, from ``state`` with this gradient; without both, none is.
      units: whether to measure for each unit the mean and the largest |Φ'(a)|, in shares of sup |Φ'|, which is looked
        for on a grid from −12 to 12.
      memory: what is kept for the backward, as in `functional_dl.value_and_grad`.

    Returns:
      A `Flow`, a pytree.  Measures are float32, (times,) in a loop and (times, units) of units; see `Measures`.
      Slopes are ``None`` where no Φ follows, or one whose slope has no bound (of a square).  A loss without layers has
      no places.

    Raises:
      TypeError: the loss is no scalar, or parameters are not floating, as `functional_dl.value_and_grad`.

    Source: Glorot & Bengio 2010, section 4, for norms of activations and of δ layer by layer.

    Example:
      >>> import jax, jax.numpy as jnp, functional_dl.nn as nn
      >>> network = nn.mlp(4, 3, hidden=[5], activation="sigmoid")
      >>> def loss(params, x, labels):
      ...     return nn.losses.cross_entropy(network.apply(params, x), labels)
      >>> measured = jax.jit(lambda params, batch: gradient_flow(loss, params, batch))
      >>> flow = measured(network.init(jax.random.key(0)), (jnp.ones((2, 4)), jnp.array([0, 2])))
      >>> for place, measures in zip(flow.places, flow.measures):
      ...     print(place.name, place.activation, place.shape, bool(measures.delta > 0))
      dense_0 logistic (2, 5) True
      dense_1  (2, 3) True
      >>> flow.measures[0].slope.shape, sorted(flow.shares)[:2]
      ((5,), ['dense_0/bias', 'dense_0/kernel'])
    """
    args = (params, *batch)
    leaves, tree = tree_flatten(args)
    leaves = [as_array(x) for x in leaves]
    n = len(tree_leaves(params))
    flat = Flat(loss, tree, has_aux)
    given = [*[Origin(frozenset([i])) for i in range(n)], *[Origin(data=True)] * (len(leaves) - n)]
    program = probed(trace(flat, *leaves), given, units)
    count, outs = flat.out_count, len(program.graph.outputs) - sum(probe.count for probe in program.probes)
    slots = [jnp.zeros(probe.slot.shape, probe.slot.dtype) for probe in program.probes]

    def run(params: Any, slots: Any) -> Any:
        found = evaluate(program.graph, [*tree_leaves(params), *leaves[n:], *slots])
        return tree_unflatten(flat.out_tree, found[:count]), (found[count:outs], found[outs:])

    run.__name__ = getattr(loss, "__name__", "the loss")
    slope = value_and_grad(run, (0, 1), has_aux=True, memory=memory)
    (value, (extra, found)), (grads, deltas) = slope(params, slots)
    paths = [path_name(path) for path, _ in tree_flatten_with_path(params)[0]]
    rest, measures = list(found), []
    for probe, delta in zip(program.probes, deltas, strict=True):
        measures.append(_measures(probe, delta, rest[: probe.count]))
        rest = rest[probe.count :]
    return Flow.of(
        value,
        flat.aux(extra) if has_aux else None,
        grads,
        _places(program.probes, paths),
        measures,
        _shares(paths, params, grads, optimizer, state),
    )


def _measures(probe: Probe, delta: Any, found: Sequence[Any]) -> Measures:
    """Roots of sums of squares; loops in loops as one, of all their iterations in order."""

    def flat(x: Any) -> Any:
        x = x.reshape(prod(probe.times), *x.shape[len(probe.times) :]) if probe.times else x
        return x.astype(jnp.float32)

    value, *more = map(flat, found)
    activation = more.pop(0) if probe.has_activation else value
    slopes = more if probe.has_slopes else (None, None)
    return Measures(jnp.sqrt(value), jnp.sqrt(activation), jnp.sqrt(flat(delta)), *slopes)


def _places(probes: Sequence[Probe], paths: Sequence[str]) -> tuple[Place, ...]:
    made = []
    for probe, name in zip(probes, _names(probes, paths), strict=True):
        spot = probe.spot
        titles = [piece.name for piece in spot.pieces]
        made.append(
            Place(
                name,
                spot.kind,
                tuple(paths[i] for i in sorted(spot.weights)) + tuple(paths[i] for i in sorted(spot.biases)),
                spot.line,
                ", ".join(titles if len(set(titles)) > 1 else titles[:1]),
                tuple(spot.at.aval.shape),
                prod(probe.times) if probe.times else None,
                spot.stacked,
                probe.reverse and len(probe.times) == 1,
            )
        )
    return tuple(made)


def _names(probes: Sequence[Probe], paths: Sequence[str]) -> list[str]:
    """Layers by the common path of their parameters; by their weights' own where that is none, or not theirs alone."""

    def common(indices: Any) -> str:
        parts = [paths[i].split("/")[:-1] for i in indices]
        shared = [names[0] for names in zip(*parts, strict=False) if len(set(names)) == 1]
        return "/".join(shared)

    first = []
    for probe in probes:
        spot = probe.spot
        own = "+".join(paths[i] for i in sorted(spot.weights))
        first.append(spot.label or common(spot.weights | spot.biases) or common(spot.weights) or own)
    owners: dict[str, set[Any]] = {}
    for probe, name in zip(probes, first, strict=True):
        owners.setdefault(name, set()).add(probe.spot.weights)
    names, seen = [], Counter[str]()
    for probe, name in zip(probes, first, strict=True):
        if len(owners[name]) > 1 and not probe.spot.label:
            name = "+".join(paths[i] for i in sorted(probe.spot.weights))
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _shares(
    paths: Sequence[str], params: Any, grads: Any, optimizer: Optimizer | None, state: State | None
) -> dict[str, Share]:
    changes: list[Any] = [None] * len(paths)
    if optimizer is not None and state is not None:
        factor = None if optimizer.loss_scale is None else optimizer.loss_scale(state)
        scaled = grads if factor is None else jax.tree.map(lambda g: (g * factor).astype(g.dtype), grads)
        new = optimizer.update(state, scaled)
        changes = [_norm(_difference(a, b)) for a, b in zip(*map(tree_leaves, (new.params, state.params)), strict=True)]
    return {
        path: Share(_norm(w), _norm(g), change)
        for path, w, g, change in zip(paths, tree_leaves(params), tree_leaves(grads), changes, strict=True)
    }


def _difference(a: Any, b: Any) -> Any:
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return a.astype(wide) - b.astype(wide)


def _norm(x: Any) -> jax.Array:
    """√ Σ |x|², float32."""
    return jnp.sqrt(squares(jnp.asarray(x))).astype(jnp.float32)
