"""Programs that measure functional_dl against jax.grad; each prints a table and writes JSON."""
