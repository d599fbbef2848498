"""The transforms that users call: `vjp`, `grad`, `value_and_grad`, `jacrev`, `hessian` and `hvp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.tree_util import register_pytree_node_class, tree_flatten, tree_map, tree_structure, tree_unflatten

from functional_dl.autodiff.backward import joint, split
from functional_dl.autodiff.tracing import Traced, trace_function
from functional_dl.jaxprs import Graph, Literal, evaluate, is_float, prune

__all__ = ["grad", "hessian", "hvp", "jacrev", "value_and_grad", "vjp"]
