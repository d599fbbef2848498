"""The rule of ``call_hi_primitive``: primitives that are Python objects and bring their rules along."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import hijax
from jax.interpreters import ad
from jax.tree_util import tree_flatten, tree_unflatten

from functional_dl.avals import zeros
from functional_dl.jaxprs import close, trace
from functional_dl.rules.linear import transposed
from functional_dl.rules.roots import root, root_map
from functional_dl.rules.table import Augmented, Call, Spliced, structural

__all__: list[str] = []

_BASE: Any = getattr(hijax, "HiPrim", None) or hijax.VJPHiPrimitive  # the latter before JAX 0.11
_UNDER_WAY = threading.local()


@structural("call_hi_primitive", cacheable=False)
def call_hi_primitive(call: Call, differentiate: Callable[..., Any]) -> Augmented | Spliced:
    """y = f(x).   x̄ by a rule of ours for JAX's own, else as the primitive's author states it, else by its expansion.

    An author's statements are taken in the order in which JAX's reverse mode asks for them: the pair ``vjp_fwd``
    and ``vjp_bwd``, then ``jvp``, then ``lin``; those that JAX derives from one another are passed over, since our
    transpose of the statement itself serves.
    """
    prim = call.params["_prim"]
    mapped = _is_jax(prim, "VmapOf")
    cls = type(prim.prim if mapped else prim)
    ours = _OURS.get(cls.__name__) if cls.__module__.startswith("jax.") else None
    if ours is not None and mapped:
        return _mapped_root(call, differentiate) if ours is root else _by_expansion(call, differentiate)
    if ours is not None:
        return ours(call, differentiate)
    if _states(cls, "vjp_fwd", "vjp_from_jvp", "vjp_from_lin"):
        return _by_vjp(call)
    if not (_states(cls, "jvp", "jvp_from_lin") or _states(cls, "lin", "linearize_from_jvp")):
        return _by_expansion(call, differentiate)
    under_way = _UNDER_WAY.__dict__.setdefault("primitives", [])
    if prim in under_way and _states(cls, "transpose"):
        return _by_transpose(call)
    under_way.append(prim)
    try:
        return transposed(call, differentiate, _jvp(call))
    finally:
        under_way.pop()


def _is_jax(prim: Any, name: str) -> bool:
    return type(prim).__module__.startswith("jax.") and type(prim).__name__ == name


def _states(cls: Any, method: str, *derived: str) -> bool:
    """Whether a class states ``method`` itself, rather than inheriting it or having JAX derive it."""
    pairs = [getattr(hijax, name, ()) for name in derived]
    made = [f for pair in pairs for f in (pair if isinstance(pair, tuple) else (pair,))]
    return all(getattr(cls, method) is not f for f in (getattr(_BASE, method), *made))


def _ldexp(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = x 2ⁿ.   x̄ = ȳ 2ⁿ."""
    return Augmented(None, lambda cts, ys, residuals, x, n: [jnp.ldexp(cts[0], n), None])


