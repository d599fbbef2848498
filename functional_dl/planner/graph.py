"""Facts about the equations of a program: bytes of values, operations, and which equations may be run again."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from jax.extend import core

from functional_dl.jaxprs import Literal, open_jaxpr

__all__ = ["VIEWS", "cost", "flops", "is_pure", "is_repeatable", "reads", "size_of"]

# Running these again costs more than keeping what they make: contractions and convolutions, loops, randomness,
# sorts, factorisations, exchanges between devices, and functions whose cost is not known.
_COSTLY = """
    dot_general conv_general_dilated ragged_dot_general scaled_dot scaled_matmul_wrapper
    scan while cond custom_jvp_call custom_vjp_call custom_vmap_call custom_linear_solve linear_call composite
    call_hi_primitive call_exported remat2 remat_opt shard_map run_state
    random_bits random_seed random_split random_fold_in random_gamma rng_uniform rng_bit_generator threefry2x32
    sort top_k approx_top_k cumsum cumprod cummax cummin cumlogsumexp reduce_window reduce_window_sum
    reduce_window_max reduce_window_min select_and_scatter_add select_and_gather_add
    gather scatter scatter-add scatter-sub scatter-mul scatter-min scatter-max scatter_apply
    fft cholesky cholesky_update lu qr geqrf householder_product ormqr svd eig eigh schur hessenberg tridiagonal
    triangular_solve tridiagonal_solve symmetric_product
    all_gather all_gather_invariant all_to_all ragged_all_to_all ppermute psum psum_invariant pmax pmin reduce_scatter
    pbroadcast pbroadcast_dynamic all_gather_reduced unreduced_reduce_scatter unreduced_psum device_put reshard
    pure_callback io_callback ffi_call debug_callback debug_print
    igamma igammac igamma_grad_a regularized_incomplete_beta zeta polygamma random_gamma_grad
    new_ref get swap addupdate freeze
"""
_ONCE = frozenset(_COSTLY.split())
# Python may look at what these are called with, and how often.
_IMPURE = frozenset(["pure_callback", "io_callback", "ffi_call", "late_call"])
_CUBIC = frozenset(
    [
        "cholesky",
        "lu",
        "qr",
        "geqrf",
        "householder_product",
        "ormqr",
        "svd",
        "eig",
        "eigh",
        "schur",
        "hessenberg",
        "tridiagonal",
        "triangular_solve",
    ]
)


# No memory and no work: another look at what they read.
VIEWS = frozenset(["reshape", "squeeze", "expand_dims", "optimization_barrier", "stop_gradient"])

# What a dimension that is not known when tracing (`jax.export.symbolic_shape`) counts as.
_ASSUMED = 128


def size_of(aval: Any) -> int:
    """Bytes of a value of this type."""
    return _count(aval) * getattr(getattr(aval, "dtype", None), "itemsize", 8)


def is_pure(eqn: Any) -> bool:
    """Whether ``eqn`` may be run twice at all: it has no effects, and is not a call back into Python."""
    return not eqn.effects and eqn.primitive.name not in _IMPURE


def is_repeatable(eqn: Any) -> bool:
    """Whether running ``eqn`` again costs less than to keep its outputs."""
    if eqn.effects or eqn.primitive.name in _ONCE:
        return False
    kind = (eqn.primitive, *eqn.params)
    holds = _HOLD_PROGRAMS.get(kind)
    if holds is None:  # looking at every parameter of every equation would take a tenth of the planning
        named = any("jaxpr" in key or key in ("branches", "call") for key in eqn.params)
        holds = _HOLD_PROGRAMS[kind] = named or any(True for _ in core.jaxprs_in_params(eqn.params))
    if not holds:
        return True
    inner: Iterable[Any] = core.jaxprs_in_params(eqn.params)
    return all(is_repeatable(e) for jaxpr in inner for e in open_jaxpr(jaxpr).eqns)


# Per primitive and names of its parameters, whether one of them may be a program.
_HOLD_PROGRAMS: dict[Any, bool] = {}


def cost(eqn: Any) -> int:
    """What it costs to run ``eqn`` again, in operations; nothing where it is cheaper than a load of what it makes."""
    return 0 if is_repeatable(eqn) else flops(eqn)


def flops(eqn: Any) -> int:
    """Arithmetic operations of ``eqn``, roughly: those of contractions exactly, one per element of anything else."""
    name, params = eqn.primitive.name, eqn.params
    out = sum(_count(v.aval) for v in eqn.outvars)
    if name in VIEWS:
        return 0
    if name in ("dot_general", "ragged_dot_general"):
        axes = params["dimension_numbers"][0][0] if name == "dot_general" else _ragged_axes(params)
        return 2 * out * prod(_length(eqn.invars[0].aval.shape[i]) for i in axes)
    if name == "conv_general_dilated":
        kernel = eqn.invars[1].aval
        features = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return 2 * out * _count(kernel) // max(_length(features), 1)
    if name == "scan":
        return params["length"] * sum(flops(e) for e in open_jaxpr(params["jaxpr"]).eqns)
    if name == "cond":
        return max(sum(flops(e) for e in open_jaxpr(branch).eqns) for branch in params["branches"])
    if name in _CUBIC:
        aval = eqn.invars[0].aval
        return out * _length(aval.shape[-1]) if getattr(aval, "ndim", 0) else out
    inner = [sum(flops(e) for e in open_jaxpr(jaxpr).eqns) for jaxpr in core.jaxprs_in_params(params)]
    if inner:
        return sum(inner)
    return max(out, *[_count(v.aval) for v in eqn.invars]) if eqn.invars else out


def _ragged_axes(params: Any) -> Any:
    numbers = params["ragged_dot_dimension_numbers"].dot_dimension_numbers
    return numbers[0][0]


def _count(aval: Any) -> int:
    """How many elements a value of this type has."""
    return prod(_length(d) for d in getattr(aval, "shape", ()))


def _length(d: Any) -> int:
    return d if isinstance(d, int) else _ASSUMED


def reads(eqn: Any) -> list[Any]:
    """The variables that ``eqn`` reads."""
    return [v for v in eqn.invars if type(v) is not Literal]
