"""The rule of `jax.checkpoint`: what its policy names is kept (or offloaded), the rest is computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
from jax.ad_checkpoint import Recompute

from functional_dl.avals import tied
from functional_dl.jaxprs import Builder, Graph, Literal, Var, close, evaluate, open_jaxpr, prune, rename
from functional_dl.rules.calls import unstated_sharding
from functional_dl.rules.table import Augmented, Call, structural, vjp

__all__: list[str] = []

# Effects that must not be repeated, by JAX's names: of `io_callback` and of foreign calls with side effects.
_ONCE = {"FfiEffect", "IOEffect", "OrderedIOEffect"}


@structural("remat2")
def remat(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = f(x), to be computed again.   The forward keeps what the policy names; the backward makes the rest anew.

    The backward is a ``remat2`` itself, so that its own derivative keeps as little.  JAX compiles one that stems from
    a derivative behind an `optimization_barrier` (where ``prevent_cse`` says so): without it XLA's elimination of
    common subexpressions finds the first computation and keeps its values after all.

    Effects on the host happen once: what has one is kept whatever the policy says.  Debugging output is repeated.
    """
    policy, prevent_cse = call.params["policy"], call.params["prevent_cse"]
    inner = differentiate(_closed(call.params["jaxpr"]), call.active, call.seeded)
    ahead = _opened(open_jaxpr(inner.forward))
    m = len(call.out_avals)
    places = {"input": ahead.inputs, "output": ahead.outputs[:m], "stored": ahead.outputs[m:]}
    needed = [places[kind][i] for kind, i in inner.sources]
    answers = [_answer(policy, eqn) for eqn in ahead.eqns]
    saved = {v: answer for eqn, answer in zip(ahead.eqns, answers, strict=True) if answer for v in eqn.outvars}
    repeated = [eqn for eqn, answer in zip(ahead.eqns, answers, strict=True) if not answer]
    again = prune(repeated, needed, known=saved)
    reads = {v: None for v in needed if type(v) is not Literal}
    reads.update((v, None) for eqn in again for v in eqn.invars if type(v) is not Literal)
    kept = [v for v in reads if v in saved]
    used = [i for i, v in enumerate(ahead.inputs) if v in reads]

    # Operands of the backward: constants of both halves, inputs, kept values, cotangents.
    seeds = [Var(call.out_avals[i].to_ct_aval()) for i in inner.seeds]
    build = Builder()
    inputs = [*[ahead.inputs[i] for i in used], *kept]
    fresh = [Var(v.aval) for v in inputs]
    remade = build.splice(Graph(inputs, needed, again, ahead.constvars, ahead.consts), fresh)
    slopes = build.splice(open_jaxpr(inner.backward), [*remade, *seeds])
    program = close(Graph([*build.constvars, *fresh, *seeds], slopes, build.eqns)).jaxpr
    flags = prevent_cse
    if not isinstance(flags, bool):
        flags = (
            *[False] * len(build.consts),
            *[prevent_cse[i] for i in used],
            *[True] * (len(kept) + len(seeds)),
        )
    params = {**call.params, "jaxpr": program, "differentiated": True, "prevent_cse": flags}

    def forward(*operands: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        outputs = [*ahead.outputs[:m], *kept]
        graph = Graph(ahead.inputs, outputs, prune(ahead.eqns, outputs), ahead.constvars, ahead.consts)
        found = evaluate(graph, operands)
        return found[:m], [_moved(x, saved[v], "dst") for v, x in zip(kept, found[m:], strict=True)]

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        stored = [_moved(x, saved[v], "src") for v, x in zip(kept, residuals, strict=True)]
        values = [*build.consts, *[operands[i] for i in used], *stored, *[cts[i] for i in inner.seeds]]
        return inner.spread(call.primitive.bind(*values, **params), len(operands))

    return Augmented(forward, backward)


@lru_cache(maxsize=1024)
def _closed(jaxpr: Any) -> Any:
    """The program of a ``remat2`` as a closed jaxpr, one and the same each time (it is open before JAX 0.11)."""
    return close(open_jaxpr(jaxpr))


def _opened(graph: Graph) -> Graph:
    """``graph`` with the programs of its ``jit`` calls in their place, so that a policy sees what is in them.

    Calls that state shardings stay as they are.
    """
    if not any(_opens(eqn) for eqn in graph.eqns):
        return graph
    build = Builder()
    names: dict[Any, Any] = {}

    def current(v: Any) -> Any:
        return v if type(v) is Literal else names.get(v, v)

    for eqn in graph.eqns:
        if _opens(eqn):
            outs = build.splice(_opened(open_jaxpr(eqn.params["jaxpr"])), [current(v) for v in eqn.invars])
            names.update(zip(eqn.outvars, outs, strict=True))
        else:
            build.eqns += rename([eqn], names)
    return Graph(
        graph.inputs,
        [current(v) for v in graph.outputs],
        build.eqns,
        [*graph.constvars, *build.constvars],
        [*graph.consts, *build.consts],
    )


def _opens(eqn: Any) -> bool:
    if eqn.primitive.name != "jit":
        return False
    return all(s is unstated_sharding() for s in (*eqn.params["in_shardings"], *eqn.params["out_shardings"]))


def _answer(policy: Callable[..., Any] | None, eqn: Any) -> Any:
    """What a `jax.checkpoint` policy says of the values that ``eqn`` makes: ``False`` to compute them again."""
    if any(type(effect).__name__ in _ONCE for effect in eqn.effects):
        return True
    if policy is None:
        return False
    answer = policy(eqn.primitive, *[v.aval for v in eqn.invars], **eqn.params)
    return False if isinstance(answer, type(Recompute)) else answer


def _moved(x: Any, answer: Any, end: str) -> Any:
    """``x`` in the memory where a policy's answer keeps it (``end="dst"``), or back where it was (``"src"``)."""
    kind = getattr(answer, end, None)
    if kind is None:
        return x
    return jax.device_put(x, jax.memory.Space.Device if kind == "device" else jax.memory.Space.Host)


@vjp("optimization_barrier")
def optimization_barrier(ct: Any, y: Any, *operands: Any) -> Any:
    """y = x, not to be optimised across.   x̄ = ȳ, behind a barrier of its own."""
    seeds = iter(tied([c for c in ct if c is not None]))
    return [None if c is None else next(seeds) for c in ct]
