"""Wrappers, each against its formula."""

from __future__ import annotations

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from functional_dl import optim
from functional_dl.optim import schedules
from functional_dl.trees import TreeError
from tests.optim.wrapping import Wrap, close, gradients, params, run


class TestDecay:
    """Decay beside the gradient and in it."""

    def test_decoupled_goes_with_the_schedule(self) -> None:
        schedule = schedules.inverse_time(0.5)
        found = run(optim.decay_weights(optim.adam(0.1, schedule=schedule), 0.2), params(), 5).params
        close(found, run(optim.adam(0.1, weight_decay=0.2, schedule=schedule), params(), 5).params)

    def test_mask(self) -> None:
        for mask in ("*kernel", lambda path, leaf: leaf.ndim > 1):
            optimizer = optim.decay_weights(optim.sgd(0.5), 0.5, mask)
            state = optimizer.init(params())
            found = optimizer.update(state, jax.tree.map(jnp.zeros_like, params())).params
            due = params()
            due["dense"]["kernel"] = due["dense"]["kernel"] * 0.75
            close(found, due)
            assert len(state.packed.arrays) == 2 and state.moments.keys() == {"velocity"}

    def test_coupled_is_a_penalty_in_the_loss(self) -> None:
        """Also where the gradient is taken ahead of the parameters."""
        target = params()
        with_penalty = run(
            optim.nesterov(0.1), params(), 5, lambda w: jax.tree.map(lambda x, y: x - y + 0.3 * x, w, target)
        )
        wrapper = optim.decay_weights(optim.nesterov(0.1), 0.3, coupled=True)
        found = run(wrapper, params(), 5, lambda w: jax.tree.map(lambda x, y: x - y, w, target))
        close(found.params, with_penalty.params)

    def test_rests_with_the_optimizer(self) -> None:
        optimizer = optim.decay_weights(optim.accumulate(optim.sgd(0.5), 4), 0.5)
        state = optimizer.init(jnp.ones(1))
        for due in (1.0, 1.0, 1.0, 0.75):
            state = optimizer.update(state, jnp.zeros(1))
            np.testing.assert_allclose(state.params, [due])

    def test_takes_each_groups_rate(self) -> None:
        inside = optim.groups({"*kernel": optim.sgd(0.5), "scale": optim.frozen(), "*": optim.sgd(0.25)})
        optimizer = optim.decay_weights(inside, 0.5)
        found = optimizer.update(optimizer.init(params()), jax.tree.map(jnp.zeros_like, params())).params
        due = params()
        due["dense"] = {"bias": due["dense"]["bias"] * 0.875, "kernel": due["dense"]["kernel"] * 0.75}
        close(found, due)

    def test_outside_a_scaled_loss(self) -> None:
        optimizer = optim.decay_weights(optim.scale_loss(optim.sgd(1.0), 2.0**10), 0.5, coupled=True)
        np.testing.assert_allclose(optimizer.update(optimizer.init(jnp.ones(1)), jnp.full(1, 256.0)).params, [0.25])

    def test_without_a_rate(self) -> None:
        optimizer = optim.sgd()
        bare = optimizer._replace(rates=lambda state: (state.hyperparameters["rate"],))
        with pytest.raises(KeyError, match="no learning_rate.*coupled"):
            optim.decay_weights(bare, 0.1).init(jnp.ones(1))


