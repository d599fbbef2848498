"""What Muon, SOAP, schedule-free methods and L-BFGS do besides what all optimizers do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import functional_dl as fdl
from functional_dl import nn, optim
from functional_dl.optim import schedules
from functional_dl.optim.line_search import begin, judge
from functional_dl.optim.newton_schulz import newton_schulz
from functional_dl.trees import name_leaves
from tests.optim import references_matrix
from tests.optim.case import pull
from tests.optim.cases_matrix import ADAM, SOAP

Loss = Callable[[Any], Any]


def rosenbrock(w: Any) -> Any:
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def curved(n: int, condition: float, dtype: Any = np.float32) -> Any:
    """A symmetric matrix whose eigenvalues go from 1 to ``condition`` along random axes."""
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]
    return jnp.asarray(axes @ np.diag(np.geomspace(1, condition, n)) @ axes.T, dtype)


def walk(optimizer: optim.Optimizer, loss: Loss, start: Any, steps: int) -> tuple[optim.State, Any]:
    """The last state and the loss at ``state.params`` after each gradient."""
    slope = fdl.grad(loss)

    def step(state: optim.State, _: None) -> tuple[optim.State, Any]:
        new = optimizer.update(state, slope(optimizer.eval_params(state)))
        return new, loss(new.params)

    return jax.jit(lambda s: jax.lax.scan(step, s, None, steps))(optimizer.init(start))


def gradients_needed(optimizer: optim.Optimizer, loss: Loss, start: Any, steps: int, below: float) -> int:
    losses = np.asarray(walk(optimizer, loss, start, steps)[1])
    assert losses[-1] < below, f"{losses[-1]} after {steps} gradients"
    return int(np.argmax(losses < below)) + 1


def normal(seed: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def follow(optimizer: optim.Optimizer, start: Any, gradient: Callable[..., Any], steps: int) -> Any:
    """Steps along ``gradient(params, t)``, from NumPy arrays."""
    state = optimizer.init(jax.tree.map(jnp.asarray, start))

    def step(state: optim.State, t: Any) -> tuple[optim.State, None]:
        return optimizer.update(state, gradient(optimizer.eval_params(state), t)), None

    return jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(1, steps + 1))[0])(state).params


class TestNewtonSchulz:
    @pytest.mark.parametrize("shape", [(32, 32), (16, 64), (64, 16), (3, 8, 24)], ids=str)
    @pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
    def test_singular_values(self, shape: tuple[int, ...], bfloat16: bool) -> None:
        """Those that are not much smaller than the others come out near 1, along the same axes."""
        x = np.random.default_rng(0).normal(size=shape)
        u, s, vt = np.linalg.svd(x, full_matrices=False)
        x = u * np.maximum(s, 0.1)[..., None, :] @ vt  # square ones have some that are
        y = newton_schulz(jnp.asarray(100 * x, jnp.float32), bfloat16=bfloat16)
        assert y.dtype == jnp.float32
        values = np.linalg.svd(np.asarray(y))[1]
        # In bfloat16 a value near the threshold may fall 2⁻⁸ short several times over.
        assert values.min() > (0.6 if bfloat16 else 0.68) and values.max() < (1.25 if bfloat16 else 1.2)
        inner = np.swapaxes(u, -1, -2) @ np.asarray(y) @ np.swapaxes(vt, -1, -2)
        off = inner - inner * np.eye(inner.shape[-1])
        assert np.abs(off).max() < (0.1 if bfloat16 else 1e-3)

    def test_zeros_and_tiny(self) -> None:
        assert not jnp.any(newton_schulz(jnp.zeros((2, 3))))
        np.testing.assert_allclose(jnp.abs(newton_schulz(jnp.full((1, 1), 1e-3))), 0.7, atol=0.1)


class TestMuon:
    def test_kernels_of_convolutions_are_flattened(self) -> None:
        """(window, inputs, outputs) moves as (window · inputs, outputs) does, and no kernel over time is a batch."""
        start, grads = normal(0, kernel=(3, 4, 5)), normal(1, kernel=(3, 4, 5))
        flat = {k: x.reshape(12, 5) for k, x in start.items()}
        optimizer = optim.muon(0.1)
        one = follow(optimizer, start, lambda w, t: jax.tree.map(jnp.asarray, grads), 2)
        other = follow(optimizer, flat, lambda w, t: {"kernel": jnp.asarray(grads["kernel"].reshape(12, 5))}, 2)
        np.testing.assert_allclose(one["kernel"].reshape(12, 5), other["kernel"], rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(
        "make", [lambda: optim.muon(0.1), lambda: optim.soap(0.1, frequency=1)], ids=["muon", "soap"]
    )
    def test_scanned_and_unrolled_blocks_move_alike(self, make: Callable[[], optim.Optimizer]) -> None:
        """Also beside a kernel over time of the same shape as the stacked matrices."""
        kernels = normal(0, **{"0": (4, 4), "1": (4, 4), "time": (2, 4, 4)})
        biases = normal(1, **{"0": (4,), "1": (4,)})

        def tree(scanned: bool) -> Any:
            each = [{"up": {"kernel": kernels[i], "bias": biases[i]}} for i in "01"]
            stacked = jax.tree.map(lambda *xs: np.stack(xs), *each)
            blocks = stacked if scanned else {str(i): block for i, block in enumerate(each)}
            return {"blocks": blocks, "convolution": {"kernel": kernels["time"]}}

        def gradient(params: Any, t: Any) -> Any:
            return jax.tree.map(lambda w: jnp.sin(w + t), params)

        scanned, unrolled = (follow(make(), tree(s), gradient, 4) for s in (True, False))
        again = {"blocks": {i: jax.tree.map(lambda x, i=i: x[int(i)], scanned["blocks"]) for i in "01"}}
        chex.assert_trees_all_close(again | {"convolution": scanned["convolution"]}, unrolled, rtol=1e-4, atol=1e-5)

    def test_which_leaves_are_matrices(self) -> None:
        """By the names of this package: all kernels inside a GPT, none of its tables, vectors or output layers."""

        def shape(scanned: bool) -> Any:
            network = nn.transformer(vocabulary=11, context=8, width=8, heads=2, depth=2, scanned=scanned)
            return network.init(jax.random.key(0)) | {"head": {"kernel": jnp.ones((8, 3))}}

        for scanned in (True, False):
            moments = optim.muon().init(shape(scanned)).moments
            moved = {name for name, x in name_leaves(moments["momentum"]).items() if x is not None}
            prefixes = ("blocks",) if scanned else ("blocks/0", "blocks/1")
            inside = ("attention/mix/out", "attention/mix/qkv", "feedforward/down/kernel", "feedforward/up/kernel")
            assert moved == {f"{prefix}/{name}" for prefix in prefixes for name in inside}
            assert not moved & set(name_leaves(moments["first"]))
        mine = optim.muon(matrices=lambda path, leaf: path == "head/kernel").init(shape(True)).moments["momentum"]
        assert [name for name, x in name_leaves(mine).items() if x is not None] == ["head/kernel"]

    def test_matrices_of_a_shape_are_one_array(self) -> None:
        state = optim.muon().init({f"{i}": jnp.ones((3, 4)) for i in range(7)} | {"bias": jnp.ones(4)})
        assert sorted(x.shape for x in state.packed.arrays) == [(4,), (7, 3, 4)]

    def test_the_rest_follows_the_schedule(self) -> None:
        """AdamW goes by the schedule of the rate, unless it has its own; decay beside the step sees either rate."""
        start = normal(0, kernel=(2, 2), bias=(2,))
        half = schedules.Schedule(lambda t, c: jnp.float32(0.5), {})
        both = optim.muon(0.5, adam_learning_rate=0.25, schedule=half)
        own = optim.muon(0.5, adam_learning_rate=0.25, schedule={"adam_learning_rate": half})
        slow = optim.muon(0.25, adam_learning_rate=0.125)
        one, two, due = (follow(o, start, pull, 3) for o in (both, own, slow))
        chex.assert_trees_all_close(one, due, rtol=1e-6)
        np.testing.assert_allclose(two["bias"], due["bias"], rtol=1e-6)
        assert not np.allclose(two["kernel"], due["kernel"])
        state = both.init(jax.tree.map(jnp.asarray, start))
        rates = dict(zip([g.kind for g in state.layout.groups], both.rates(state), strict=True))
        assert {kind: float(rate) for kind, rate in rates.items()} == {"stack": 0.25, "flat": 0.125}

    def test_bfloat16_iteration_is_close(self) -> None:
        start = normal(0, kernel=(8, 8))
        one, other = (follow(optim.muon(0.1, bfloat16=b), start, pull, 1)["kernel"] for b in (False, True))
        assert 0 < np.abs(np.asarray(one - other)).max() < 0.02

    def test_unknown_convention(self) -> None:
        with pytest.raises(ValueError, match="muon: convention 'torch'; due is 'jordan', 'moonlight'"):
            optim.muon(convention="torch")  # type: ignore[arg-type]


class TestSoap:
    @pytest.mark.parametrize("frequency", [1, 10])
    @pytest.mark.parametrize(
        "double", [True, pytest.param(False, marks=pytest.mark.thorough)], ids=["float64", "float32"]
    )
    @pytest.mark.parametrize("largest", [10_000, 3], ids=["both sides", "one side"])
    def test_fifty_steps_equal_the_paper(self, frequency: int, double: bool, largest: int) -> None:
        """On shapes whose factors have full rank from the first step on, so that the bases are theirs alone."""
        both = {"bias": (3,), "square": (4, 4), "other": (4, 4), "convolution": (2, 2, 4)}
        one = {"bias": (3,), "wide": (3, 5), "tall": (6, 2), "neither": (4, 5)}
        start = normal(0, **(both if largest > 10 else one))
        optimizer = optim.soap(
            2**-6, factor_beta=0.75, weight_decay=2**-5, frequency=frequency, largest=largest, **SOAP
        )
        reference = references_matrix.soap(2**-6, 0.875, 0.96875, 0.75, 2**-20, 2**-5, frequency, largest)
        with jax.enable_x64(double):
            types = jax.tree.map(lambda x: x.astype(np.float64 if double else np.float32), start)
            came, due = follow(optimizer, types, pull, 50), reference(pull, start, 50)
            for name in start:
                tolerance = 1e-6 if double else 1e-4
                np.testing.assert_allclose(came[name], due[name], tolerance, tolerance, err_msg=name)

    def test_first_step_makes_bases_alone(self) -> None:
        optimizer = optim.soap()
        params = {"kernel": jnp.asarray(normal(0, kernel=(3, 2))["kernel"]), "bias": jnp.ones(2)}
        state = optimizer.update(optimizer.init(params), params)
        chex.assert_trees_all_equal(state.params, params)
        assert not jnp.any(state.moments["second"]["kernel"])
        q = state.moments["left_basis"]["kernel"]
        np.testing.assert_allclose(q.T @ q, np.eye(3), atol=1e-6)
        turned = q.T @ state.moments["left"]["kernel"] @ q
        np.testing.assert_allclose(turned, np.diag(np.diag(turned)), atol=1e-6)
        assert np.all(np.diff(np.diag(turned)) < 1e-6)

    def test_bases_stay_between(self) -> None:
        optimizer = optim.soap(frequency=3)
        state = optimizer.init({"kernel": jnp.ones((3, 3))})
        update, bases = jax.jit(optimizer.update), []
        for t in range(1, 9):
            state = update(state, pull(state.params, t))
            bases.append(np.asarray(state.moments["right_basis"]["kernel"]))
            np.testing.assert_allclose(bases[-1].T @ bases[-1], np.eye(3), atol=1e-5)
        changed = [t for t in range(2, 9) if not np.array_equal(bases[t - 1], bases[t - 2])]
        assert changed == [4, 7]

    def test_beats_adam_where_axes_are_turned(self) -> None:
        """½ tr(AWBWᵀ) with A and B of condition 10³ along random axes, each optimizer at its best rate."""
        a, b = curved(8, 1e3), curved(8, 1e3).T[::-1, ::-1]
        start = {"w": jnp.asarray(normal(0, w=(8, 8))["w"], jnp.float32)}

        def loss(params: Any) -> Any:
            return 0.5 * jnp.sum((a @ params["w"]) * (params["w"] @ b)) / 1e6

        def best(make: Callable[[float], optim.Optimizer]) -> float:
            return min(float(walk(make(rate), loss, start, 300)[1][-1]) for rate in (0.003, 0.01, 0.03, 0.1))

        adam = best(lambda rate: optim.adam(rate, 0.95, 0.95))
        soap = best(lambda rate: optim.soap(rate, 0.95, 0.95, weight_decay=0, frequency=10))
        assert soap < 0.2 * adam


class TestScheduleFree:
    def test_parameters_are_the_weighted_mean(self) -> None:
        """x = Σ γ_i² z_i / Σ γ_i², while warm-up and a schedule change γ; y lies between."""
        optimizer = optim.schedule_free_sgd(0.5, beta=0.75, warmup=4, schedule=schedules.exponential(0.1))
        state = optimizer.init(jnp.array([1.0, -1.0]))
        z, weights = [], []
        for t in range(1, 11):
            rate = 0.5 * min(1, t / 4) * np.exp(-0.1 * (t - 1))
            np.testing.assert_allclose(optimizer.rates(state), [rate], rtol=1e-6)
            state = optimizer.update(state, jnp.sin(3.0 * t + optimizer.eval_params(state)))
            z.append(np.asarray(state.moments["z"]))
            weights.append(rate**2)
            mean = np.average(np.stack(z), 0, weights)
            np.testing.assert_allclose(state.params, mean, rtol=1e-5)
            np.testing.assert_allclose(optimizer.eval_params(state), 0.25 * z[-1] + 0.75 * mean, rtol=1e-5)
        np.testing.assert_allclose(state.scalars["weight_sum"], sum(weights), rtol=1e-5)

    def test_a_rate_of_zero(self) -> None:
        optimizer = optim.schedule_free_adamw(0.0)
        state = optimizer.update(optimizer.init(jnp.ones(2)), jnp.ones(2))
        np.testing.assert_array_equal(state.params, [1.0, 1.0])

    @pytest.mark.parametrize("wrap", [lambda o: o, optim.stochastic_rounding], ids=["plain", "stochastic"])
    def test_averages_in_bfloat16_do_not_stall(self, wrap: Callable[[optim.Optimizer], optim.Optimizer]) -> None:
        """After 2000 steps x moves by z/2000, less than bfloat16 can add: it is near float32's x all the same."""

        def last(dtype: Any, around: Callable[[optim.Optimizer], optim.Optimizer]) -> np.ndarray:
            optimizer = around(optim.schedule_free_sgd(2**-10))
            state = optimizer.init(jnp.ones(1, dtype))
            one = jnp.ones(1, dtype)
            state = jax.jit(lambda s: jax.lax.fori_loop(0, 2000, lambda _, s: optimizer.update(s, one), s))(state)
            return np.asarray(state.params, np.float32)

        np.testing.assert_allclose(last(jnp.bfloat16, wrap), last(jnp.float32, lambda o: o), atol=2**-8)


