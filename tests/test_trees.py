"""Pytree arithmetic and names."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl.trees import TreeError, count, from_named, global_norm, name_leaves, zeros_like

TREE = {"a": jnp.array([[3.0, 0.0]]), "b": [jnp.array(4.0), None]}


def test_global_norm_is_over_all_leaves() -> None:
    assert float(global_norm(TREE)) == 5.0
    assert global_norm({"x": jnp.full(3, 200, jnp.float16)}).dtype == jnp.float32  # 200² · 3 is beyond float16
    assert np.isfinite(float(global_norm({"x": jnp.full(3, 300, jnp.float16)})))


def test_names_round_trip() -> None:
    named = name_leaves(TREE)
    assert list(named) == ["a", "b/0"]
    again = from_named(TREE, named)
    assert again["b"][1] is None and again["b"][0] is named["b/0"]
    assert count(TREE) == 3
    assert zeros_like(TREE, jnp.int32)["a"].dtype == jnp.int32


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": None}, "missing a"),
        ({"c": jnp.ones(1)}, "unexpected c"),
        ({"a": jnp.ones((2, 1))}, r"a is float32\[2, 1\], due is float32\[1, 2\]"),
        ({"a": jnp.ones((1, 2), jnp.int32)}, r"a is int32\[1, 2\], due is float32"),
    ],
)
def test_what_does_not_fit_is_named(change: dict, words: str) -> None:
    named = {k: v for k, v in {**name_leaves(TREE), **change}.items() if v is not None}
    with pytest.raises(TreeError, match=words):
        from_named(TREE, named)