class TestGroups:
    """Each group as if it were alone."""

    def make(self) -> optim.Optimizer:
        each = {"bias": optim.nesterov(0.2), "rest": optim.adam(0.1)}
        return optim.groups(each, {"bias": "*bias", "rest": "*"})

    def test_equal_to_each_alone(self) -> None:
        at = lambda w: jax.tree.map(lambda x: x**3, w)
        whole = run(self.make(), params(), 4, at)
        bias = run(optim.nesterov(0.2), params()["dense"]["bias"], 4, at)
        rest = {"k": params()["dense"]["kernel"], "s": params()["scale"]}
        rest = run(optim.adam(0.1), rest, 4, at)
        close(whole.params["dense"], {"bias": bias.params, "kernel": rest.params["k"]})
        close(whole.params["scale"], rest.params["s"])
        ahead = self.make().eval_params(whole)
        close(ahead["dense"], {"bias": optim.nesterov(0.2).eval_params(bias), "kernel": rest.params["k"]})
        assert whole.moments["bias/velocity"]["dense"]["kernel"] is None
        close(whole.moments["rest/second"]["dense"]["kernel"], rest.moments["second"]["k"])
        assert int(whole.step) == 4

    def test_names(self) -> None:
        optimizer = self.make()
        state = optimizer.init(params()).replace(hyperparameters={"bias/learning_rate": 0.0})
        new = optimizer.update(state, params())
        close(new.params["dense"]["bias"], params()["dense"]["bias"])
        assert new.params["scale"] != params()["scale"]
        with pytest.raises(KeyError, match="rest/learning_rate"):
            state.replace(hyperparameters={"learning_rate": 0.0})

    def test_frozen(self) -> None:
        state = run(optim.groups({"*kernel": optim.frozen(), "*": optim.adam(0.1)}), params(), 3)
        close(state.params["dense"]["kernel"], params()["dense"]["kernel"])
        assert all(x["dense"]["kernel"] is None for x in state.moments.values())
        assert state.params["scale"] != params()["scale"]

    def test_nested_and_scheduled_from_outside(self) -> None:
        inner = optim.groups({"*bias": optim.sgd(1.0), "*": optim.frozen()})
        outer = optim.groups({"dense/*": inner, "*": optim.sgd(1.0)})
        half = optim.scheduled(outer, **{"*/learning_rate": schedules.step(1, 0.5)})
        state = half.init(params())
        ones = jax.tree.map(jnp.ones_like, params())
        state = half.update(half.update(state, ones), ones)
        np.testing.assert_allclose(state.params["scale"], 0.0)
        close(state.params["dense"]["bias"], params()["dense"]["bias"] - 2)
        close(state.params["dense"]["kernel"], params()["dense"]["kernel"])

    def test_a_group_that_gathers(self) -> None:
        """Steps count what any group did; a group behind has its own count, by which its schedule goes."""
        slow = optim.accumulate(optim.sgd(1.0, schedule=schedules.step(1, 0.5)), 2)
        optimizer = optim.groups({"dense/*": slow, "*": optim.sgd(1.0)})
        state, ones = optimizer.init(params()), jax.tree.map(jnp.ones_like, params())
        for _ in range(4):
            state = optimizer.update(state, ones)
        close(state.params["dense"]["bias"], params()["dense"]["bias"] - 1.5)
        assert int(state.step) == 4 and int(state.scalars["dense/*/behind"]) == 2
        alone = run(optim.groups({"*": slow}), params(), 4)
        assert int(alone.step) == 2 and int(alone.scalars["*/behind"]) == 0

    def test_a_name_that_begins_another(self) -> None:
        each = {"a": optim.sgd(1.0), "a/b": optim.sgd(1.0)}
        optimizer = optim.groups(each, {"a": "*bias", "a/b": "*"})
        state = optimizer.init(params()).replace(hyperparameters={"a/b/learning_rate": 0.0})
        found = optimizer.update(state, params()).params
        close(found["dense"], {"bias": jnp.zeros(3), "kernel": params()["dense"]["kernel"]})

    def test_faults_are_named(self) -> None:
        with pytest.raises(TreeError, match="dense/bias, scale fits no pattern of \\*kernel"):
            optim.groups({"*kernel": optim.sgd()}).init(params())
        with pytest.raises(TreeError, match="bais.*has no leaf of dense/bias"):
            optim.groups({"*bais": optim.sgd(), "*": optim.sgd()}).init(params())
        with pytest.raises(ValueError, match="odd is not among"):
            optim.groups({"odd": optim.sgd()}, {})
        with pytest.raises(ValueError, match="scale_loss\\(groups"):
            optim.groups({"*": optim.scale_loss(optim.sgd())})
        twice = optim.groups({"*/b": optim.sgd(), "*": optim.groups({"b": optim.sgd(), "*": optim.sgd()})})
        with pytest.raises(ValueError, match="would be of both"):
            twice.init({"x": {"b": jnp.ones(1)}, "b": jnp.ones(1), "c": jnp.ones(1)})


