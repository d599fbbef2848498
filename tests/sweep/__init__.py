"""The sweep: every public function of JAX that takes floating arrays, at first and second order, against `jax.grad`."""
