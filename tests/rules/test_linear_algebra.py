"""What the contract cannot ask of linear algebra: where JAX is wrong or cannot run here, precision, small sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.lax import linalg

import functional_dl as fdl
from functional_dl import rules
from tests.evaluation import primitives_in
from tests.oracles import complex_normal, normal

POSITIVE = complex_normal(3, 3) + 9 * np.eye(3)

# Only one triangle is read.  JAX symmetrizes under differentiation what it takes as it is without, and so gives the
# other triangle a cotangent (eigh), or gives one that is of neither triangle (cholesky before 0.12).
READS_A_TRIANGLE: dict[str, Callable[[Any], Any]] = {
    "cholesky": lambda a: linalg.cholesky(a, symmetrize_input=False),
    "eigh lower": lambda a: linalg.eigh(a, symmetrize_input=False)[1],
    "eigh upper": lambda a: linalg.eigh(a, lower=False, symmetrize_input=False)[1],
}


@pytest.mark.parametrize("name", READS_A_TRIANGLE)
def test_the_triangle_that_is_not_read_gets_nothing(name: str) -> None:
    fun = READS_A_TRIANGLE[name]
    fdl.check_vjp(fun, (POSITIVE,), tolerance=2e-6)
    out, pullback = fdl.vjp(fun, jnp.asarray(POSITIVE))
    (slope,) = pullback(jnp.ones_like(out))
    other = np.tril(slope, -1) if name == "eigh upper" else np.triu(slope, 1)
    assert not other.any() and np.any(slope)


def test_some_eigenpairs() -> None:
    """On the CPU JAX cannot compute some pairs only; the rule, given them, must agree with that of all pairs."""
    a = normal(4, 4) + normal(4, 4).T
    rule = rules.entries()["eigh"].fun
    assert rule is not None
    how = {"lower": True, "sort_eigenvalues": True, "algorithm": None}
    v, w = linalg.eigh(jnp.asarray(a))
    v_bar, w_bar = jnp.asarray(normal(4, 2)), jnp.asarray(normal(2))
    (some,) = rule([v_bar, w_bar], [v[:, 1:3], w[1:3]], a, subset_by_index=(1, 3), **how)
    everywhere = jnp.zeros((4, 4)).at[:, 1:3].set(v_bar), jnp.zeros(4).at[1:3].set(w_bar)
    (every,) = rule([*everywhere], [v, w], a, subset_by_index=None, **how)
    np.testing.assert_allclose(some, every, rtol=1e-10, atol=1e-12)


def test_some_singular_triplets() -> None:
    a = jnp.asarray(normal(4, 3))
    rule = rules.entries()["svd"].fun
    assert rule is not None

    def backward(subset: Any) -> Callable[..., Any]:
        how = {"full_matrices": False, "compute_uv": True, "subset_by_index": subset, "algorithm": None}
        call = rules.Call(linalg.svd_p, how, [jax.typeof(a)], [], (True,), (True,) * 3)
        return partial(rule(call, None).backward, residuals=[], a=a)

    u, s, vh = linalg.svd(a, full_matrices=False)
    bars = [jnp.asarray(normal(2)), jnp.asarray(normal(4, 2)), jnp.asarray(normal(2, 3))]
    (some,) = backward((1, 3))(bars, [s[1:], u[:, 1:], vh[1:]])
    padded = [jnp.pad(bars[0], (1, 0)), jnp.pad(bars[1], ((0, 0), (1, 0))), jnp.pad(bars[2], ((1, 0), (0, 0)))]
    (every,) = backward(None)(padded, [s, u, vh])
    np.testing.assert_allclose(some, every, rtol=1e-10, atol=1e-12)


SMALL: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "hessenberg of 1": (1, linalg.hessenberg),
    "hessenberg of 2": (2, linalg.hessenberg),
    "tridiagonal of 1": (1, lambda a: linalg.tridiagonal(a)[1]),
    "tridiagonal of 2": (2, lambda a: linalg.tridiagonal(a, lower=False)[1:3]),
    "schur of 1": (1, linalg.schur),
    "schur of 2": (2, lambda a: (jnp.abs(linalg.schur(a)[0]) ** 4).sum()),
    "geqrf of 1": (1, lambda a: jnp.linalg.qr(a, mode="raw")[0]),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_small_matrices(name: str, dtype: str) -> None:
    n, fun = SMALL[name]
    a = normal(n, n, seed=3) if dtype == "float64" else complex_normal(n, n, seed=3)
    if dtype == "complex128" and not name.startswith(("hessenberg", "tridiagonal", "geqrf")):
        fun = partial(lambda fun, a: [jnp.abs(y) for y in jax.tree.leaves(fun(a))], fun)
    fdl.check_vjp(fun, (a,), tolerance=2e-6)


def test_a_normal_block_of_a_real_schur_form_has_no_angle_of_its_own() -> None:
    """Every block of a normal matrix is [a b; −b a]: functions of the matrix are still differentiated."""

    def rebuilt(a: Any) -> Any:
        t, z = linalg.schur(a)
        return z @ (t @ t + t) @ z.T

    turn = normal(4, 4) - normal(4, 4).T
    for a in (turn, turn + np.eye(4)):
        out, pullback = fdl.vjp(rebuilt, jnp.asarray(a))
        due = fdl.vjp(lambda a: a @ a + a, jnp.asarray(a))[1](jnp.ones_like(out))
        np.testing.assert_allclose(pullback(jnp.ones_like(out))[0], due[0], rtol=1e-9, atol=1e-9)


def test_products_are_in_full_precision_whatever_is_set() -> None:
    """On accelerators the default precision of a product is too low for a factorisation."""

    def slope(a: Any) -> Any:
        return fdl.grad(lambda a: jnp.linalg.eigvalsh(a)[0].real)(a)

    with jax.default_matmul_precision("bfloat16"), jax.numpy_dtype_promotion("strict"):
        jaxpr = jax.make_jaxpr(slope)(normal(3, 3))
    assert "dot_general" in primitives_in(jaxpr.jaxpr)
    assert "HIGHEST" in str(jaxpr) and "bfloat16" not in str(jaxpr).lower()