def _frexp(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """x = m 2ⁿ with ½ ≤ |m| < 1.   x̄ = m̄ 2⁻ⁿ."""
    return Augmented(None, lambda cts, ys, residuals, x: [jnp.ldexp(cts[0], lax.neg(ys[1]))])


def _mapped_root(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """The rule of ``custom_root`` under `jax.vmap`, for a JAX that keeps the map and the root apart (0.11)."""
    prim = call.params["_prim"]
    inner = prim.prim
    dims, out_dims = inner.in_tree.flatten_up_to(prim.in_dims), inner.out_tree.flatten_up_to(prim.out_dim)
    one = call._replace(params={"_prim": inner}, in_avals=inner.in_avals_flat, out_avals=inner.out_avals_flat)
    rule = root(one, differentiate)
    given = [i for i, s in enumerate(call.seeded) if s]

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        targets: list[int] = []

        def single(seeds: Sequence[Any], ys: Sequence[Any], *operands: Any) -> Sequence[Any]:
            arriving = dict(zip(given, seeds, strict=True))
            found = rule.backward([arriving.get(i) for i in range(len(cts))], ys, [], *operands)
            targets[:] = [i for i, ct in enumerate(found) if ct is not None]
            return [found[i] for i in targets]

        axes = ([out_dims[i] for i in given], out_dims, *dims)
        batch = jax.vmap(single, axes, 0, prim.axis_data.name, axis_size=prim.axis_data.size)
        slopes = dict(zip(targets, batch([cts[i] for i in given], list(ys), *operands), strict=True))
        return [
            None if ct is None else _placed(ct, dims[i]) for i, ct in ((i, slopes.get(i)) for i in range(len(dims)))
        ]

    return Augmented(None, backward)


def _placed(ct: Any, dim: int | None) -> Any:
    """A batch of cotangents as that of an operand that is mapped along ``dim``, or shared by all."""
    return lax.reduce_sum(ct, (0,)) if dim is None else jnp.moveaxis(ct, 0, dim)


def _by_expansion(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """x̄ of the plain program that the primitive stands for."""
    prim = call.params["_prim"]

    def plain(*operands: Any) -> Sequence[Any]:
        return prim.out_tree.flatten_up_to(prim.expand(*tree_unflatten(prim.in_tree, operands)))

    return differentiate(close(trace(plain, *call.in_avals)), call.active, call.seeded).spliced()


_OURS: dict[str, Callable[..., Any]] = {
    "CustomRoot": root,
    "Einsum": _by_expansion,
    "Frexp": _frexp,
    "Ldexp": _ldexp,
    "OptRemat": _by_expansion,
    "RematTraced": _by_expansion,
    "_RootLinearMap": root_map,
}


def _jvp(call: Call) -> Callable[..., Any]:
    """The author's forward mode, ``jvp`` or ``lin`` with ``linearized``, on flat operands and tangents."""
    prim = call.params["_prim"]
    n = len(call.in_avals)
    still = [ad.Zero(a.to_tangent_aval()) for a in call.in_avals]

    def jvp(*values: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        moving = iter(values[n:])
        flat = [next(moving) if a else z for a, z in zip(call.active, still, strict=True)]
        primals, tangents = tree_unflatten(prim.in_tree, values[:n]), tree_unflatten(prim.in_tree, flat)
        if _states(type(prim), "jvp", "jvp_from_lin"):
            out, slopes = prim.jvp(primals, tangents)
        else:
            # Structured residuals, if any, come fourth.
            out, residuals, *rest = prim.lin(tree_unflatten(prim.in_tree, call.active), *primals)
            slopes = prim.linearized(residuals, *rest[1:2], *tangents)
        return prim.out_tree.flatten_up_to(out), [
            zeros(a.to_tangent_aval()) if isinstance(t, ad.Zero) and s else t
            for t, a, s in zip(prim.out_tree.flatten_up_to(slopes), call.out_avals, call.seeded, strict=True)
        ]

    return jvp


def _by_vjp(call: Call) -> Augmented:
    """y, r = vjp_fwd(x);   x̄ = vjp_bwd(r, ȳ), both the author's own."""
    prim = call.params["_prim"]
    seen: dict[str, Any] = {}

    def forward(*operands: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        perturbed = tree_unflatten(prim.in_tree, call.active)
        out, residuals, *rest = prim.vjp_fwd(perturbed, *tree_unflatten(prim.in_tree, operands))
        leaves, seen["tree"] = tree_flatten((residuals, *rest[1:2]))
        return prim.out_tree.flatten_up_to(out), leaves

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        given, kept = _cotangents(call, cts), tree_unflatten(seen["tree"], residuals)
        if _states(type(prim), "vjp_bwd"):
            sums = [_accumulator(a.to_ct_aval()) for a in call.in_avals]
            prim.vjp_bwd(*kept, given, *tree_unflatten(prim.in_tree, sums))
            found = [s.freeze() for s in sums]
        elif hasattr(prim, "vjp_bwd_retval_logs"):
            found = prim.in_tree.flatten_up_to(tuple(prim.vjp_bwd_retval_logs(*kept, given)[0]))
        else:
            found = prim.in_tree.flatten_up_to(tuple(prim.vjp_bwd_retval(*kept, given)))
        return [None if ct is None or isinstance(ct, ad.Zero) else ct for ct in found]

    return Augmented(forward, backward)


def _by_transpose(call: Call) -> Augmented:
    """x̄ = fᵀ(ȳ) by the author's own transpose, for a primitive that is linear in what varies."""
    prim = call.params["_prim"]

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        flat = [
            _accumulator(v.to_ct_aval()) if a else x
            for x, v, a in zip(operands, call.in_avals, call.active, strict=True)
        ]
        prim.transpose(_cotangents(call, cts), *tree_unflatten(prim.in_tree, flat))
        found = [s.freeze() if a else None for s, a in zip(flat, call.active, strict=True)]
        return [None if isinstance(ct, ad.Zero) else ct for ct in found]

    return Augmented(None, backward)


def _cotangents(call: Call, cts: Sequence[Any]) -> Any:
    """The cotangents in the structure of the output, JAX's symbolic zero where none arrives."""
    flat = [ad.Zero(a.to_ct_aval()) if ct is None else ct for ct, a in zip(cts, call.out_avals, strict=True)]
    return tree_unflatten(call.params["_prim"].out_tree, flat)


class _Sum:
    """What a rule adds the cotangents of an operand to, where JAX has none to offer (before 0.11)."""

    def __init__(self, aval: Any) -> None:
        self.aval, self.value = aval, None

    def accum(self, ct: Any) -> None:
        self.value = ct if self.value is None else lax.add(self.value, ct)

    def freeze(self) -> Any:
        return self.value


_accumulator: Callable[[Any], Any] = getattr(hijax, "ValAccum", _Sum)
