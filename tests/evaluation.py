"""Running a traced program one primitive at a time, plain arithmetic in NumPy, so that nothing is compiled twice.

The sweep traces thousands of tiny programs that run once.  Compiling them takes XLA ten times as long as all the rest;
their primitives are few and recur, so that each is compiled (or, here, is a call of NumPy) only once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.extend import core

__all__ = ["NUMPY", "evaluate", "primitives_in"]


def _broadcast(x: Any, *_: Any, shape: tuple[int, ...], broadcast_dimensions: tuple[int, ...], **__: Any) -> Any:
    lengths = [1] * len(shape)
    for axis, length in zip(broadcast_dimensions, np.shape(x), strict=True):
        lengths[axis] = length
    return np.broadcast_to(np.reshape(x, lengths), shape)


def _dot(a: Any, b: Any, *, dimension_numbers: Any, preferred_element_type: Any, **_: Any) -> Any:
    (a_sum, b_sum), (a_batch, b_batch) = dimension_numbers
    left, right = list(range(np.ndim(a))), list(range(50, 50 + np.ndim(b)))
    for i, j in (*zip(a_sum, b_sum, strict=True), *zip(a_batch, b_batch, strict=True)):
        right[j] = left[i]
    kept = [i for i in left if i not in (*a_sum, *a_batch)] + [j for j in right if j >= 50]
    letter = dict(zip(dict.fromkeys(left + right), range(52), strict=False))
    spell = lambda axes: [letter[i] for i in axes]
    if preferred_element_type is not None:  # products and sums are of this type
        a, b = a.astype(preferred_element_type), b.astype(preferred_element_type)
    return np.einsum(a, spell(left), b, spell(right), spell([*a_batch, *kept]))


def _iota(*_: Any, dtype: Any, shape: tuple[int, ...], dimension: int, **__: Any) -> Any:
    lengths = [length if axis == dimension else 1 for axis, length in enumerate(shape)]
    return np.broadcast_to(np.arange(shape[dimension], dtype=dtype).reshape(lengths), shape)


def _convert(x: Any, *, new_dtype: Any, **_: Any) -> Any:
    if np.iscomplexobj(x) and not np.issubdtype(new_dtype, np.complexfloating):
        x = np.real(x)  # NumPy would warn
    return np.asarray(x).astype(new_dtype)


def _divide(x: Any, y: Any) -> Any:
    if np.issubdtype(np.asarray(x).dtype, np.inexact):
        return np.divide(x, y)
    return np.sign(x) * np.sign(y) * (np.abs(x) // np.abs(y))  # towards zero


def _pad(x: Any, value: Any, *, padding_config: Any) -> Any:
    for axis, (low, high, interior) in enumerate(padding_config):
        length = x.shape[axis] + max(x.shape[axis] - 1, 0) * interior
        wide = np.full((*x.shape[:axis], max(low, 0) + length + max(high, 0), *x.shape[axis + 1 :]), value, x.dtype)
        lanes = (slice(None),) * axis
        wide[(*lanes, slice(max(low, 0), max(low, 0) + length, interior + 1))] = x
        x = wide[(*lanes, slice(max(-low, 0), wide.shape[axis] - max(-high, 0)))]
    return x


def _reshape(x: Any, *, new_sizes: Any, dimensions: Any, **_: Any) -> Any:
    return np.reshape(x if dimensions is None else np.transpose(x, dimensions), new_sizes)


def _select(which: Any, *cases: Any) -> Any:
    return np.where(which, cases[1], cases[0]) if len(cases) == 2 else np.choose(which, cases)


def _slice(x: Any, *, start_indices: Any, limit_indices: Any, strides: Any) -> Any:
    strides = strides or [1] * np.ndim(x)
    return x[tuple(map(slice, start_indices, limit_indices, strides))]


def _split(x: Any, *, sizes: Sequence[int], axis: int) -> Any:
    return np.split(x, np.cumsum(sizes)[:-1], axis)


def _reduce(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *, axes, **_: fun(x, axis=tuple(axes))


def _cumulative(fun: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Any, *, axis: int, reverse: bool) -> Any:
        return np.flip(fun(np.flip(x, axis), axis=axis), axis) if reverse else fun(x, axis=axis)

    return run


_PLAIN = {
    "abs": np.abs, "add": np.add, "add_any": np.add, "and": np.bitwise_and, "asinh": np.arcsinh, "atan2": np.arctan2,
    "cbrt": np.cbrt, "ceil": np.ceil, "copy": np.array, "cos": np.cos, "cosh": np.cosh, "eq": np.equal,
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "floor": np.floor, "ge": np.greater_equal, "gt": np.greater,
    "imag": np.imag, "is_finite": np.isfinite, "le": np.less_equal, "log": np.log, "log1p": np.log1p, "lt": np.less,
    "max": np.maximum, "min": np.minimum, "mul": np.multiply, "ne": np.not_equal, "neg": np.negative, "not": np.invert,
    "or": np.bitwise_or, "pow": np.power, "real": np.real, "sign": np.sign, "sin": np.sin, "sinh": np.sinh,
    "sqrt": np.sqrt, "square": np.square, "stop_gradient": np.array, "sub": np.subtract, "tan": np.tan,
    "tanh": np.tanh, "xor": np.bitwise_xor,
}  # fmt: skip


def _plain(fun: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands, **_: fun(*operands)


NUMPY: dict[str, Callable[..., Any]] = {
    **{name: _plain(fun) for name, fun in _PLAIN.items()},
    "broadcast_in_dim": _broadcast,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "complex": lambda x, y: x + 1j * y,
    "concatenate": lambda *operands, dimension: np.concatenate(operands, dimension),
    "conj": lambda x, **_: np.conj(x) + 0j,
    "convert_element_type": _convert,
    "cumprod": _cumulative(np.cumprod),
    "cumsum": _cumulative(np.cumsum),
    "div": _divide,
    "dot_general": _dot,
    "expand_dims": lambda x, *, dimensions: np.expand_dims(x, dimensions),
    "integer_pow": lambda x, *, y: np.power(x, y) if y >= 0 else 1 / np.power(x, -y),
    "iota": _iota,
    "logistic": lambda x, **_: 1 / (1 + np.exp(-x)),
    "optimization_barrier": lambda *operands: operands,
    "pad": _pad,
    "reduce_and": _reduce(np.logical_and.reduce),
    "reduce_max": _reduce(np.max),
    "reduce_min": _reduce(np.min),
    "reduce_or": _reduce(np.logical_or.reduce),
    "reduce_prod": _reduce(np.prod),
    "reduce_sum": _reduce(np.sum),
    "rem": _plain(np.fmod),
    "reshape": _reshape,
    "rev": lambda x, *, dimensions: np.flip(x, dimensions),
    "rsqrt": lambda x, **_: 1 / np.sqrt(x),
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "squeeze": lambda x, *, dimensions: np.squeeze(x, tuple(dimensions)),
    "transpose": lambda x, *, permutation: np.transpose(x, permutation),
}  # fmt: skip

# Primitives that are nothing but a program inside, and the parameter that holds it.
_CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "remat2": "jaxpr", "checkpoint": "jaxpr", "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
}  # fmt: skip
_seen: set[Any] = set()
# Outside jit JAX compiles these anew each time, or does not allow all that it does inside.
_COMPILED = {"layout_constraint", "random_gamma", "shard_map"}


def primitives_in(jaxpr: Any) -> set[str]:
    """The names of all primitives in a jaxpr and the jaxprs inside it."""
    names: set[str] = set()
    for eqn in jaxpr.eqns:
        names.add(eqn.primitive.name)
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            names |= primitives_in(inner)
    return names


def evaluate(closed: Any, args: Sequence[Any]) -> list[Any]:
    """The outputs of a traced program at ``args``."""
    jaxpr = getattr(closed, "jaxpr", closed)
    env = dict(zip(jaxpr.constvars, map(_as_numpy, getattr(closed, "consts", ())), strict=True))
    env.update(zip(jaxpr.invars, map(_as_numpy, args), strict=True))
    for eqn in jaxpr.eqns:
        values = [np.asarray(v.val, v.aval.dtype) if type(v) is core.Literal else env[v] for v in eqn.invars]
        env.update(zip(eqn.outvars, _apply(eqn, values), strict=True))
    return [np.asarray(v.val, v.aval.dtype) if type(v) is core.Literal else env[v] for v in jaxpr.outvars]


def _cond(eqn: Any, values: list[Any]) -> Sequence[Any]:
    branches = eqn.params["branches"]
    return evaluate(branches[int(np.clip(values[0], 0, len(branches) - 1))], values[1:])


def _while(eqn: Any, values: list[Any]) -> Sequence[Any]:
    test, body, c, b = (eqn.params[key] for key in ("cond_jaxpr", "body_jaxpr", "cond_nconsts", "body_nconsts"))
    carry = values[c + b :]
    while evaluate(test, [*values[:c], *carry])[0]:
        carry = evaluate(body, [*values[c : c + b], *carry])
    return carry


def _scan(eqn: Any, values: list[Any]) -> Sequence[Any]:
    body, length = eqn.params["jaxpr"], eqn.params["length"]
    if "num_consts" in eqn.params:
        c, n = eqn.params["num_consts"], eqn.params["num_carry"]
    else:
        c, n, _ = map(len, eqn.params["ft_in"].unpack())
    carry, rows = values[c : c + n], [None] * length
    for i in range(length)[:: -1 if eqn.params["reverse"] else 1]:
        out = evaluate(body, [*values[:c], *carry, *[np.asarray(x)[i] for x in values[c + n :]]])
        carry, rows[i] = out[:n], out[n:]
    return [*carry, *map(np.stack, zip(*rows, strict=True))]


def _linear_solve(eqn: Any, values: list[Any]) -> Sequence[Any]:
    lengths, jaxprs = eqn.params["const_lengths"], eqn.params["jaxprs"]
    before, count = lengths.matvec + lengths.vecmat, lengths.solve
    consts, operands = values[before : before + count], values[before + count + lengths.transpose_solve :]
    return evaluate(jaxprs.solve, [*consts, *operands])


_LOOPS = {"cond": _cond, "while": _while, "scan": _scan, "custom_linear_solve": _linear_solve}


def _is_odd(eqn: Any) -> bool:
    """Whether a loop is better left to XLA: no step at all, or each row of a batch has its own number of steps."""
    return eqn.params.get("length") == 0 or (
        "cond_jaxpr" in eqn.params and eqn.params["cond_jaxpr"].out_avals[0].ndim > 0
    )


def _is_plain(v: Any) -> bool:
    """Whether a value is an array of a type that NumPy itself knows (not a key, not an 8-bit float)."""
    return getattr(getattr(v.aval, "dtype", None), "kind", "O") in "biufc"


def _apply(eqn: Any, values: list[Any]) -> Sequence[Any]:
    name = eqn.primitive.name
    if name in _CALLS:
        return evaluate(eqn.params[_CALLS[name]], values)
    if name in _LOOPS and all(map(_is_plain, eqn.invars)) and not _is_odd(eqn):
        return _LOOPS[name](eqn, values)
    if name not in NUMPY or not all(map(_is_plain, [*eqn.invars, *eqn.outvars])):
        return _bind(eqn, values)
    with np.errstate(all="ignore"):
        found = NUMPY[name](*values, **eqn.params)
    found = found if eqn.primitive.multiple_results else [found]
    # The first of its kind is run by XLA too: the kind is what parameters are given, and what types the operands have.
    kind = (
        name,
        *[key for key, value in eqn.params.items() if value],
        frozenset(v.aval.dtype.kind for v in eqn.invars),
    )
    if kind not in _seen:
        _seen.add(kind)
        for ours, due in zip(found, _bind(eqn, values), strict=True):
            precision = 1e-12 if due.dtype.itemsize >= 8 else 1e-5
            np.testing.assert_allclose(ours, due, precision, precision, err_msg=f"NumPy's {name}")
    for value, v in zip(found, eqn.outvars, strict=True):
        assert (np.shape(value), np.asarray(value).dtype) == (v.aval.shape, v.aval.dtype), f"{name}: not {v.aval}"
    return found


@lru_cache
def _compiled(primitive: Any, params: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    def run(*values: Any) -> Any:
        found = primitive.bind(*values, **primitive.get_bind_params(dict(params)))
        return list(found) if primitive.multiple_results else found

    return jax.jit(run)


def _bind(eqn: Any, values: list[Any]) -> Sequence[Any]:
    """The equation run by XLA; arrays come back as NumPy's, keys as they are."""
    with eqn.ctx.manager:
        if eqn.primitive.name in _COMPILED:
            found = _compiled(eqn.primitive, tuple(eqn.params.items()))(*values)
        else:
            found = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    found = found if eqn.primitive.multiple_results else [found]
    return list(map(_as_numpy, found))


def _as_numpy(x: Any) -> Any:
    """An array as NumPy's, whose methods compile nothing; a random key as it is."""
    return x if isinstance(x, np.ndarray) or jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended) else np.asarray(x)
