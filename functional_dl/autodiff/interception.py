"""Tracing under `jax.jit`: custom JVP rules run where they are met, instead of being traced apart and spliced in.

JAX hands a trace the rule of a `jax.custom_jvp` function together with the call.  Left to itself, the trace keeps
both unseen: to differentiate the call later, the rule has to be traced by itself, which for small functions (ReLU)
costs more than all the rest.  So user functions are traced under a trace that passes everything on to the one
below, and runs the rule of a call that a derivative goes through.  Two marks say what is what; they are
identities, and `functional_dl.autodiff.backward` resolves them, so that no program ever holds one:

* ``parted``: an operand as the rule sees it, twice: as a primal, through which no cotangent goes, and as a tangent,
  whose cotangent is the operand's;
* ``link``: an output with its tangent.  The cotangent of the output goes to the tangent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero
from jax.extend import core
from jax.interpreters import ad

from functional_dl import rules
from functional_dl.jaxprs import bind_on, is_float
from functional_dl.rules.book import function_name
from functional_dl.rules.custom_rules import absent_tangent

__all__ = ["LINK", "PARTED", "intercept", "is_absent"]


PARTED, LINK = core.Primitive("parted"), core.Primitive("link")
PARTED.multiple_results = True
PARTED.def_abstract_eval(lambda x: [x, x.to_tangent_aval()])
LINK.def_abstract_eval(lambda y, slope: y)


def is_absent(tangent: Any) -> bool:
    """Whether a custom JVP rule answered that an output has no tangent."""
    return isinstance(tangent, (SymbolicZero, ad.Zero)) or jax.typeof(tangent).dtype == jax.dtypes.float0


class _Interceptor(jax.core.Trace):
    """Passes operations on to the trace below; tells which values depend on the differentiated ones."""

    def __init__(self, below: Any, book: rules.Rulebook) -> None:
        super().__init__()
        self.parent_trace = below
        self.requires_low = False
        self._book = book
        self._active: dict[int, Any] = {}  # by identity; the values are held so that identities stay theirs

    def activate(self, values: Sequence[Any]) -> None:
        """Note that ``values`` depend on what is differentiated."""
        for x in values:
            if isinstance(x, jax.core.Tracer) and is_float(x.aval):
                self._active[id(x)] = x

    def _touched(self, values: Sequence[Any]) -> bool:
        return any(id(x) in self._active for x in values)

    def _pass_on(self, primitive: Any, values: Sequence[Any], params: dict[str, Any]) -> Any:
        """Bind a call of a custom rule on the trace below."""
        with core.set_current_trace(self.parent_trace):
            return self._note(values, primitive.bind(*values, **params), primitive.multiple_results)

    def _note(self, values: Sequence[Any], out: Any, many: bool) -> Any:
        if self._touched(values):
            self.activate(out if many else [out])
        return out

    def stage_value(self, val: Any) -> Any:
        return self.parent_trace.stage_value(val)

    def process_primitive(self, primitive: Any, tracers: Any, params: Any, /) -> Any:
        return self._note(tracers, bind_on(self.parent_trace, primitive, tracers, params), primitive.multiple_results)

    def process_custom_vjp_call(self, primitive: Any, fun: Any, fwd: Any, bwd: Any, tracers: Any, /, **kw: Any) -> Any:
        return self._pass_on(primitive, tracers, {"subfuns": (fun, fwd, bwd), **kw})

    def process_custom_jvp_call(
        self, primitive: Any, fun: Any, jvp: Any, tracers: Any, /, *, symbolic_zeros: bool
    ) -> Any:
        named = self._book.override(primitive.name, lambda: function_name(fun.debug_info))
        if named is not None or not self._touched(tracers):
            return self._pass_on(primitive, tracers, {"subfuns": (fun, jvp), "symbolic_zeros": symbolic_zeros})
        inner = _Interceptor(self.parent_trace, self._book)
        primals, tangents = [], []
        with core.set_current_trace(self.parent_trace):
            for x in tracers:
                moved = id(x) in self._active
                primal, tangent = PARTED.bind(x) if moved else (x, absent_tangent(jax.typeof(x), symbolic_zeros))
                primals.append(primal)
                tangents.append(tangent)
        inner.activate(tangents)
        with core.set_current_trace(inner):
            outs = jvp.call_wrapped(*primals, *tangents)
        inner.invalidate()
        results = []
        with core.set_current_trace(self.parent_trace):
            for y, slope in zip(outs[: len(outs) // 2], outs[len(outs) // 2 :], strict=True):
                linked = not is_absent(slope) and id(slope) in inner._active
                results.append(LINK.bind(y, slope) if linked else y)
                if linked:
                    self.activate(results[-1:])
        return results

    def __getattr__(self, name: str) -> Any:
        # Whatever else JAX asks of a trace (shard_map, calls of older versions, …) the one below answers.
        if name.startswith("_"):
            raise AttributeError(name)
        below = getattr(self.parent_trace, name)
        if not name.startswith("process_"):
            return below

        def process(*args: Any, **kwargs: Any) -> Any:
            out = below(*args, **kwargs)
            # Which operands were active is not known here: all that comes out may be.
            self.activate(out if isinstance(out, (list, tuple)) else [out])
            return out

        return process

    def process_call(self, *args: Any, **kwargs: Any) -> Any:
        return self.__getattr__("process_call")(*args, **kwargs)


def intercept(fun: Callable[..., Any], book: rules.Rulebook) -> Callable[..., Any]:
    """``fun`` as a function to be traced, with the rules of custom JVP calls run in place."""

    def run(*args: Any) -> Any:
        with core.take_current_trace() as below:
            trace = _Interceptor(below, book)
            trace.activate(args)
            with core.set_current_trace(trace):
                return fun(*args)

    return run
