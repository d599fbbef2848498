"""The transforms made of the others: `jacrev`, `hessian` and `hvp`; all of them can be imported from here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.tree_util import tree_flatten, tree_leaves, tree_map, tree_unflatten

from functional_dl.autodiff.arguments import check_input, check_output, split_arguments
from functional_dl.autodiff.gradients import grad, value_and_grad
from functional_dl.autodiff.pullback import Pullback, Rules, vjp

__all__ = ["Pullback", "grad", "hessian", "hvp", "jacrev", "value_and_grad", "vjp"]


def jacrev(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    rules: Rules = None,
    memory: str | int = "auto",
) -> Callable[..., Any]:
    """A function that returns the Jacobian of ``fun``, row by row in reverse mode; the counterpart of `jax.jacrev`.

    Returns:
      A function that returns, for every output leaf of shape ``s`` and every input leaf of shape ``t``, an array of
      shape ``s + t``, as a pytree like the output holding pytrees like the input.

    Example:
      >>> import jax.numpy as jnp, functional_dl as fdl
      >>> print(fdl.jacrev(lambda x: x * jnp.sum(x))(jnp.array([1.0, 2.0])))
      [[4. 1.]
       [2. 5.]]
    """

    @wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen_fun, chosen = split_arguments("jacrev", fun, argnums, args, kwargs)
        for x in tree_leaves(chosen):
            check_input("jacrev", holomorphic, allow_int, x)
        out, pullback, *aux = vjp(chosen_fun, *chosen, has_aux=has_aux, rules=rules, memory=memory)
        outs, out_tree = tree_flatten(out)
        for y in outs:
            check_output("jacrev", holomorphic, jax.typeof(y))
        rows = []
        for k, y in enumerate(outs):
            zeros = [lax.full_like(z, 0) for z in outs]
            size, shape = int(np.prod(np.shape(y))), np.shape(y)

            def row(ct: Any, k: int = k, shape: Any = shape, zeros: list[Any] = zeros) -> Any:
                cts = [*zeros[:k], lax.reshape(ct, shape), *zeros[k + 1 :]]
                return pullback(tree_unflatten(out_tree, cts))

            basis = lax.convert_element_type(np.eye(size), jax.typeof(y).dtype)
            found = jax.vmap(row)(basis)
            found = tree_map(lambda j, shape=shape: _rows(j, shape), found)
            rows.append(found[0] if isinstance(argnums, int) else found)
        result = tree_unflatten(out_tree, rows)
        return (result, aux[0]) if has_aux else result

    return jacobian


def _rows(j: Any, shape: tuple[int, ...]) -> Any:
    if jax.typeof(j).dtype == jax.dtypes.float0:
        return np.zeros(shape + np.shape(j)[1:], jax.dtypes.float0)
    return lax.reshape(j, shape + j.shape[1:])


def hessian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    rules: Rules = None,
    memory: str | int = "auto",
) -> Callable[..., Any]:
    """A function that returns the Hessian of ``fun``, forward mode over our reverse mode, as `jax.hessian` does.

    Example:
      >>> import jax.numpy as jnp, functional_dl as fdl
      >>> print(fdl.hessian(lambda x: x[0] * x[1] ** 2)(jnp.array([1.0, 3.0])))
      [[0. 6.]
       [6. 2.]]
    """
    return jax.jacfwd(
        jacrev(fun, argnums, has_aux, holomorphic, rules=rules, memory=memory), argnums, has_aux, holomorphic
    )


def hvp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
    *,
    rules: Rules = None,
    memory: str | int = "auto",
) -> Any:
    """The Hessian of ``fun`` times a vector, at the cost of a few gradients (Pearlmutter 1994).

    Forward mode over our reverse mode: the derivative of the gradient along ``tangents``.

    Args:
      fun: a function with a scalar output.
      primals: its arguments.
      tangents: the direction, one entry like each primal.
      has_aux: whether ``fun`` returns ``(output, aux)``.

    Returns:
      The product, like the primal if there is one, else a tuple like ``primals``; with ``has_aux`` the pair of it
      and the auxiliary output.

    Example:
      >>> import jax.numpy as jnp, functional_dl as fdl
      >>> print(fdl.hvp(lambda x: jnp.sum(x ** 3), (jnp.array([1.0, 2.0]),), (jnp.array([1.0, 1.0]),)))
      [ 6. 12.]
    """
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    slope = grad(fun, argnums, has_aux, rules=rules, memory=memory)
    if has_aux:
        _, product, aux = jax.jvp(slope, tuple(primals), tuple(tangents), has_aux=True)
        return product, aux
    return jax.jvp(slope, tuple(primals), tuple(tangents))[1]