class TestLbfgs:
    @pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
    def test_rosenbrock(self, double: bool) -> None:
        with jax.enable_x64(double):
            start = jnp.array([-1.2, 1.0], jnp.float64 if double else jnp.float32)
            assert gradients_needed(optim.lbfgs(), rosenbrock, start, 100, 1e-6) <= 80

    @pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
    def test_quadratic_in_about_as_many_steps_as_dimensions(self, double: bool) -> None:
        """With as many pairs as dimensions and near-exact searches L-BFGS is conjugate gradients."""
        with jax.enable_x64(double):
            dtype = np.float64 if double else np.float32
            a, start = curved(20, 100.0, dtype), jnp.asarray(normal(0, w=(20,))["w"], dtype)

            def loss(w: Any) -> Any:
                return 0.5 * w @ a @ w

            below = 1e-6 * float(loss(start))
            assert gradients_needed(optim.lbfgs(history=20), loss, start, 100, below) <= 30
            # Gradient descent at the best rate, 2/(1 + 100), takes 100/4 · log 10⁶ of them.
            assert float(walk(optim.sgd(2 / 101), loss, start, 200)[1][-1]) > below

    def test_equals_the_paper_on_functions(self) -> None:
        """In a pytree of several leaves, with more steps than pairs; in float64 to the last trial."""
        with jax.enable_x64(True):
            start = normal(0, bias=(3,), kernel=(3, 4), large=(70_000,))

            def gradient(params: Any, t: Any) -> Any:
                return {k: (2 + np.arange(w.size).reshape(w.shape) % 7) * w + 0.5 * w**3 for k, w in params.items()}

            for settings in ({}, {"history": 2, "trials": 2, "curvature": 0.1, "learning_rate": 8.0}):
                small = {k: start[k] for k in ("bias", "kernel")}
                due = references_matrix.lbfgs(
                    settings.get("learning_rate", 1.0),
                    curvature=float(np.float32(settings.get("curvature", 0.9))),
                    decrease=float(np.float32(0.1)),
                    trials=settings.get("trials", 20),
                    history=settings.get("history", 10),
                )(gradient, small, 25)
                chex.assert_trees_all_close(
                    follow(optim.lbfgs(**settings), small, gradient, 25), due, rtol=1e-6, atol=1e-8
                )
            whole = follow(optim.lbfgs(), start, gradient, 60)
            assert max(float(jnp.abs(x).max()) for x in whole.values()) < 1e-6

    def test_gradients_that_are_not_numbers_are_too_far(self) -> None:
        """x − log x from 10, first steps beyond 0: parameters stay numbers and reach 1."""

        def loss(w: Any) -> Any:
            return jnp.sum(w - jnp.log(w))

        optimizer = optim.lbfgs(learning_rate=64.0)
        seen = []
        state = optimizer.init(jnp.array([10.0, 3.0]))
        update = jax.jit(lambda s, g: optimizer.update(s, g))
        for _ in range(40):
            at = optimizer.eval_params(state)
            grads = jnp.where(at > 0, 1 - 1 / at, jnp.nan)
            seen.append(bool(jnp.all(jnp.isfinite(grads))))
            state = update(state, grads)
            chex.assert_tree_all_finite((state.params, state.moments))
        assert not all(seen)
        assert float(loss(state.params)) < 2 + 1e-6

    def test_a_search_in_vain_begins_again(self) -> None:
        """Gradients that lie for a while, all too far: p becomes −g, shorter, without pairs; then it goes on."""
        optimizer = optim.lbfgs(trials=3)
        update = jax.jit(optimizer.update)
        state = optimizer.init(jnp.array([3.0, 1.0]))
        scale = jnp.array([1.0, 20.0])
        while not jnp.any(state.scalars["rho"] > 0):
            state = update(state, scale * optimizer.eval_params(state))
        before, tried = state.params, []
        for _ in range(3):
            tried.append(float(jnp.linalg.norm(optimizer.eval_params(state) - before)))
            state = update(state, -1e3 * state.moments["gradient"])
        shorter = float(jnp.linalg.norm(optimizer.eval_params(state) - before))
        np.testing.assert_allclose(shorter, tried[-1], rtol=1e-4)
        assert shorter < 0.2 * tried[0]
        np.testing.assert_array_equal(state.params, before)
        np.testing.assert_array_equal(state.moments["direction"], -state.moments["gradient"])
        assert not jnp.any(state.scalars["rho"])
        for _ in range(30):
            state = update(state, scale * optimizer.eval_params(state))
        assert float(jnp.abs(state.params).max()) < 1e-5

    def test_infinite_slopes_are_too_far(self) -> None:
        """Also downwards."""
        search = begin(jnp.float32(1), jnp.float32(-1))
        for slope in (jnp.inf, -jnp.inf, jnp.nan):
            accepted, failed, new = judge(search, jnp.float32(slope), jnp.bool_(False), 0.1, 0.9, 20)
            assert not accepted and not failed
            assert (float(new.low), float(new.high)) == (0.0, 1.0) and 0 < float(new.alpha) < 1

    def test_pairs_of_bfloat16_are_of_what_is_stored(self) -> None:
        optimizer = optim.lbfgs()
        update = jax.jit(optimizer.update)
        scale = jnp.array([1.0, 20.0], jnp.bfloat16)
        old = state = optimizer.init(jnp.array([3.0, 1.0], jnp.bfloat16))
        while not jnp.any(state.scalars["rho"] > 0):
            old, state = state, update(state, scale * optimizer.eval_params(state))
        pair = state.moments["s"][state.scalars["newest"]]
        np.testing.assert_array_equal(pair, state.params.astype(jnp.float32) - old.params.astype(jnp.float32))
        for _ in range(20):
            state = update(state, scale * optimizer.eval_params(state))
        assert float(jnp.abs(state.params).max()) < 1e-2

    def test_starts_batched(self) -> None:
        """Searches of different lengths side by side."""
        starts = jnp.array([[-1.2, 1.0], [0.5, 2.0], [3.0, -1.0]])
        last = jax.vmap(lambda w: walk(optim.lbfgs(), rosenbrock, w, 120)[1][-1])(starts)
        assert float(last.max()) < 1e-6

    def test_rests_at_the_minimum(self) -> None:
        """Many searches in vain among rounding errors, and nothing but numbers."""
        state, losses = walk(optim.lbfgs(), rosenbrock, jnp.array([-1.2, 1.0]), 400)
        chex.assert_tree_all_finite((state.params, state.moments))
        assert float(losses[-100:].max()) < 1e-8

    def test_decay_beside_it_is_refused(self) -> None:
        with pytest.raises(KeyError, match="coupled=True"):
            optim.decay_weights(optim.lbfgs(), 0.1).init(jnp.ones(2))
        with pytest.raises(ValueError, match="history = 0"):
            optim.lbfgs(history=0)


def test_reference_settings_are_exact() -> None:
    """What cases compare in float64 must not have been rounded to float32."""
    for value in (*ADAM.values(), *SOAP.values()):
        assert float(np.float32(value)) == value
