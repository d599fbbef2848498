"""SOAP: Adam in the eigenbasis of Shampoo's factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from functional_dl.optim.adam import first_and_second
from functional_dl.optim.layout import Group
from functional_dl.optim.matrices import (
    Choice,
    as_matrices,
    in_scanned_blocks,
    is_matrix,
    is_scanned,
    matrix_shape,
    of_matrices,
)
from functional_dl.optim.optimizer import Optimizer
from functional_dl.optim.pointwise import Now, by_group
from functional_dl.optim.schedules import Schedule

__all__ = ["soap"]

# Bases lose their orthogonality in the fast products of accelerators, TF32's 10 bits.
EXACT = jax.lax.Precision.HIGHEST


SIDES = ("left", "right")


def _times(*factors: Any) -> Any:
    product = factors[0]
    for x in factors[1:]:
        product = jnp.matmul(product, x, precision=EXACT)
    return product


def _turned(x: Any, left: Any, right: Any, back: bool = False) -> Any:
    """Q_Lᵀ X Q_R, or ``back`` Q_L X Q_Rᵀ; a side without a basis stays."""
    x = x if left is None else _times(left if back else left.mT, x)
    return x if right is None else _times(x, right.mT if back else right)


def _refreshed(factor: Any, basis: Any) -> tuple[Any, Any]:
    """One power iteration and QR, and the order, from the largest eigenvalue down, that its columns were put in.

    In another order QR would let the columns of small eigenvalues bend those of large ones.
    """
    power = _times(factor, basis)
    order = jnp.argsort(-jnp.sum(basis * power, -2), axis=-1)
    return jnp.linalg.qr(jnp.take_along_axis(power, order[..., None, :], -1))[0], order


def soap(
    learning_rate: float = 3e-3,
    beta_1: float = 0.95,
    beta_2: float = 0.95,
    factor_beta: float | None = None,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    frequency: int = 10,
    largest: int = 10_000,
    matrices: Choice = lambda path, leaf: True,
    scanned: Choice = in_scanned_blocks,
) -> Optimizer:
    """Adam on G' = Q_Lᵀ G Q_R, whose step is turned back: W −= a (Q_L (F̂'/(√A + ε)) Q_Rᵀ + λ W)  (Vyas et al. 2024).

    Q_L and Q_R are eigenvectors of L = β L + (1 − β) G Gᵀ and R = β R + (1 − β) Gᵀ G (algorithm 3);  F = β₁ F +
    (1 − β₁) G, of which F̂' = √(1 − β₂ᵗ)/(1 − β₁ᵗ) Q_Lᵀ F Q_R;  A = β₂ A + (1 − β₂) G'².  Everything that has no two
    axes moves by Adam.  Kernels of convolutions count as (window · inputs, outputs).

    As in the authors' implementation the very first step moves nothing, not even by Adam: its gradient makes the first
    L, R and, by an eigendecomposition, bases, so that no gradient is seen in a basis made from it.  t counts from the
    second.  Bases are new after steps 1 + f, 1 + 2 f, …, by one power iteration and QR; A goes along where columns of a
    basis are put in the order of their eigenvalues.

    Args:
      learning_rate: a.
      beta_1, beta_2: how slowly F and A follow.
      factor_beta: β of L and R; by default as β₂.
      epsilon: ε.
      weight_decay: λ, decoupled.
      schedule: of the learning rate, or a dict by hyperparameter.
      frequency: f, steps from one basis to the next.
      largest: a side with more entries than this stays as it is, without a basis; a matrix with two such sides moves
        by Adam.
      matrices: ``matrices(path, leaf)``: which leaves of two axes and more are turned; others move by Adam.
      scanned: ``scanned(path, leaf)``: which leaves have a first axis of layers, as of `muon`.
    """

    def sides(shape: tuple[int, ...], layers: bool) -> tuple[bool, bool]:
        rows, columns = matrix_shape(shape[1:] if layers else shape)
        return rows <= largest, columns <= largest

    def stacked(path: str, leaf: Any) -> bool:
        return is_matrix(path, leaf, matrices, scanned) and any(sides(leaf.shape, bool(scanned(path, leaf))))

    def start(w: Any, group: Group) -> dict[str, Any]:
        moments = first_and_second(w, group)
        if group.kind != "stack":
            return moments
        layers = is_scanned(group, scanned)
        x, turned = as_matrices(w, layers), sides(group.shapes[0], layers)
        for name, size, there in zip(SIDES, x.shape[-2:], turned, strict=True):
            if there:
                square = (*x.shape[:-2], size, size)
                moments[name] = jnp.zeros(square, w.dtype)
                moments[f"{name}_basis"] = jnp.array(jnp.broadcast_to(jnp.eye(size, dtype=w.dtype), square))
        return moments

    def bases(now: Now, moments: dict[str, Any], second: Any) -> dict[str, Any]:
        """The bases for the next step and, ordered like their columns, A."""
        names = [name for name in SIDES if name in moments]

        def keep(held: Any) -> Any:
            return held

        def begin(held: Any) -> Any:
            own, a = held
            return {name: jnp.flip(jnp.linalg.eigh(moments[name])[1], -1) for name in own}, a

        def refresh(held: Any) -> Any:
            own, a = held
            new = {}
            for name in names:
                new[name], order = _refreshed(moments[name], own[name])
                rows = name == "left"
                a = jnp.take_along_axis(a, jnp.expand_dims(order, -1 if rows else -2), -2 if rows else -1)
            return new, a

        t = now.t.astype(jnp.int32)
        which = jnp.where(t == 1, 1, jnp.where((t - 1) % frequency == 0, 2, 0))
        held = {name: moments[f"{name}_basis"] for name in names}, second
        new, second = jax.lax.switch(which, [keep, begin, refresh], held)
        return {**{f"{name}_basis": x for name, x in new.items()}, "second": second}

    def move(now: Now, w: Any, g: Any, moments: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        h, b1, b2, first_step = now.h, now.h["beta_1"], now.h["beta_2"], now.t == 1
        # The first step is no step: t is one less, and 1 where nothing comes of it.
        t = jnp.maximum(now.t - 1, 1)
        scale = jnp.sqrt(1 - b2**t) / (1 - b1**t)
        matrix = now.group.kind == "stack"
        layers = matrix and is_scanned(now.group, scanned)

        def view(x: Any) -> Any:
            return as_matrices(x, layers) if matrix else x

        left, right = moments.get("left_basis"), moments.get("right_basis")
        m = jnp.where(first_step, 0, b1 * moments["first"] + (1 - b1) * g)
        turned = _turned(view(g), left, right)
        v = jnp.where(first_step, 0, b2 * view(moments["second"]) + (1 - b2) * turned * turned)
        step = _turned(scale * _turned(view(m), left, right) / (jnp.sqrt(v) + h["epsilon"]), left, right, back=True)
        new = jnp.where(first_step, w, w - h["learning_rate"] * (step.reshape(w.shape) + h["weight_decay"] * w))
        if not matrix:
            return new, {"first": m, "second": v}
        beta, x, factors = h["factor_beta"], view(g), {}
        for name, gram in (("left", lambda: _times(x, x.mT)), ("right", lambda: _times(x.mT, x))):
            if name in moments:
                factors[name] = beta * moments[name] + (1 - beta) * gram()
        ready = bases(now, {**moments, **factors}, v)
        return new, {"first": m, **factors, **ready, "second": ready["second"].reshape(w.shape)}

    hyperparameters = {
        "learning_rate": learning_rate,
        "beta_1": beta_1,
        "beta_2": beta_2,
        "factor_beta": beta_2 if factor_beta is None else factor_beta,
        "epsilon": epsilon,
        "weight_decay": weight_decay,
    }
    return of_matrices(by_group(start, move, hyperparameters, stacked=stacked), matrices, scanned, schedule)