class TestAccumulation:
    """A mean of gradients for one step."""

    def test_equal_to_larger_batches(self) -> None:
        given = list(itertools.islice(gradients(params()), 6))
        means = [jax.tree.map(lambda a, b, c: (a + b + c) / 3, *given[i : i + 3]) for i in (0, 3)]
        plain = optim.adam(0.1, schedule=schedules.exponential(0.5))
        due = plain.init(params())
        for grads in means:
            due = plain.update(due, grads)
        found = run(optim.accumulate(plain, 3), params(), 6)
        close(found.params, due.params)
        assert (int(found.step), int(found.scalars["micro_steps"])) == (2, 0)

    def test_sums_of_bfloat16_are_float32(self) -> None:
        """In bfloat16 a sum of 0.01 stops at 4: 0.01 is less than half of the next step, 2⁻⁵."""
        optimizer = optim.accumulate(optim.sgd(1.0), 1000)
        state = optimizer.init(jnp.zeros(1, jnp.bfloat16))
        small = jnp.full(1, 0.01, jnp.bfloat16)
        state = jax.lax.fori_loop(0, 999, lambda _, s: optimizer.update(s, small), state)
        np.testing.assert_allclose(state.moments["accumulated"], 9.99, rtol=2e-3)

    def test_another_number_in_between(self) -> None:
        optimizer = optim.accumulate(optim.sgd(1.0), 2)
        state = optimizer.update(optimizer.init(jnp.zeros(1)), jnp.full(1, 3.0))
        longer = optimizer.update(state.replace(hyperparameters={"accumulate_every": 3}), jnp.zeros(1))
        np.testing.assert_allclose(optimizer.update(longer, jnp.zeros(1)).params, [-1.0])
        shorter = state.replace(hyperparameters={"accumulate_every": 1})
        np.testing.assert_allclose(optimizer.update(shorter, jnp.zeros(1)).params, [-1.5])


class TestAverages:
    """Averages over the steps."""

    @pytest.mark.parametrize(("debias", "warmup"), [(False, False), (True, False), (False, True), (True, True)])
    def test_exponential(self, debias: bool, warmup: bool) -> None:
        optimizer = optim.average(optim.sgd(1.0), 0.75, debias, warmup)
        state, w = optimizer.init(jnp.full(1, 4.0)), 4.0
        mean, weight = (0.0, 0.0) if debias else (4.0, 1.0)
        for t, g in enumerate((1.0, -2.0, 0.5, 3.0), 1):
            state, w = optimizer.update(state, jnp.full(1, g)), w - g
            d = min(0.75, (1 + t) / (10 + t)) if warmup else 0.75
            mean, weight = d * mean + (1 - d) * w, d * weight + 1 - d
            np.testing.assert_allclose(optimizer.result(state), [mean / weight], rtol=1e-6)
        np.testing.assert_allclose(state.params, [w])

    def test_stochastic_weight_averaging(self) -> None:
        optimizer = optim.swa(optim.sgd(1.0), start=2, every=2)
        state, seen, w = optimizer.init(jnp.zeros(1)), [], 0.0
        for t, g in enumerate((1.0, -2.0, 0.5, 3.0, 7.0, -1.0, 2.0), 1):
            state, w = optimizer.update(state, jnp.full(1, g)), w - g
            seen += [w] if t in (4, 6) else []
            np.testing.assert_allclose(optimizer.result(state), [np.mean(seen) if seen else w], rtol=1e-6)
        assert int(state.scalars["swa_count"]) == 2

    def test_of_master_weights_is_not_rounded(self) -> None:
        """128 steps of 2⁻¹⁰ from 1: the average lags, but none of its steps is lost as in bfloat16."""
        optimizer = optim.average(optim.master_weights(optim.sgd(2.0**-10)), 0.5)
        state = optimizer.init(jnp.ones(1, jnp.bfloat16))
        state = jax.lax.fori_loop(0, 128, lambda _, s: optimizer.update(s, jnp.ones(1, jnp.bfloat16)), state)
        np.testing.assert_allclose(state.moments["average"], 1 - 127 / 1024, rtol=1e-6)
        assert optimizer.result(state).dtype == jnp.bfloat16

    @pytest.mark.parametrize("wrap", [lambda o: optim.average(o, 0.5), lambda o: optim.swa(o, 0)])
    def test_rests_with_the_optimizer(self, wrap: Wrap) -> None:
        optimizer = wrap(optim.skip_nonfinite(optim.sgd(1.0)))
        state = optimizer.update(optimizer.init(jnp.ones(1)), jnp.ones(1))
        again = optimizer.update(state, jnp.full(1, jnp.nan))
        chex.assert_trees_all_equal(again.replace(scalars={"skipped": jnp.int32(0)}), state)
        close(optimizer.result(again), optimizer.result(state))


