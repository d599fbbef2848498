"""What here is no test: the scripts that made the figures of other libraries, which need these libraries."""

collect_ignore = ["figures/make_keras.py", "figures/make_optax.py", "figures/make_torch.py"]
