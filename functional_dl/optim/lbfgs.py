"""L-BFGS with a line search that asks for one gradient at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.layout import Packed, lay_out
from functional_dl.optim.line_search import Search, begin, judge
from functional_dl.optim.narrow import as_stored
from functional_dl.optim.optimizer import Apart, Optimizer, State, Storage, scalars
from functional_dl.optim.pointwise import wide
from functional_dl.optim.schedules import Schedule
from functional_dl.optim.wrapping import scheduled

__all__ = ["lbfgs"]

# One array for each group of the layout; together they are one vector.
Vector = list[Any]


def lbfgs(
    learning_rate: float = 1.0,
    decrease: float = 0.1,
    curvature: float = 0.9,
    trials: int = 20,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    history: int = 10,
) -> Optimizer:
    """x += α p with p = −H g: H from the last m pairs s = x' − x, y = g' − g (Liu & Nocedal 1989, algorithm 2.1).

    H ← VᵀHV + ρ s sᵀ with V = I − ρ y sᵀ and ρ = 1/(yᵀs), for all pairs in turn, from H = γI with γ = sᵀy/yᵀy of the
    last.  For a loss that is the same at every step: full batches, nothing dropped.

    An update takes one gradient, at the trial point x + α p, which is ``eval_params(state)``; ``state.params`` is x,
    the last point accepted.  With φ(α) = f(x + α p), α is accepted by slopes alone (Hager & Zhang 2005, eq. 4.1, the
    approximate Wolfe conditions)::

        (2δ − 1) φ'(0) ≥ φ'(α) ≥ σ φ'(0)

    Steeper upwards, or NaN or infinite, is too far; steeper downwards is not far enough.  The next trial is where a
    line through two slopes crosses zero: those at 0 and α, two to ten times as far, until one was too far; then those
    at the ends of the bracket or, every other time, its middle.  After ``trials`` in vain the farthest that was not far
    enough is taken, and if there is none the search begins again along −g without any pairs, as where p does not
    descend.  Pairs without positive curvature are left out.  The loss itself is never looked at: on the far side of a
    hill x may be higher than before.

    Args:
      learning_rate: the first α tried along p; along −g, min(1, 1/‖g‖) of it.
      decrease: δ, below 1/2.
      curvature: σ, between δ and 1.
      trials: after how many a search is given up.
      schedule: of the learning rate, or a dict by hyperparameter.
      history: m; the pairs are ``s`` and ``y`` of ``moments``, on a first axis that goes round: the newest is at
        ``scalars["newest"]``.

    Raises:
      ValueError: a history of no pairs.

    Example:
      >>> import jax.numpy as jnp, functional_dl.optim as optim
      >>> optimizer = optim.lbfgs()
      >>> state = optimizer.init(jnp.array([4.0, -1.0]))
      >>> for _ in range(20):
      ...     state = optimizer.update(state, jnp.array([1.0, 50.0]) * optimizer.eval_params(state))
      >>> bool(jnp.max(jnp.abs(state.params)) < 1e-5)
      True
    """
    if history < 1:
        raise ValueError(f"lbfgs: history = {history}; due is one pair or more.")

    def init(params: Any, apart: Apart = lambda path, leaf: None, storage: Storage = lambda dtype: dtype) -> State:
        layout = lay_out(params, apart=apart, storage=storage)
        packed = layout.pack(jax.tree.map(jnp.array, params), "params")
        like = [wide(w) for w in packed.arrays]

        def zeros(*lead: int) -> Packed:
            return Packed(tuple(jnp.zeros((*lead, *w.shape), w.dtype) for w in like), layout, packed.ranks)

        # Along p = 0 from φ' = 0 the gradient at x itself is the first to be accepted.
        number = jnp.zeros((), jnp.result_type(jnp.float32, *like))
        remembered = {
            **jax.tree.map(jnp.array, begin(number, number)._asdict()),
            "rho": jnp.zeros(history, number.dtype),  # ρ of each pair, 0 where there is none
            "gamma": jnp.ones((), number.dtype),
            "newest": jnp.zeros((), jnp.int32),
        }
        slots = {"gradient": zeros(), "direction": zeros(), "s": zeros(history), "y": zeros(history)}
        given = scalars(learning_rate=learning_rate, decrease=decrease, curvature=curvature, trials=trials)
        return State(jnp.zeros((), jnp.int32), packed, slots, given, remembered)

    def eval_params(state: State) -> Any:
        arrays = tuple(a.astype(w.dtype) for a, w in zip(_trial(state), state.packed.arrays, strict=True))
        return Packed(arrays, state.layout, state.packed.ranks).unpack(typed=True)

    def update(state: State, grads: Any) -> State:
        h, held = state.hyperparameters, state.scalars
        x, old, p = _wide(state.packed), _wide(state.slots["gradient"]), _wide(state.slots["direction"])
        given = state.layout.pack(grads, own_types=True)
        g = [a.astype(b.dtype) for a, b in zip(given.arrays, x, strict=True)]
        slope, number = _dot(g, p), held["alpha"].dtype
        finite = jnp.isfinite(_dot(g, g)) & jnp.isfinite(slope)
        search = Search(*(held[name] for name in Search._fields))
        accepted, failed, search = judge(search, slope, finite, h["decrease"], h["curvature"], h["trials"])

        # An accepted point brings a pair, others zeros; s is of what is stored, not α p, so that y belongs to it.
        at, now = _choose(accepted, _trial(state), x), _choose(accepted, g, old)
        s, y = _minus(at, x), _minus(now, old)
        sy, yy = _dot(s, y), _dot(y, y)
        paired = sy > jnp.finfo(number).eps * jnp.sqrt(yy) * jnp.sqrt(_dot(s, s))
        newest = jnp.where(paired, (held["newest"] + 1) % history, held["newest"])
        rho = held["rho"].at[newest].set(jnp.where(paired, 1 / jnp.where(paired, sy, 1), held["rho"][newest]))
        gamma = jnp.where(paired, sy / jnp.where(paired, yy, 1), held["gamma"])
        all_s = _put(_wide(state.slots["s"]), newest, s, paired)
        all_y = _put(_wide(state.slots["y"]), newest, y, paired)

        # The direction from it, or along −g, from where a search that failed had come to, lest the two fail in turns.
        quasi = [-a for a in _times_inverse_hessian(now, all_s, all_y, rho, gamma, newest)]
        down, gg = _dot(quasi, now), _dot(now, now)
        steepest = failed | (accepted & ~(down < 0))
        rho = jnp.where(steepest, 0, rho)
        gamma = jnp.where(steepest, 1, gamma)
        direction = _choose(steepest, [-a for a in now], _choose(accepted, quasi, p))
        length = jnp.sqrt(gg)
        alpha = h["learning_rate"] * jnp.where(jnp.any(rho > 0), 1, 1 / jnp.maximum(length, 1))
        shorter = search.high * jnp.sqrt(_dot(p, p)) / jnp.where(length > 0, length, 1)
        alpha = jnp.where(failed & (shorter < alpha), shorter, alpha).astype(number)
        fresh = begin(alpha, jnp.where(steepest, -gg, down))
        search = jax.tree.map(partial(jnp.where, accepted | failed), fresh, search)

        def like(packed: Packed, vector: Vector) -> Packed:
            arrays = tuple(a.astype(b.dtype) for a, b in zip(vector, packed.arrays, strict=True))
            return Packed(arrays, packed.layout, packed.ranks)

        kept = {"gradient": now, "direction": direction, "s": all_s, "y": all_y}
        slots = {name: like(state.slots[name], vector) for name, vector in kept.items()}
        return state.advance(like(state.packed, at), slots, **search._asdict(), rho=rho, gamma=gamma, newest=newest)

    def rates(state: State) -> tuple[Any, ...]:
        # A trial is no step: decay beside the gradient would move x under the search.
        raise KeyError("lbfgs has no rate to decay by: decay belongs into its loss.")

    optimizer = Optimizer(init, update, eval_params, rates=rates)
    if schedule is None:
        return optimizer
    return scheduled(optimizer, **(schedule if isinstance(schedule, Mapping) else {"learning_rate": schedule}))


def _wide(packed: Packed) -> Vector:
    return [wide(x) for x in packed.arrays]


def _trial(state: State) -> Vector:
    """x + α p, as it is stored."""
    alpha, p = state.scalars["alpha"], _wide(state.slots["direction"])
    return [
        as_stored(wide(w) + alpha.astype(d.dtype) * d, w.dtype) for w, d in zip(state.packed.arrays, p, strict=True)
    ]


def _dot(a: Vector, b: Vector) -> Any:
    """aᵀb, in float32 even on accelerators that multiply in less."""
    parts = [jnp.vdot(x, y, precision=jax.lax.Precision.HIGHEST) for x, y in zip(a, b, strict=True)]
    return sum(parts[1:], start=parts[0]) if parts else jnp.float32(0)


def _minus(a: Vector, b: Vector) -> Vector:
    return [x - y for x, y in zip(a, b, strict=True)]


def _plus(a: Vector, scale: Any, b: Vector) -> Vector:
    """a + scale b."""
    return [x + scale.astype(y.dtype) * y for x, y in zip(a, b, strict=True)]


def _choose(which: Any, a: Vector, b: Vector) -> Vector:
    return [jnp.where(which, x, y) for x, y in zip(a, b, strict=True)]


def _get(vectors: Vector, i: Any) -> Vector:
    return [jax.lax.dynamic_index_in_dim(x, i, 0, keepdims=False) for x in vectors]


def _put(vectors: Vector, i: Any, vector: Vector, really: Any) -> Vector:
    """The vectors with the i-th another, if ``really``."""
    new = _choose(really, vector, _get(vectors, i))
    return [jax.lax.dynamic_update_index_in_dim(x, y, i, 0) for x, y in zip(vectors, new, strict=True)]


def _times_inverse_hessian(g: Vector, s: Vector, y: Vector, rho: Any, gamma: Any, newest: Any) -> Vector:
    """H g by the two loops (Nocedal 1980, p. 779); where ρ is 0 there is no pair and nothing happens."""
    history = rho.shape[0]

    def back(k: Any, carry: tuple[Vector, Any]) -> tuple[Vector, Any]:
        q, shares = carry
        i = (newest - k) % history
        share = rho[i] * _dot(_get(s, i), q)
        return _plus(q, -share, _get(y, i)), shares.at[i].set(share)

    def forth(k: Any, carry: tuple[Vector, Any]) -> tuple[Vector, Any]:
        r, shares = carry
        i = (newest + 1 + k) % history
        return _plus(r, shares[i] - rho[i] * _dot(_get(y, i), r), _get(s, i)), shares

    q, shares = jax.lax.fori_loop(0, history, back, (g, jnp.zeros_like(rho)))
    return jax.lax.fori_loop(0, history, forth, ([gamma.astype(x.dtype) * x for x in q], shares))[0]
