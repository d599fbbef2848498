"""Rules of primitives that say where and how an array lies: its cotangent is moved, or told to lie, the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental.layout import with_layout_constraint
from jax.extend.core import primitives

from functional_dl.rules.shapes import Cts
from functional_dl.rules.table import Augmented, Call, structural, vjp, zero

__all__: list[str] = []

zero("it shows where an array lies, and returns nothing", "inspect_sharding")


@vjp("device_put")
def device_put(cts: Any, ys: Any, *xs: Any, devices: Any, srcs: Any, copy_semantics: Any) -> Cts:
    """y = x, on another device or in another memory.   x̄ = ȳ, back where x was as far as that was said.

    The cotangent is nobody else's, but may be read again: it is copied, never donated.
    """
    sent: list[int] = []
    back: list[Any] = []
    for i, (ct, y, x) in enumerate(zip(cts, ys, xs, strict=True)):
        if ct is not None:
            space = jax.typeof(x).memory_space
            sent.append(i)
            back.append(space if srcs[i] is None and jax.typeof(y).memory_space != space else srcs[i])
    copied = primitives.device_put_p.bind(
        *[cts[i] for i in sent],
        devices=tuple(back),
        srcs=tuple(devices[i] for i in sent),
        copy_semantics=tuple(type(copy_semantics[i]).ALWAYS_COPY for i in sent),
    )
    found = dict(zip(sent, copied, strict=True))
    return [found.get(i) for i in range(len(xs))]


@vjp("sharding_constraint")
def sharding_constraint(
    ct: Any, y: Any, x: Any, *, sharding: Any, layout: Any, context_mesh: Any, unconstrained_dims: Any
) -> Cts:
    """y = x, sharded as stated.   x̄ = ȳ, sharded so as well."""
    how = {"sharding": sharding, "layout": layout, "context_mesh": context_mesh}
    return (primitives.sharding_constraint_p.bind(ct, unconstrained_dims=unconstrained_dims, **how),)


@vjp("layout_constraint")
def layout_constraint(ct: Any, y: Any, x: Any, *, layout: Any) -> Cts:
    """y = x, in a layout of memory.   x̄ = ȳ, in that layout."""
    return (with_layout_constraint(ct, layout),)


@structural("reshard")
def reshard(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = x, with another sharding in its type.   x̄ = ȳ, with that of the cotangent of x."""
    sharding = call.in_avals[0].to_ct_aval().sharding

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], x: Any) -> Cts:
        # Explicit axes of one mesh may be automatic in the other (`jax.sharding.auto_axes`).
        with jax.sharding.use_abstract_mesh(sharding.mesh):
            return (call.primitive.bind(cts[0], **{**call.params, "dst_sharding": sharding}),)

    return Augmented(None, backward)


@structural("shard_alike")
def shard_alike(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y₁, y₂ = x₁, x₂, sharded alike.   x̄₁, x̄₂ = ȳ₁, ȳ₂, sharded alike where both arrive."""

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *xs: Any) -> Cts:
        return call.primitive.bind(*cts) if all(call.seeded) else cts

    return Augmented(None, backward)
