"""Parameters in bfloat16: master weights and stochastic rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from functional_dl import optim
from functional_dl.training.snapshots import restore, store
from tests.optim.wrapping import params, run


class TestPrecision:
    """Parameters in bfloat16."""

    def test_steps_below_the_rounding(self) -> None:
        """200 steps of 10⁻³ from 1 go to 0.8; plain bfloat16 stays at 1; both remedies arrive."""
        ones = jnp.ones(256, jnp.bfloat16)

        def end(optimizer: optim.Optimizer) -> Any:
            state = jax.lax.fori_loop(0, 200, lambda _, s: optimizer.update(s, ones), optimizer.init(ones))
            assert state.params.dtype == jnp.bfloat16
            return np.asarray(state.params, np.float32)

        plain = optim.sgd(1e-3)
        np.testing.assert_array_equal(end(plain), 1.0)
        np.testing.assert_allclose(end(optim.master_weights(plain)), 0.8, rtol=2e-3)
        chance = end(optim.stochastic_rounding(plain))
        np.testing.assert_allclose(chance.mean(), 0.8, atol=5e-3)
        assert 0 < chance.std() < 0.05

    def test_float32_bits_survive_storage(self, tmp_path: Path) -> None:
        optimizer = optim.master_weights(optim.adam(1e-4))
        state = run(optimizer, params(jnp.bfloat16), 3)
        assert {x.dtype for x in state.packed.arrays} == {np.dtype(np.float32)}
        assert state.params["dense"]["kernel"].dtype == jnp.bfloat16
        store(tmp_path / "s", state.unpacked(), {})
        like = optimizer.init(params(jnp.bfloat16))
        chex.assert_trees_all_equal(like.packed_again(restore(tmp_path / "s", like.unpacked())[0]), state)
        rounded = state.layout.pack(state.params, "params")
        assert any(not np.array_equal(a, b) for a, b in zip(rounded.arrays, state.packed.arrays, strict=True))

    def test_rounding_is_unbiased_and_to_a_neighbour(self) -> None:
        x = jnp.float32([1 + 2**-9, -(1 + 3 * 2**-10), 3e-5, 1e-39, 0.0, 255.9])
        many = jax.vmap(lambda k: optim.precision.round_stochastically(x, k))(
            jax.random.split(jax.random.key(0), 20_000)
        )
        many, bits = np.asarray(many, np.float64), np.asarray(x).view(np.uint32) & np.uint32(0xFFFF0000)
        lower, upper = (y.view(np.float32).astype(np.float64) for y in (bits, bits + np.uint32(0x10000)))
        assert np.all((many == lower) | (many == upper))
        share = (np.asarray(x, np.float64) - lower) / (upper - lower)
        # Five standard deviations of a share among 20 000.
        np.testing.assert_array_less(
            np.abs((many == upper).mean(0) - share), 5 * np.sqrt(share * (1 - share) / 20_000) + 1e-9
        )

    def test_rounding_of_what_is_representable_or_no_number(self) -> None:
        x = jnp.float32([1.5, -0.0, jnp.inf, -jnp.inf, 2.0**-130])
        for key in jax.random.split(jax.random.key(1), 3):
            np.testing.assert_array_equal(optim.precision.round_stochastically(x, key), x)
        nan = jax.lax.bitcast_convert_type(jnp.uint32([0x7FFFFFFF, 0xFFFFFFFF]), jnp.float32)
        assert np.isnan(np.asarray(optim.precision.round_stochastically(nan, key), np.float32)).all()

    def test_noise_is_new_in_every_step_and_follows_the_seed(self) -> None:
        def course(seed: int) -> Any:
            optimizer = optim.stochastic_rounding(optim.sgd(2.0**-9), seed)
            state, seen = optimizer.init(jnp.ones(64, jnp.bfloat16)), []
            for _ in range(2):
                state = optimizer.update(state.replace(params=jnp.ones(64, jnp.bfloat16)), jnp.ones(64, jnp.bfloat16))
                seen.append(np.asarray(state.params, np.float32))
            return np.stack(seen)

        once = course(0)
        np.testing.assert_array_equal(once, course(0))
        assert (once[0] != once[1]).any() and (once != course(1)).any()
