"""Rules of primitives that call a program: ``jit``, ``composite``, ``custom_vmap``, ``linear_call`` and others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax

from functional_dl.avals import zeros
from functional_dl.jaxprs import Graph, Var, close, evaluate, open_jaxpr
from functional_dl.rules.table import Augmented, Call, Spliced, refuse, structural

__all__ = ["unstated_sharding"]


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
    unstated = unstated_sharding()

    def bind(closed: Any, operands: Sequence[Any], name: str, ins: Any, outs: Any, in_lay: Any, out_lay: Any) -> Any:
        program, outer = _lifted(closed)
        k = len(outer)
        return call.primitive.bind(
            *outer,
            *operands,
            **{
                **params,
                "jaxpr": program,
                "name": name,
                "in_shardings": (*[unstated] * k, *ins),
                "out_shardings": tuple(outs),
                "in_layouts": (*[None] * k, *in_lay),
                "out_layouts": tuple(out_lay),
                "donated_invars": (False,) * (k + len(operands)),
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

    return Augmented(forward, backward, [(inner, inner.sources.index(("stored", k))) for k in range(len(inner.stored))])


@cache
def unstated_sharding() -> Any:
    """JAX's mark for a sharding left to the compiler, seen on a jit that states none."""
    with jax.disable_jit(False):
        return jax.make_jaxpr(jax.jit(lambda x: x))(0.0).eqns[0].params["in_shardings"][0]


def _lifted(closed: Any) -> tuple[Any, list[Any]]:
    """A closed jaxpr without the tracers among its constants, which become leading inputs, and those tracers.

    A custom rule that closes over values of a trace under way brings them along; a compiled program cannot hold them.
    """
    graph = open_jaxpr(closed)
    outer = [i for i, c in enumerate(graph.consts) if isinstance(c, jax.core.Tracer)]
    if not outer:
        return closed, []
    rest = [i for i in range(len(graph.consts)) if i not in outer]
    inputs = [*[graph.constvars[i] for i in outer], *graph.inputs]
    program = Graph(
        inputs, graph.outputs, graph.eqns, [graph.constvars[i] for i in rest], [graph.consts[i] for i in rest]
    )
    return close(program), [graph.consts[i] for i in outer]


@structural("composite")
def composite(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """y = f(x), given to the compiler under a name.   x̄ by the decomposition that comes with it."""
    program = call.params["call_jaxpr"] if "call_jaxpr" in call.params else call.params["jaxpr"]  # before JAX 0.11
    return differentiate(program, call.active, call.seeded).spliced()


@structural("custom_vmap_call")
def custom_vmap_call(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """y = f(x), with a rule of the user's own under `jax.vmap`.   x̄ by f; a vmap of the gradient is f's own."""
    return differentiate(call.params["call"], call.active, call.seeded).spliced()


@structural("closed_call", "eval_jaxpr")
def closed_call(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """y = f(x).   x̄ is f's reverse pass."""
    return differentiate(call.params["call_jaxpr"], call.active, call.seeded).spliced()


@structural("call")
def open_call(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """y = f(x).   x̄ is f's reverse pass."""
    return differentiate(close(open_jaxpr(call.params["call_jaxpr"])), call.active, call.seeded).spliced()


@structural("remat_opt")
def remat_opt(call: Call, differentiate: Callable[..., Any]) -> Spliced:
    """r, y = fwd(x), the forward of a `jax.custom_vjp` with ``optimize_remat``, met at the second order.

    Its derivative is that of any forward: of the program it is.
    """
    return differentiate(close(open_jaxpr(call.params["fwd_jaxpr"])), call.active, call.seeded).spliced()


@structural("linear_call", cacheable=False)
def linear_call(call: Call, differentiate: Callable[..., Any]) -> Augmented:
    """y = A(r) x, with the user's own Aᵀ.   x̄ = A(r)ᵀ ȳ,   r̄ = ∂/∂r ⟨ȳ, A(r) x⟩ by the program of A.

    The transpose is itself a ``linear_call`` whose transpose is A.  Both take the constants of both programs as
    operands, so that neither holds values of a trace that may be over when the other is needed.
    """
    params = call.params
    consts, count = params["num_callee_consts"], params["num_res"]
    k = consts + count
    callee = params["callee"]
    inner = None
    if any(call.active[:k]):
        inner = differentiate(callee, (*call.active[:k], *[False] * (len(call.in_avals) - k)), call.seeded)

    def backward(cts: Sequence[Any], ys: Sequence[Any], residuals: Sequence[Any], *operands: Any) -> Sequence[Any]:
        transpose, own = params["transpose_thunk"]()
        backward, onward = open_jaxpr(transpose), open_jaxpr(callee)
        n = len(own)
        # Operands of both: constants of the transpose, constants of A, residuals, and then what each is linear in.
        there = [*backward.inputs[:n], *[Var(v.aval) for v in onward.inputs[:consts]], *backward.inputs[n:]]
        back = [*[Var(v.aval) for v in backward.inputs[:n]], *onward.inputs]
        y_bar = [zeros(a.to_ct_aval()) if ct is None else ct for ct, a in zip(cts, call.out_avals, strict=True)]
        x_bar = call.primitive.bind(
            *own,
            *operands[:k],
            *y_bar,
            callee=close(Graph(there, backward.outputs, backward.eqns, backward.constvars, backward.consts)),
            transpose_thunk=lambda: (
                close(Graph(back, onward.outputs, onward.eqns, onward.constvars, onward.consts)),
                [],
            ),
            num_callee_consts=0,
            num_res=n + k,
        )
        found: list[Any] = [*[None] * k, *x_bar]
        if inner is not None:
            ahead = evaluate(open_jaxpr(inner.forward), operands)
            given = inner.residuals(operands, ahead[: len(ys)], ahead[len(ys) :])
            slopes = evaluate(open_jaxpr(inner.backward), [*given, *[cts[i] for i in inner.seeds]])
            found[:k] = inner.spread(slopes, len(operands))[:k]
        return found

    return Augmented(None, backward)


refuse(
    "an exported program carries its gradient in Exported.vjp, which calling it through Exported.call uses; this one "
    "was exported or serialized without (vjp_order=0)",
    "call_exported",
)