class TestGuards:
    """Gradients that are not numbers, and scales that avoid them."""

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_skipped_steps_leave_the_state(self, bad: float) -> None:
        optimizer = optim.skip_nonfinite(optim.adam(0.1, schedule=schedules.exponential(0.1)))
        state, update = run(optimizer, params(), 2), jax.jit(optimizer.update)
        poison = params()
        poison["dense"]["kernel"] = poison["dense"]["kernel"].at[1, 2].set(bad)
        new = update(state, poison)
        chex.assert_trees_all_equal(new.replace(scalars={"skipped": jnp.int32(0)}), state)
        assert int(update(new, poison).scalars["skipped"]) == 2
        assert int(update(new, params()).step) == 3

    def test_scale(self) -> None:
        optimizer = optim.scale_loss(optim.sgd(1.0), initial=8, growth_interval=2)
        state, update = optimizer.init(jnp.zeros(1)), jax.jit(optimizer.update)
        course = []
        for g in (1.0, np.inf, 1.0, 1.0, 1.0, np.nan, np.nan, 1.0, 1.0):
            state = update(state, optimizer.loss_scale(state) * jnp.full(1, g))  # type: ignore[misc]
            course.append((float(state.scalars["loss_scale"]), int(state.scalars["since_overflow"])))
        due = [(8, 1), (4, 0), (4, 1), (8, 0), (8, 1), (4, 0), (2, 0), (2, 1), (4, 0)]
        assert course == due
        np.testing.assert_allclose(state.params, [-6.0])
        assert (int(state.step), int(state.scalars["overflows"])) == (6, 3)

    def test_scale_has_bounds(self) -> None:
        optimizer = optim.scale_loss(optim.sgd(0.0), initial=2.0**24, growth_interval=1)
        state = optimizer.init(jnp.zeros(1))
        assert float(optimizer.update(state, jnp.ones(1)).scalars["loss_scale"]) == 2.0**24
        state = state.replace(scalars={"loss_scale": jnp.float32(1)})
        assert float(optimizer.update(state, jnp.full(1, jnp.nan)).scalars["loss_scale"]) == 1.0
        for initial in (3.0, 0.5, 2.0**25):
            with pytest.raises(ValueError, match="power of two"):
                optim.scale_loss(optim.sgd(), initial)

    def test_float16_gradients_below_its_smallest(self) -> None:
        """2⁻²⁶ is zero in float16, 2⁻²⁶ · 2¹⁵ is not: with a rate of 2²⁶ the parameter moves by 1."""
        tiny = jnp.float32(2.0**-26)
        optimizer = optim.scale_loss(optim.sgd(2.0**26))
        state = optimizer.init(jnp.zeros(1, jnp.float16))
        scaled = (tiny * optimizer.loss_scale(state)).astype(jnp.float16)  # type: ignore[misc]
        np.testing.assert_allclose(optimizer.update(state, scaled[None]).params, [-1.0])
        assert tiny.astype(jnp.float16) == 0


def test_what_wrappers_ask_of_the_layout_adds_up() -> None:
    """Leaves lie apart by mask and by shape, whichever wrapper is outside."""
    one = optim.decay_weights(optim.clip_by_leaf_norm(optim.sgd(0.1), 0.5), 0.1, "*kernel")
    other = optim.clip_by_leaf_norm(optim.decay_weights(optim.sgd(0.1), 0.1, "*kernel"), 0.5)
    close(run(one, params(), 3).params, run(other, params(), 3).params)


def test_the_same_wrapper_twice() -> None:
    with pytest.raises(ValueError, match="skipped is there twice"):
        optim.skip_nonfinite(optim.skip_nonfinite(optim.sgd())).init(jnp.ones(1))
