"""check_vjp: passes what is right, where JAX has no answer too, and says which operand is off and by how much."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import functional_dl as fdl
from tests.oracles import normal


def test_scalar_bounds_of_clamp() -> None:
    """JAX raises for these cotangents; central differences are the oracle."""
    args = (np.array(-0.5), normal(3, 5), np.array(0.5))
    assert len(fdl.check_vjp(lax.clamp, args)) == 3


def test_the_operand_that_is_off_is_named() -> None:
    @jax.custom_vjp
    def product(p: Any, y: Any) -> Any:
        return p["w"] * y

    product.defvjp(lambda p, y: (p["w"] * y, (p, y)), lambda r, ct: ({"w": ct * r[1]}, 1.01 * ct * r[0]["w"]))
    words = r"1 of 2 operands:\n  args\[1\]: pullback gives .*relative error 9.9e-03"
    with pytest.raises(fdl.GradientError, match=words) as info:
        fdl.check_vjp(product, ({"w": jnp.ones(3)}, jnp.arange(1.0, 4.0)))
    assert "args[0]" not in str(info.value)


def test_a_pullback_that_is_not_linear_is_found() -> None:
    @jax.custom_vjp
    def same(x: Any) -> Any:
        return x

    same.defvjp(lambda x: (x, None), lambda r, ct: (ct * jnp.abs(ct),))
    with pytest.raises(fdl.GradientError, match="departure from linearity"):
        fdl.check_vjp(same, (jnp.ones(3),))
