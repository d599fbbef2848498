"""Facts about the equations of a program: bytes of values, and which equations may be run a second time."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

from jax.extend import core

from functional_dl.jaxprs import Literal, open_jaxpr

__all__ = ["is_repeatable", "reads", "size_of"]

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


# What a dimension that is not known when tracing (`jax.export.symbolic_shape`) counts as.
_ASSUMED = 128


def size_of(aval: Any) -> int:
    """Bytes of a value of this type."""
    itemsize = getattr(getattr(aval, "dtype", None), "itemsize", 8)
    count = getattr(aval, "size", 1)
    if not isinstance(count, int):
        count = prod(d if isinstance(d, int) else _ASSUMED for d in aval.shape)
    return count * itemsize


def is_repeatable(eqn: Any) -> bool:
    """Whether ``eqn`` may be run again rather than have its outputs kept."""
    if eqn.effects or eqn.primitive.name in _ONCE:
        return False
    inner: Iterable[Any] = core.jaxprs_in_params(eqn.params)
    return all(is_repeatable(e) for jaxpr in inner for e in open_jaxpr(jaxpr).eqns)


def reads(eqn: Any) -> list[Any]:
    """The variables that ``eqn`` reads."""
    return [v for v in eqn.invars if type(v) is not Literal]
