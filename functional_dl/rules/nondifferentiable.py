"""Stated zeros and refusals: primitives whose outputs do not vary differentiably with their operands, and why."""

from __future__ import annotations

from functional_dl.rules.table import refuse, zero

__all__: list[str] = []

zero("booleans do not vary", "eq", "ne", "lt", "le", "gt", "ge", "eq_to", "lt_to", "le_to", "is_finite")
zero("piecewise constant", "floor", "ceil", "round")
zero(
    "integers and bits do not vary",
    "and", "or", "not", "xor", "clz", "population_count", "mulhi", "shift_left", "shift_right_arithmetic",
    "shift_right_logical", "bitcast_convert_type", "reduce_and", "reduce_or", "reduce_xor", "lu_pivots_to_permutation",
)  # fmt: skip
zero("indices do not vary", "argmax", "argmin", "iota", "axis_index", "platform_index")
zero("its contents are not defined", "empty", "empty2")
zero("asked for by the user", "stop_gradient")
zero(
    "random keys and bits do not vary",
    "random_bits", "random_clone", "random_fold_in", "random_seed", "random_split", "random_unwrap", "random_wrap",
    "rng_bit_generator", "rng_uniform", "threefry2x32",
)  # fmt: skip
zero("tokens carry no value", "after_all", "create_token")
zero("it has no output", "dce_sink")
zero("it tells the host, and returns nothing", "debug_callback", "debug_print")
refuse(
    "what it computes happens outside JAX, which knows no derivative of it; wrap the call in jax.custom_vjp (or "
    "jax.custom_jvp) to state one, or stop the gradient before it",
    "ffi_call", "io_callback", "pure_callback",
)  # fmt: skip
