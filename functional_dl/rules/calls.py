"""Rules of primitives that call a program: ``jit``, ``custom_jvp``, ``custom_vjp``, ``remat``, barriers and names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad

from functional_dl.jaxprs import Graph, bind_trailing, close, evaluate, is_float, open_jaxpr, prune, trace
from functional_dl.rules.table import Augmented, Call, Spliced, structural, vjp

__all__: list[str] = []


@structural("jit")
def jit(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = f(x), compiled as one.   The forward and the backward of f are compiled as one each.

    Shardings and layouts of operands and outputs carry over to their cotangents; those of residuals are left to
    the compiler.  Donation is dropped: a donated operand may be a residual.
    """
    params = call.params
    inner = differentiate(params["jaxpr"], call.active, call.seeded)
    m = len(call.out_avals)
    shardings, out_shardings = params["in_shardings"], params["out_shardings"]
    layouts, out_layouts = params["in_layouts"], params["out_layouts"]
    unstated = _unstated_sharding()

    def bind(jaxpr: Any, operands: Sequence[Any], name: str, ins: Any, outs: Any, in_lay: Any, out_lay: Any) -> Any:
        return call.primitive.bind(
            *operands,
            **{
                **params,
                "jaxpr": jaxpr,
                "name": name,
                "in_shardings": tuple(ins),
                "out_shardings": tuple(outs),
                "in_layouts": tuple(in_lay),
                "out_layouts": tuple(out_lay),
                "donated_invars": (False,) * len(operands),
            },
        )

    def forward(*operands: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        extra = len(inner.stored)
        outs = bind(
            inner.forward,
            operands,
            params["name"],
            shardings,
            (*out_shardings, *[unstated] * extra),
            layouts,
            (*out_layouts, *[None] * extra),
        )
        return outs[:m], outs[m:]

    def backward(cts: Sequence[Any], ys: Sequence[Any], stored: Sequence[Any], *operands: Any) -> Sequence[Any]:
        residuals = inner.residuals(operands, ys, stored)
        gradients = bind(
            inner.backward,
            [*residuals, *[cts[i] for i in inner.seeds]],
            f"vjp_{params['name']}",
            [*[unstated] * len(residuals), *[out_shardings[i] for i in inner.seeds]],
            [shardings[i] for i in inner.targets],
            [*[None] * len(residuals), *[out_layouts[i] for i in inner.seeds]],
            [layouts[i] for i in inner.targets],
        )
        return inner.spread(gradients, len(operands))

    return Augmented(forward, backward)


def _unstated_sharding() -> Any:
    """JAX's mark for a sharding left to the compiler, seen on a jit that states none."""
    return jax.make_jaxpr(jax.jit(lambda x: x))(0.0).eqns[0].params["in_shardings"][0]


@structural("custom_jvp_call", cacheable=False)
def custom_jvp_call(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """y = f(x) with the user's own ẏ = J(x) ẋ.   x̄ = J(x)ᵀ ȳ.

    The user's rule is traced at fixed primals.  It is linear in the tangents, so its reverse pass with respect to
    them, by our own rules, is its transpose, and reads no tangent; were one read all the same (a rule that is
    linear but does not look it), zero serves, since a linear map has the same derivative everywhere.
    """
    _, jvp = call.primitive.get_bind_params(call.params)["subfuns"]
    n, m = len(call.in_avals), len(call.out_avals)
    tangents = [i for i, a in enumerate(call.in_avals) if call.active[i]]

    def both(*values: Any) -> Sequence[Any]:
        given = dict(zip(tangents, values[n:], strict=True))
        filled = [given[i] if i in given else _instantiated(None, a) for i, a in enumerate(call.in_avals)]
        outs = jvp.call_wrapped(*values[:n], *filled)
        return [*outs[:m], *[t for t, s in zip(outs[m:], call.seeded, strict=True) if s]]

    linear = trace(both, *call.in_avals, *[call.in_avals[i].to_tangent_aval() for i in tangents])
    inner = differentiate(
        close(linear), (*[False] * n, *[True] * len(tangents)), (*[False] * m, *[True] * sum(call.seeded))
    )
    ahead = open_jaxpr(inner.forward)
    outs = m + sum(call.seeded)
    residuals = inner.residuals(ahead.inputs, ahead.outputs[:outs], ahead.outputs[outs:])
    outputs = [*ahead.outputs[:m], *residuals]
    forward = Graph(ahead.inputs, outputs, prune(ahead.eqns, outputs), ahead.constvars, ahead.consts)
    targets = tuple(tangents[i - n] for i in inner.targets)
    return Spliced(bind_trailing(forward, n), open_jaxpr(inner.backward), targets)


@structural("custom_vjp_call", cacheable=False)
def custom_vjp_call(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y, r = fwd(x);   x̄ = bwd(r, ȳ), both the user's own."""
    _, fwd, bwd = call.primitive.get_bind_params(call.params)["subfuns"]
    m = len(call.out_avals)
    consts = call.params["num_consts"]

    def forward(*operands: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        flat = [x for i, v in enumerate(operands) for x in (v, i >= consts)]
        found = fwd.call_wrapped(*flat)
        _, tree, forwarded = call.params["out_trees"]()
        own = iter(found[: len(found) - m])
        # A residual that is an input is not returned: its place in `forwarded` says which input it is.
        residuals = [next(own) if i is None else operands[consts + i] for i in forwarded]
        assert tree.num_leaves == len(residuals)
        return found[len(found) - m :], residuals

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        full = [_instantiated(ct, a) for ct, a in zip(cts, call.out_avals, strict=True)]
        found = bwd.call_wrapped(*residuals, *full)
        if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], list):
            found = found[0]  # from 0.11 on the cotangents come with a log
        found = [None if isinstance(ct, (ad.Zero, SymbolicZero)) or ct is None else ct for ct in found]
        if len(found) != len(operands):
            found = [None] * consts + list(found)
        return [ct if is_float(a) else None for ct, a in zip(found, call.in_avals, strict=True)]

    return Augmented(forward, backward)


def _instantiated(ct: Any, aval: Any) -> Any:
    """A cotangent as an array: zeros where none arrives, float0 where none can."""
    if ct is not None:
        return ct
    if is_float(aval):
        return lax.full(aval.shape, 0, aval.dtype)
    return np.zeros(aval.shape, jax.dtypes.float0)


@structural("remat2")
def remat(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = f(x), to be computed again.   The forward keeps what the policy names; the backward makes the rest anew.

    The recomputation starts from operands and kept values that have gone through an `optimization_barrier`
    together with the arriving cotangents.  Without it XLA's common-subexpression elimination finds the first
    computation and keeps its values after all.
    """
    policy = call.params["policy"]
    inner = differentiate(close(open_jaxpr(call.params["jaxpr"])), call.active, call.seeded)
    ahead = open_jaxpr(inner.forward)
    m = len(call.out_avals)
    places = {"input": ahead.inputs, "output": ahead.outputs[:m], "stored": ahead.outputs[m:]}
    needed = [places[kind][i] for kind, i in inner.sources]
    saveable = {v for eqn in ahead.eqns if policy is not None and _saves(policy, eqn) for v in eqn.outvars}
    again = prune(ahead.eqns, needed, known=saveable)
    read = {v: None for v in needed if v in saveable}
    read.update((v, None) for eqn in again for v in eqn.invars if _hashed(v) and v in saveable)
    kept = list(read)
    operands_read = {v for eqn in again for v in eqn.invars if _hashed(v)} | {v for v in needed if _hashed(v)}

    def forward(*operands: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        outputs = [*ahead.outputs[:m], *kept]
        graph = Graph(ahead.inputs, outputs, prune(ahead.eqns, outputs), ahead.constvars, ahead.consts)
        outs = evaluate(graph, operands)
        return outs[:m], outs[m:]

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        seeds = [ct for ct in cts if ct is not None]
        used = [i for i, v in enumerate(ahead.inputs) if v in operands_read]
        inputs = [operands[i] for i in used]
        if call.params["prevent_cse"]:
            n, k = len(used), len(kept)
            tied = lax.optimization_barrier([*inputs, *residuals, *seeds])
            inputs, residuals, seeds = tied[:n], tied[n : n + k], tied[n + k :]
        graph = Graph([*[ahead.inputs[i] for i in used], *kept], needed, again, ahead.constvars, ahead.consts)
        remade = evaluate(graph, [*inputs, *residuals])
        return inner.spread(evaluate(open_jaxpr(inner.backward), [*remade, *seeds]), len(operands))

    return Augmented(forward, backward)


def _hashed(v: Any) -> bool:
    return getattr(v, "__hash__", None) is not None


def _saves(policy: Callable[..., Any], eqn: Any) -> bool:
    """Whether a `jax.checkpoint` policy keeps what ``eqn`` makes; a value to be offloaded is kept where it is."""
    answer = policy(eqn.primitive, *[v.aval for v in eqn.invars], **eqn.params)
    return answer if isinstance(answer, bool) else "Recompute" not in type(answer).__name__


@vjp("optimization_barrier")
def optimization_barrier(ct: Any, y: Any, *operands: Any) -> Any:
    """y = x, not to be optimised across.   x̄ = ȳ, behind a barrier of its own."""
    seeds = [c for c in ct if c is not None]
    tied = iter(lax.optimization_barrier(seeds))
    return [None if c is None else next(tied) for c in ct]
